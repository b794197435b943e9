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
from typing import Protocol

from livepost.clock import Clock
from livepost.config import Timeouts
from livepost.events import CloseReason, ConnectionClosed, ConnectionObserver
from livepost.model import Sent
from livepost.net.deadlines import NEVER, Deadlines
from livepost.wire.machine import Answered, Event, Machine
from livepost.wire.message import Exchange, Response

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
    IDLE = "idle"
    BUSY = "busy"
    CLOSED = "closed"


_TRANSITIONS = {
    ConnectionState.IDLE: (ConnectionState.BUSY, ConnectionState.CLOSED),
    ConnectionState.BUSY: (ConnectionState.IDLE, ConnectionState.CLOSED),
    ConnectionState.CLOSED: (),
}


class Work(Protocol):
    """Where exchanges come from and where their results go."""

    @property
    def waiting(self) -> int:
        """How many exchanges `pull` could give now."""

    def pull(self, now: float) -> Exchange | None:
        """The next exchange to send, or None when there is none now."""

    def answered(self, exchange: Exchange, response: Response, now: float) -> None: ...

    def failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None: ...


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
        "_answer_limit",
        "_loop",
        "_machine",
        "_clock",
        "_on_closed",
        "_on_idle",
        "_poll",
        "_read",
        "_shared",
        "_socket",
        "_started_at",
        "_unsent",
        "_work",
        "_write",
        "_written_at",
        "bytes_received",
        "bytes_sent",
        "deadline",
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
        self.state = ConnectionState.IDLE
        self.requests = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.deadline = NEVER
        self.queued_at = NEVER
        self._socket = sock
        self._read = sock.recv
        self._write = sock.send
        self._machine = machine
        self._shared = shared
        self._work = shared.work
        self._clock = shared.clock
        self._loop = shared.loop
        self._deadlines = shared.deadlines
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._unsent: memoryview | None = None
        self._started_at = 0.0
        """When the open request was begun."""
        self._written_at = 0.0
        """When the kernel had taken the last of what there was to write."""
        timeouts = shared.timeouts
        self._answer_limit = min(_or_never(timeouts.max_time), _or_never(timeouts.response_header_timeout))
        poller = select.poll()
        poller.register(sock, select.POLLIN | _POLLRDHUP)
        self._poll = poller.poll
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def offer(self) -> None:
        """There may be work: take some, if the peer is still there.  Only while idle."""
        if self._is_alive():
            self._pull(self._clock())

    def close(self, reason: CloseReason) -> None:
        """Close now; whatever is open fails with what was sent of it."""
        if self.state is not ConnectionState.CLOSED:
            self._end(reason, f"the connection was closed ({reason.value})", orderly=False)

    def expire(self, now: float) -> None:
        """Called by the deadline queue."""
        if self.state is ConnectionState.IDLE:
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
        self._end(CloseReason.TIMEOUT, f"no answer within {now - self._started_at:.3g} s", orderly=False)

    def _is_alive(self) -> bool:
        """Ask the kernel.  Readable is not dead: over TLS it may be a session ticket."""
        ready = self._poll(0)
        if not ready:
            return True
        if ready[0][1] & _DEAD:
            self._end(CloseReason.SERVER_IDLE, "the server closed the idle connection", orderly=True)
            return False
        self._on_readable()
        return self.state is not ConnectionState.CLOSED

    def _on_readable(self) -> None:
        try:
            data = self._read(READ_BYTES)
        except _NOT_NOW:
            return
        except ssl.SSLEOFError:
            self._ended_by_peer("the connection ended without a TLS close", orderly=False)
            return
        except OSError as error:
            self._end(CloseReason.RESET, _reason_of(error), orderly=False)
            return
        if not data:
            self._ended_by_peer("the server closed the connection", orderly=True)
            return
        self.bytes_received += len(data)
        if self.state is ConnectionState.IDLE:
            said_goodbye = data.startswith(_IDLE_GOODBYE)
            reason = CloseReason.SERVER_IDLE if said_goodbye else CloseReason.UNSOLICITED
            self._end(reason, "", orderly=False)
            return
        now = self._clock()
        machine = self._machine
        self._report(machine.receive(data), now)
        if machine.closing is not None:
            if not machine.open_exchanges:
                self._end(machine.closing, "", orderly=False)
        elif not machine.room:
            # `100 Continue` may have released a body.
            self._flush_rest(now)
        elif self._unsent is not None:
            self._end(CloseReason.EARLY_ANSWER, "", orderly=False)
        else:
            self._pull(now)

    def _pull(self, now: float) -> None:
        """Take exchanges while there is room; without any, become idle."""
        machine = self._machine
        requests = self.requests
        while machine.room:
            exchange = self._work.pull(now)
            if exchange is None:
                break
            requests += 1
            exchange.attempts += 1
            exchange.connection = self.number
            exchange.request_on_connection = requests
            exchange.sent_at = now
            machine.send(exchange)
        if requests == self.requests:
            self._become_idle(now)
            return
        self.requests = requests
        self._started_at = now
        if self.state is not ConnectionState.BUSY:
            self._enter(ConnectionState.BUSY)
        if self._flush(now):
            if self._unsent is None and not machine.body_held:
                deadline = now + self._answer_limit
            else:
                deadline = self._answer_deadline()
            # Moving a deadline later is the common case, and then only stores the number.
            self.deadline = deadline
            if deadline < self.queued_at:
                self._deadlines.set(self, deadline)

    def _become_idle(self, now: float) -> None:
        if self.state is ConnectionState.BUSY:
            self._enter(ConnectionState.IDLE)
        self._deadlines.set(self, now + _or_never(self._shared.timeouts.idle_conn_timeout))
        self._on_idle(self)

    def _flush(self, now: float) -> bool:
        """Write what the machine has; False when the connection broke and was closed.

        What the kernel does not take waits until the socket is writable.
        """
        if self._unsent is not None:
            return True
        output = self._machine.take_output()
        if not output:
            return True
        sent = self._write_some(output)
        if sent == len(output):
            self._written_at = now
        elif sent < 0:
            return False
        else:
            self._unsent = memoryview(output)[sent:]
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
        return True

    def _flush_rest(self, now: float) -> None:
        """Write what became ready in the middle of an exchange."""
        if self._flush(now):
            self._deadlines.set(self, self._answer_deadline())

    def _on_writable(self) -> None:
        unsent = self._unsent
        assert unsent is not None
        sent = self._write_some(unsent)
        if sent < 0:
            return
        if sent < len(unsent):
            self._unsent = unsent[sent:]
            return
        self._unsent = None
        self._loop.remove_writer(self._socket.fileno())
        self._written_at = self._clock()
        self._flush_rest(self._written_at)

    def _write_some(self, data: bytes | memoryview) -> int:
        """How many bytes the kernel took; -1 when the connection is broken and was closed."""
        try:
            sent = self._write(data)
        except _NOT_NOW:
            return 0
        except OSError as error:
            self._write_failed(error)
            return -1
        self.bytes_sent += sent
        return sent

    def _write_failed(self, error: OSError) -> None:
        """A server that answers early (413, 401) and closes has left its answer for us to read."""
        machine = self._machine
        with contextlib.suppress(OSError):
            while machine.open_exchanges and (data := self._read(READ_BYTES)):
                self.bytes_received += len(data)
                self._report(machine.receive(data), self._clock())
        self._end(CloseReason.RESET, _reason_of(error), orderly=False)

    def _answer_deadline(self) -> float:
        """When what was begun last must have come further."""
        timeouts = self._shared.timeouts
        if self._machine.body_held:
            return min(self._last_deadline(), self._written_at + _or_never(timeouts.expect_continue_timeout))
        if self._unsent is None and not self._machine.head_received:
            return min(self._last_deadline(), self._written_at + _or_never(timeouts.response_header_timeout))
        return self._last_deadline()

    def _last_deadline(self) -> float:
        return self._started_at + _or_never(self._shared.timeouts.max_time)

    def _ended_by_peer(self, reason: str, *, orderly: bool) -> None:
        idle = self.state is ConnectionState.IDLE
        self._end(CloseReason.SERVER_IDLE if idle else CloseReason.SERVER_CLOSED, reason, orderly=orderly)

    def _end(self, reason: CloseReason, explanation: str, *, orderly: bool) -> None:
        """Close the socket, settle what is open, tell the pool: the one way out."""
        self._enter(ConnectionState.CLOSED)
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
        work = self._work
        for event in events:
            if isinstance(event, Answered):
                work.answered(event.exchange, event.response, now)
            else:
                work.failed(event.exchange, event.sent, event.reason, now)

    def _enter(self, state: ConnectionState) -> None:
        if state not in _TRANSITIONS[self.state]:
            raise RuntimeError(f"connection {self.number} cannot go from {self.state} to {state}")
        self.state = state


def _or_never(limit: float | None) -> float:
    return NEVER if limit is None else limit


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
