"""One connection: a non-blocking socket, a protocol machine, and the work it pulls.

    IDLE <──> BUSY ──> CLOSED         (dials are the pool's: a connection begins when one is made)

The socket is registered with the event loop for reading all its life, also while idle, so that a
server's FIN is noticed when it comes; before a request is written after a pause the kernel is
asked once more.  Plain and TLS sockets are used alike, without a transport: measured four times
cheaper over TLS.

A connection that has room asks `Work.pull` for the next exchange as soon as an answer is read,
in the same turn of the event loop.  It goes back to the pool only when there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from livepost.clock import Clock
from livepost.config import Timeouts
from livepost.events import CloseReason, ConnectionClosed, ConnectionObserver
from livepost.net.deadlines import NEVER, Deadlines
from livepost.net.work import Work
from livepost.wire.machine import Answered, Event, Machine

# One TLS record is at most 16 KiB, so a read always empties OpenSSL's own buffer and readiness of
# the socket is all there is to wait for.
READ_BYTES = 65_536

# Not in the select module of every platform; without it a FIN shows as readable and is then read.
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)
_DEAD = select.POLLHUP | select.POLLERR | select.POLLNVAL | _POLLRDHUP

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# What some servers say before they close an idle connection (Go's Transport reads it so, too).
_IDLE_GOODBYE = b"HTTP/1.1 408"


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
    loop: asyncio.AbstractEventLoop
    observer: ConnectionObserver


class Connection:
    """Carries exchanges until `closed` is reported.

    `on_idle(connection)` and `on_closed(connection, reason)` tell the pool.  The connection owns the
    socket and closes it on every path.
    """

    __slots__ = (
        "_deadlines",
        "_failed",
        "_loop",
        "_machine",
        "_answer_limit",
        "_answered",
        "_clock",
        "_on_closed",
        "_on_idle",
        "_poll",
        "_read",
        "_shared",
        "_socket",
        "_started_at",
        "_unsent",
        "_work_pull",
        "_write",
        "_written_at",
        "bytes_received",
        "bytes_sent",
        "deadline",
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
        self._work_pull = shared.work.pull
        self._answered = shared.work.answered
        self._failed = shared.work.failed
        self._clock = shared.clock
        self._loop = shared.loop
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
        poller = select.poll()
        poller.register(sock, select.POLLIN | _POLLRDHUP)
        self._poll = poller.poll
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def offer(self) -> None:
        """There may be work: take some, if the peer is still there.  Only while idle."""
        ready = self._poll(0)
        if not ready or self._is_alive(ready):
            self._pull(self._clock())

    def close(self, reason: CloseReason) -> None:
        """Close now; whatever is open fails with what was sent of it."""
        if self.state is not _CLOSED:
            self._end(reason, f"the connection was closed ({reason.value})", orderly=False)

    def expire(self, now: float) -> None:
        """Called by the deadline queue."""
        if self.state is _IDLE:
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

    def _is_alive(self, ready: list[tuple[int, int]]) -> bool:
        """What the kernel said when asked.  Readable is not dead: over TLS it may be a session ticket."""
        if ready[0][1] & _DEAD:
            self._end(CloseReason.SERVER_IDLE, "the server closed the idle connection", orderly=True)
            return False
        self._on_readable()
        return self.state is not _CLOSED

    def _on_readable(self) -> None:
        # Callables are fetched before they are called: Python 3.11 has a fast way to an attribute in a
        # slot, but not to a method that turns out to be one (0.1 µs each).
        read = self._read
        try:
            data = read(READ_BYTES)
        except _NOT_NOW:
            return
        except OSError as error:
            self._read_failed(error)
            return
        if not data:
            self._ended_by_peer("the server closed the connection", orderly=True)
            return
        self.bytes_received += len(data)
        if self.state is _IDLE:
            self._end(_reason_to_speak_up(data), "", orderly=False)
            return
        clock = self._clock
        now = clock()
        machine = self._machine
        for event in machine.receive(data):
            if isinstance(event, Answered):
                self.has_answered = True
                answered = self._answered
                answered(event.exchange, event.response, now)
            else:
                self._failed(event.exchange, event.sent, event.reason, now)
        if machine.room and self._unsent is None:
            # Many servers close after an answer without having said so (0.4 µs to ask the kernel).
            poll = self._poll
            ready = poll(0)
            if not ready or self._is_alive(ready):
                self._pull(now)
        elif self.state is not _CLOSED:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """After reading, when no further exchange can be taken yet or ever."""
        machine = self._machine
        if machine.room:
            self._end(CloseReason.EARLY_ANSWER, "", orderly=False)
        elif machine.closing is None:
            # `100 Continue` may have released a body.
            self._flush_rest(now)
        elif not machine.open_exchanges:
            self._end(machine.closing, "", orderly=False)

    def _read_failed(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLEOFError):
            self._ended_by_peer("the connection ended without a TLS close", orderly=False)
        else:
            self._end(CloseReason.RESET, _reason_of(error), orderly=False)

    def _pull(self, now: float) -> None:
        """Take exchanges while there is room; without any, become idle."""
        machine = self._machine
        requests = self.requests
        pull = self._work_pull
        while machine.room:
            exchange = pull(now)
            if exchange is None:
                break
            requests += 1
            exchange.connection = self.number
            exchange.request_on_connection = requests
            machine.send(exchange)
        if requests == self.requests:
            if self.state is not _CLOSED:
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
                self._loop.remove_writer(self._socket.fileno())
                return self._flush(now)
        else:
            self._unsent = memoryview(output)[sent:]
            if unsent is None:
                self._loop.add_writer(self._socket.fileno(), self._on_writable)
        return True

    def _on_writable(self) -> None:
        self._flush_rest(self._clock())

    def _flush_rest(self, now: float) -> None:
        """Write on, and see anew until when an answer must have come."""
        if self._flush(now):
            self._deadlines.set(self, self._answer_deadline())

    def _write_failed(self, error: OSError) -> None:
        """A server that answers early (413, 401) and closes has left its answer for us to read."""
        machine = self._machine
        with contextlib.suppress(OSError):
            while machine.open_exchanges and (data := self._read(READ_BYTES)):
                self.bytes_received += len(data)
                self._report(machine.receive(data), self._clock())
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
        self._loop.remove_reader(self._socket.fileno())
        if self._unsent is not None:
            self._unsent = None
            self._loop.remove_writer(self._socket.fileno())
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
        self._report(events, self._clock())
        self._on_closed(self, reason)

    def _report(self, events: list[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Answered):
                self.has_answered = True
                self._answered(event.exchange, event.response, now)
            else:
                self._failed(event.exchange, event.sent, event.reason, now)

    def _enter(self, state: ConnectionState) -> None:
        if state not in _TRANSITIONS[self.state]:
            raise RuntimeError(f"connection {self.number} cannot go from {self.state} to {state}")
        self.state = state


def _reason_to_speak_up(data: bytes) -> CloseReason:
    """Why a server says something on an idle connection."""
    return CloseReason.SERVER_IDLE if data.startswith(_IDLE_GOODBYE) else CloseReason.UNSOLICITED


def _or_never(limit: float | None) -> float:
    return NEVER if limit is None else limit


def _readable(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.3g}"


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
