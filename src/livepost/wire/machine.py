"""The seam between protocol engines and connections: bytes in, events out, no I/O, no clock.

A machine belongs to one connection.  The connection asks `room`, hands over exchanges with
`send`, writes what `take_output` gives, and feeds what it reads to `receive`.  The other names tell
it how long to wait, and when to close.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Protocol

import msgspec

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.wire.message import Exchange, Response


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A final response was read to its end."""

    exchange: Exchange
    response: Response


class Failed(msgspec.Struct, frozen=True, gc=False):
    """No (whole) answer will come for this exchange on this connection."""

    exchange: Exchange
    sent: Sent
    reason: str


Event = Answered | Failed


class Stage(enum.Enum):
    """How far an open exchange has come."""

    HELD = "held"
    """Its body waits for `100 Continue`, or for the peer's greeting."""
    SENDING = "sending"
    """Not all of it was output yet."""
    SENT = "sent"
    """All of it was output, and its final response head has not come."""
    ANSWERING = "answering"
    """Its final response head has come."""


class Machine(Protocol):
    """One connection's protocol state."""

    @property
    def http_version(self) -> HttpVersion: ...

    @property
    def is_multiplexed(self) -> bool:
        """Many exchanges may be open at a time."""

    @property
    def room(self) -> int:
        """How many more exchanges `send` takes now."""

    @property
    def capacity(self) -> int:
        """How many exchanges may be open at a time; a large number while the peer has not said."""

    @property
    def open_exchanges(self) -> int:
        """How many exchanges wait for the end of their answer."""

    @property
    def closing(self) -> CloseReason | None:
        """Why this connection will take no further exchange, or None while it may.

        The connection must be closed once this is set and nothing is open.
        """

    @property
    def unserved(self) -> int:
        """How many of the requests sent the peer said, in closing, that it will not serve."""

    def waiting(self) -> Iterator[tuple[Exchange, Stage]]:
        """The open exchanges, the oldest first, and how far each has come.

        For deadlines.  Go through it before doing anything else with the machine.
        """

    @property
    def body_held(self) -> bool:
        """A request body waits for `100 Continue`, or for the peer's greeting (see `release_body`)."""

    def send(self, exchange: Exchange) -> None:
        """Begin an exchange.  Only when `room` is above 0."""

    def release_body(self) -> None:
        """Wait no longer for that, and send what was held."""

    def cancel(self, exchange: Exchange, reason: str) -> list[Event]:
        """Stop waiting for this exchange alone, and return how it ends.  Only if `is_multiplexed`."""

    @property
    def unheard(self) -> int:
        """How many exchanges were cancelled since anything was read."""

    def leave(self, reason: CloseReason) -> None:
        """Take no more exchanges; the first reason counts.  Only if `is_multiplexed`."""

    def ping(self) -> None:
        """Ask the peer whether it is there: `ping_open` until it answers.  Only if `is_multiplexed`."""

    @property
    def ping_open(self) -> bool: ...

    def take_output(self) -> bytes:
        """The bytes to write now, in order; each byte is returned once.

        A large body may come in steps: ask again when all of it was written, until there is nothing.
        """

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes that arrived (never empty) and return what they completed.

        A peer that breaks the protocol is no exception: what was open comes back as Failed, or as
        Answered with an incomplete response where the status was already known.
        """

    def end(self, *, written: int, reason: str, orderly: bool) -> list[Event]:
        """The connection is over: settle every open exchange.

        `written` is how many of the output bytes the kernel accepted over the connection's life;
        `orderly` says that the peer closed properly (FIN, with TLS a close_notify), which may
        complete a response that runs until close.  What there is to output afterwards is a farewell,
        and worth one try to write it.
        """
