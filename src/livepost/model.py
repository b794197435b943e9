"""The values that every floor speaks of: records, and what became of them.

`Record`, `Rejection` and `Outcome` are made once or more per record, so they are msgspec structs:
frozen like a dataclass, but 0.1 µs to make instead of 0.7 µs.
"""

from __future__ import annotations

import enum

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One piece of data to deliver, as the exact bytes that were read."""

    number: int
    """Position in the run, from 1, counting rejected records too and empty lines not."""
    body: bytes
    source: str
    """Name of the file it came from, for people (`-` for standard input)."""
    line: int
    """Line in that file on which it starts, from 1."""


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be sent as it stands; `reason` is one short phrase for people."""

    number: int
    source: str
    line: int
    reason: str


class State(enum.Enum):
    """How a record ends.  Every record read ends in exactly one of these."""

    DELIVERED = "delivered"
    """The server said so."""
    REJECTED = "rejected"
    """The server refused it for good, or it was never fit to send."""
    IN_DOUBT = "in_doubt"
    """Bytes of it were sent and no answer came: the server may or may not have processed it."""
    UNSENT = "unsent"
    """The run ended first; not a byte of it can have been processed."""


class Sent(enum.Enum):
    """How much of a request the server can have seen when its connection failed.

    Whether it is safe to send the request again rests on this value alone.
    """

    NOTHING = "nothing"
    """Not one byte was given to the kernel."""
    SOME = "some"
    ALL = "all"
    REFUSED = "refused"
    """Bytes went out, but the server proved that it did not process the request."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a record, and why, in one word or short phrase."""

    state: State
    reason: str
