"""Errors that end a run, each one sentence for a person with a hint what to do.

    LivepostError
    ├── ConfigurationError   the request itself cannot work: fix the command, nothing was sent
    │   └── RunError             a run directory cannot be used: damaged, in use, of another version
    ├── InputError           the records cannot be read (any further)
    │   └── InputChangedError    they are not those that the run began with
    ├── OutputError          what the run has to say cannot be written (any further)
    ├── DestinationError     the target takes nothing (any more): resume when it does
    └── DialError            no connection to the target could be made
        └── PermanentDialError   and trying again will not help (certificate, unknown name)

A class exists only where a caller acts differently.  What happens to one record is never an
exception: it is an `Outcome` (see `model`).
"""

from __future__ import annotations


class LivepostError(Exception):
    """Every error livepost raises on purpose.

    `str(error)` is one sentence: what happened, to what.  `hint` says what to do about it and may
    be empty.  Neither ever holds a secret (password, header value, token).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(LivepostError):
    """The options contradict each other or a value is malformed; nothing was sent."""


class RunError(ConfigurationError):
    """A run directory is damaged, used by another process, no run, or of another version."""


class InputError(LivepostError):
    """A file of records cannot be opened, read or decompressed."""


class InputChangedError(InputError):
    """The input is not the one that the run began with, so record numbers mean other records."""


class OutputError(LivepostError):
    """Receipts or the run directory cannot be written any further: disk full, or their reader gone."""


class DestinationError(LivepostError):
    """The target was reached but takes nothing, or nothing any more; what is unsent can be sent later."""


class DialError(LivepostError):
    """No connection to the target could be made; trying again later may help."""


class PermanentDialError(DialError):
    """No connection to the target could be made, and trying again will not change that."""
