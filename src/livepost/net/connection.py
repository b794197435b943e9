"""One connection: a non-blocking socket, a protocol machine, and what it carries.

    IDLE <──> BUSY ──> CLOSED         (dials are the pool's: a connection begins when one is made)

The poller watches the socket all its life, also while idle, so that a server's FIN is noticed when it
comes.  Plain and TLS sockets are used alike, without a transport: measured four times cheaper over TLS.

A connection that has room is given the next exchanges in the same round of the poller in which
its answer was read.  It goes back to the pool only when there are none.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from livepost.clock import Clock
from livepost.config import Timeouts
from livepost.events import CloseReason, ConnectionClosed, ConnectionObserver
from livepost.net.deadlines import NEVER, Deadlines
from livepost.net.poller import LEAVING, WRITABLE, Poller
from livepost.net.work import Work
from livepost.wire.machine import Answered, Event, Machine
from livepost.wire.message import Exchange

# One TLS record is at most 16 KiB, so a read always empties OpenSSL's own buffer and readiness of
# the socket is all there is to wait for.
READ_BYTES = 65_536

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ConnectionState(enum.Enum):
    """Waiting for work, carrying it, or over."""

    IDLE = "idle"
    BUSY = "busy"
    CLOSED = "closed"


_TRANSITIONS = {
    ConnectionState.IDLE: (ConnectionState.BUSY, ConnectionState.CLOSED),
    ConnectionState.BUSY: (ConnectionState.IDLE, ConnectionState.CLOSED),
    ConnectionState.CLOSED: (),
}

# Looking a member up in its enum takes 0.1 µs in Python 3.11, and this is done for every record.
_IDLE = ConnectionState.IDLE
_BUSY = ConnectionState.BUSY
_CLOSED = ConnectionState.CLOSED


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections of a run share."""

    work: Work
    timeouts: Timeouts
    deadlines: Deadlines
    clock: Clock
    poller: Poller
    observer: ConnectionObserver


class Connection:
    """Carries exchanges until `closed` is reported.

    `on_idle(connection)` and `on_closed(connection, reason)` tell the pool.  The connection owns the
    socket and closes it on every path.
    """

    __slots__ = (
        "_answer_limit",
        "_deadlines",
        "_machine",
        "_on_closed",
        "_on_idle",
        "_read",
        "_shared",
        "_socket",
        "_started_at",
        "_unsent",
        "_write",
        "_written_at",
        "bytes_received",
        "bytes_sent",
        "deadline",
        "descriptor",
        "has_answered",
        "number",
        "queued_at",
        "requests",
        "state",
    )

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        machine: Machine,
        shared: Surroundings,
        *,
        on_idle: Callable[[Connection], None],
        on_closed: Callable[[Connection, CloseReason], None],
    ) -> None:
        self.number = number
        self.descriptor = sock.fileno()
        self.state = _IDLE
        self.requests = self.bytes_sent = self.bytes_received = 0
        self.has_answered = False
        self.deadline = self.queued_at = NEVER
        self._socket = sock
        self._read: Callable[[int], bytes] = sock.recv
        self._write: Callable[[bytes | memoryview], int] = sock.send
        if isinstance(sock, ssl.SSLSocket):
            # What its recv and send call in the end, without their layers of Python (a sixth of the CPU
            # a record costs over TLS).  The name is private, so the public one stands by.
            inner = getattr(sock, "_sslobj", sock)
            self._read, self._write = inner.read, inner.write
        self._machine = machine
        self._shared = shared
        self._deadlines = shared.deadlines
        self._on_idle = on_idle
        self._on_closed = on_closed
        timeouts = shared.timeouts
        self._answer_limit = min(_or_never(timeouts.max_time), _or_never(timeouts.response_header_timeout))
        self._unsent: memoryview | None = None
        self._started_at = 0.0
        """When the open request was begun."""
        self._written_at = 0.0
        """When the kernel had taken the last of what there was to write."""
        shared.poller.watch(self)

    @property
    def room(self) -> int:
        return 0 if self.state is _CLOSED else self._machine.room

    def close(self, reason: CloseReason) -> None:
        """Close now; whatever is open fails with what was sent of it."""
        if self.state is not _CLOSED:
            self._end(reason, f"the connection was closed ({reason.value})", orderly=False)

    def expire(self, now: float) -> None:
        """Called by the deadline queue."""
        if not self._machine.open_exchanges:
            self.close(CloseReason.IDLE_TIMEOUT)
            return
        deadline = self._answer_deadline()
        if now < deadline:
            self._deadlines.set(self, deadline)
            return
        if self._machine.body_held and now < self._last_deadline():
            self._machine.release_body()
            self._flush_rest(now)
            return
        self._end(
            CloseReason.TIMEOUT, f"no answer within {_readable(now - self._started_at)} s", orderly=False
        )

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        # Callables are fetched before they are called: Python 3.11 has a fast way to an attribute in a
        # slot, but not to a method that turns out to be one (0.1 µs each).
        machine = self._machine
        if mask != WRITABLE:
            read = self._read
            try:
                data = read(READ_BYTES)
            except _NOT_NOW:
                pass
            except OSError as error:
                self._read_failed(error)
                return False
            else:
                if not data:
                    self._ended_by_peer("the server closed the connection", orderly=True)
                    return False
                self.bytes_received += len(data)
                receive = machine.receive
                events = receive(data)
                if events:
                    settled += events
                    self.has_answered = self.has_answered or _has_answer(events)
        if machine.room and self._unsent is None and self.state is _BUSY:
            return not mask & LEAVING
        self._go_on(now)
        return False

    def _go_on(self, now: float) -> None:
        """After reading, when no further exchange can be taken yet or ever."""
        machine = self._machine
        if machine.closing is not None:
            if not machine.open_exchanges:
                self._end(machine.closing, "", orderly=False)
        elif machine.room and self._unsent is not None:
            self._end(CloseReason.EARLY_ANSWER, "", orderly=False)
        else:
            # The socket is writable, or `100 Continue` has released a body.
            self._flush_rest(now)

    def _read_failed(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLEOFError):
            self._ended_by_peer("the connection ended without a TLS close", orderly=False)
        else:
            self._end(CloseReason.RESET, _reason_of(error), orderly=False)

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        machine = self._machine
        if self.state is _CLOSED:
            return
        requests = self.requests
        number = self.number
        while exchanges and machine.room:
            exchange = exchanges.pop()
            requests += 1
            exchange.connection = number
            exchange.request_on_connection = requests
            machine.send(exchange)
        if requests == self.requests:
            self._become_idle(now)
            return
        self.requests = requests
        self._started_at = now
        if self.state is not _BUSY:
            self._enter(_BUSY)
        # Moving a deadline later is the common case, and then only stores the number.
        self.deadline = deadline = now + self._answer_limit
        if self._flush(now) and (deadline < self.queued_at or machine.body_held or self._unsent is not None):
            self._deadlines.set(self, self._answer_deadline())

    def wake(self) -> None:
        """Leave the pool's idle connections, to be offered work."""
        self._enter(_BUSY)

    def _become_idle(self, now: float) -> None:
        if self.state is _BUSY:
            self._enter(_IDLE)
        self._deadlines.set(self, now + _or_never(self._shared.timeouts.idle_conn_timeout))
        self._on_idle(self)

    def _flush(self, now: float) -> bool:
        """Write what there is to write; False when the connection broke and was closed.

        What the kernel does not take waits until the socket is writable.
        """
        unsent = self._unsent
        output = self._machine.take_output() if unsent is None else unsent
        if not output:
            return True
        write = self._write
        try:
            sent = write(output)
        except _NOT_NOW:
            sent = 0
        except OSError as error:
            self._write_failed(error)
            return False
        self.bytes_sent += sent
        if sent == len(output):
            self._written_at = now
            if unsent is not None:
                self._unsent = None
                self._shared.poller.want_writable(self, False)
                return self._flush(now)
        else:
            self._unsent = memoryview(output)[sent:]
            if unsent is None:
                self._shared.poller.want_writable(self, True)
        return True

    def _flush_rest(self, now: float) -> None:
        """Write on, and see anew until when an answer must have come."""
        if self._flush(now) and self._machine.open_exchanges:
            self._deadlines.set(self, self._answer_deadline())

    def _write_failed(self, error: OSError) -> None:
        """A server that answers early (413, 401) and closes has left its answer for us to read."""
        machine = self._machine
        with contextlib.suppress(OSError):
            while machine.open_exchanges and (data := self._read(READ_BYTES)):
                self.bytes_received += len(data)
                self._settle(machine.receive(data))
        if self.state is not _CLOSED:
            self._end(CloseReason.RESET, _reason_of(error), orderly=False)

    def _answer_deadline(self) -> float:
        """When what was begun last must have come further."""
        timeouts = self._shared.timeouts
        if self._unsent is not None:
            return self._last_deadline()
        if self._machine.body_held:
            return min(self._last_deadline(), self._written_at + _or_never(timeouts.expect_continue_timeout))
        if not self._machine.head_received:
            return min(self._last_deadline(), self._written_at + _or_never(timeouts.response_header_timeout))
        return self._last_deadline()

    def _last_deadline(self) -> float:
        return self._started_at + _or_never(self._shared.timeouts.max_time)

    def _ended_by_peer(self, reason: str, *, orderly: bool) -> None:
        is_idle = not self._machine.open_exchanges
        self._end(CloseReason.SERVER_IDLE if is_idle else CloseReason.SERVER_CLOSED, reason, orderly=orderly)

    def _end(self, reason: CloseReason, explanation: str, *, orderly: bool) -> None:
        """Close the socket, settle what is open, tell the pool: the one way out."""
        self._enter(_CLOSED)
        self._deadlines.discard(self)
        self._shared.poller.forget(self)
        self._unsent = None
        if isinstance(self._socket, ssl.SSLSocket):
            # Say close_notify; do not wait for the peer's.
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()
        self._socket.close()
        events = self._machine.end(written=self.bytes_sent, reason=explanation, orderly=orderly)
        if reason is CloseReason.SERVER_CLOSED and self._machine.closing is not None:
            # A response that runs until close announces it.
            reason = self._machine.closing
        self._shared.observer.connection_closed(
            ConnectionClosed(self.number, reason, self.requests, self.bytes_sent, self.bytes_received)
        )
        self._settle(events, reason)
        self._on_closed(self, reason)

    def _settle(self, events: list[Event], cause: CloseReason | None = None) -> None:
        if events:
            self.has_answered = self.has_answered or _has_answer(events)
            self._shared.work.settle(events, self._shared.clock(), cause)

    def _enter(self, state: ConnectionState) -> None:
        if state not in _TRANSITIONS[self.state]:
            raise RuntimeError(f"connection {self.number} cannot go from {self.state} to {state}")
        self.state = state


def _has_answer(events: list[Event]) -> bool:
    return any(isinstance(event, Answered) for event in events)


def _or_never(limit: float | None) -> float:
    return NEVER if limit is None else limit


def _readable(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.3g}"


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
