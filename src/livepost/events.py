"""What happens on the wire, in words that are counted and shown.

The floors below report to an `Observer`; who listens (counts, progress, receipts) is decided
where a run is put together.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec


class CloseReason(enum.Enum):
    """Why a connection ended.  Every close has exactly one."""

    FINISHED = "finished"
    """Ours: no more work."""
    STOPPED = "stopped"
    """Ours: the run was stopped at once."""
    IDLE_TIMEOUT = "idle_timeout"
    """Ours: idle for longer than the configured idle limit."""
    IDLE_LIMIT = "idle_limit"
    """Ours: more idle connections than the pool may keep."""
    EXPIRED = "expired"
    """Ours: idle for longer than the server is known to keep a connection."""
    TOO_OLD = "too_old"
    """Ours: it neared the age that the server, or the user, lets one have."""
    SUSPENDED = "suspended"
    """Ours: the machine was asleep while it was idle."""
    ADDRESS_GONE = "address_gone"
    """Ours: the server's name has not led to its address any more for some time."""
    KEEPALIVE_OFF = "keepalive_off"
    """Ours: keep-alive is switched off, one request per connection."""
    TIMEOUT = "timeout"
    """Ours: an answer took longer than allowed, or nothing at all was heard after that of one stream did."""
    EXHAUSTED = "exhausted"
    """Ours: it has carried as many requests as HTTP/2 can number, or lost its streams to timeouts."""
    LIMIT_REACHED = "limit_reached"
    """Ours: with one request more the server would end it, and lose those that are open."""
    EARLY_ANSWER = "early_answer"
    """Ours: the server answered for good before it had the whole request."""
    PROTOCOL_ERROR = "protocol_error"
    """Ours: the server broke the protocol or exceeded a limit."""
    UNSOLICITED = "unsolicited"
    """Ours: the server sent bytes nobody asked for on an idle connection."""
    SERVER_CAP = "server_cap"
    """The server said so, after as many requests as it is known to take on one connection."""
    SERVER_AGE = "server_age"
    """The server said so, at the age that it is known to let a connection have."""
    SERVER_ANNOUNCED = "server_announced"
    """The server said so otherwise, or before its limits were known: `Connection: close`, HTTP/1.0 without
    keep-alive, or GOAWAY."""
    SERVER_ERROR = "server_error"
    """The server gave the connection up with an HTTP/2 error, as if we had broken the protocol."""
    ENHANCE_YOUR_CALM = "enhance_your_calm"
    """The server finds that we ask too much of it (the HTTP/2 error of that name)."""
    HTTP_1_1_REQUIRED = "http_1_1_required"
    """The server wants HTTP/1.1: it said so, or answered in it."""
    SERVER_IDLE = "server_idle"
    """The server closed it while it was idle."""
    SERVER_CLOSED = "server_closed"
    """The server closed it with a request open."""
    RESET = "reset"
    """The connection broke: reset, unreachable, or a TLS failure."""


class HttpVersion(enum.Enum):
    """What is spoken on a connection, by its name in ALPN."""

    HTTP_1_1 = "http/1.1"
    HTTP_2 = "h2"


class ConnectionOpened(msgspec.Struct, frozen=True):
    """A connection was made: one TCP handshake, and one of TLS if `tls_version` is set."""

    number: int
    """Which connection of the run, from 1."""
    address: str
    seconds: float
    """From the start of the dial (name look-up included) until it could carry a request."""
    tls_version: str | None = None
    tls_resumed: bool = False
    http_version: HttpVersion = HttpVersion.HTTP_1_1
    round_trip_seconds: float | None = None
    """By the kernel, which this process cannot keep waiting; None where it does not tell."""


class ConnectionClosed(msgspec.Struct, frozen=True):
    """A connection ended, after carrying `requests` requests for records: heartbeats are not among them."""

    number: int
    reason: CloseReason
    requests: int
    bytes_sent: int
    bytes_received: int
    http_version: HttpVersion = HttpVersion.HTTP_1_1


class ConnectionObserver(Protocol):
    """Listens to connections.  Calls must return at once and never raise."""

    def connection_opened(self, event: ConnectionOpened) -> None: ...

    def connection_closed(self, event: ConnectionClosed) -> None: ...

    def dial_failed(self, reason: str) -> None: ...

    def heartbeat(self, number: int, seconds: float) -> None:
        """A safe request on the connection of this number, which carried no record, was answered."""
