"""The exit codes, and those of errors before a run or in its place.

Imports next to nothing: also `livepost` with a mistyped command needs it.
"""

from __future__ import annotations

import enum

from livepost.errors import (
    ConfigurationError,
    InputChangedError,
    InputError,
    LivepostError,
    OutputError,
)


class ExitCode(enum.IntEnum):
    """What a command that has ended tells the shell."""

    DELIVERED = 0
    """Every record was delivered."""
    NOT_ALL_DELIVERED = 1
    """The run finished; some records were rejected or are in doubt."""
    TOO_MANY_HANDSHAKES = NOT_ALL_DELIVERED
    """The run finished, with more handshakes than --max-handshakes-per-1000: the same code."""
    FAILED = NOT_ALL_DELIVERED
    """A command that delivers nothing could not do what it was asked: the same code."""
    USAGE = 2
    """The command or its configuration is wrong; nothing was sent."""
    UNREACHABLE = 3
    """No connection to the target was ever made; nothing was sent."""
    INPUT_CHANGED = 4
    """The input is not the one that the run began with; nothing was sent."""
    STOPPED_EARLY = 75
    """The run ended before its input did, records are left unsent, or the output could not be written."""
    INTERRUPTED = 130
    """SIGINT came: 128 plus its number, as for every signal that stops a run."""
    TERMINATED = 143
    """SIGTERM came."""


# The first that fits counts.
_OF_ERRORS = (
    (InputChangedError, ExitCode.INPUT_CHANGED),
    (InputError, ExitCode.STOPPED_EARLY),
    (OutputError, ExitCode.STOPPED_EARLY),
    (ConfigurationError, ExitCode.USAGE),
)


def code_of(error: LivepostError) -> ExitCode:
    """The code of a command that this error has ended."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), ExitCode.FAILED)
