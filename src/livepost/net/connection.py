"""One connection: a non-blocking socket, a protocol machine, and what it carries.

    IDLE <──> BUSY ──> CLOSED         (dials are the pool's: a connection begins when one is made)
      └─> TESTING ─┘                  (HTTP/2, after a pause)

The poller watches the socket all its life, also while idle, so that a server's FIN is noticed when it
comes.  Plain and TLS sockets are used alike, without a transport: measured four times cheaper over TLS.

A connection that has room is given the next exchanges in the same round of the poller in which
an answer was read.  It tells the pool only when there are none.

Over HTTP/2 it carries many at a time, each with a deadline of its own: one that passes it is
cancelled, and the connection with it only if nothing else is under way.  After a pause it is asked
whether it is still there (PING) before it is trusted with records.
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
from livepost.model import Sent
from livepost.net.deadlines import NEVER, Deadlines
from livepost.net.poller import LEAVING, WRITABLE, Poller
from livepost.net.work import Work
from livepost.wire.machine import Answered, Event, Failed, Machine
from livepost.wire.message import Exchange

# One TLS record is at most 16 KiB, so a read always empties OpenSSL's own buffer and readiness of
# the socket is all there is to wait for.
READ_BYTES = 65_536

# An unknown server is safe to use again below 4 s (most clients' choice): after that, ask first.
_TESTED_AFTER_SECONDS = 4.0
_SECONDS_BETWEEN_PINGS = 30.0
_PING_TIMEOUT_SECONDS = 5.0

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ConnectionState(enum.Enum):
    """Waiting for work, being asked whether it is there, carrying work, or over."""

    IDLE = "idle"
    TESTING = "testing"
    BUSY = "busy"
    CLOSED = "closed"


_TRANSITIONS = {
    ConnectionState.IDLE: (ConnectionState.TESTING, ConnectionState.BUSY, ConnectionState.CLOSED),
    ConnectionState.TESTING: (ConnectionState.BUSY, ConnectionState.CLOSED),
    ConnectionState.BUSY: (ConnectionState.IDLE, ConnectionState.CLOSED),
    ConnectionState.CLOSED: (),
}

# Looking a member up in its enum takes 0.1 µs in Python 3.11, and this is done for every record.
_IDLE = ConnectionState.IDLE
_TESTING = ConnectionState.TESTING
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

    `on_hungry(connection)` is called when it could carry more than there is, `on_changed(connection)` when
    its `capacity` does, and `on_closed(connection, reason)` at its end.  The connection owns the
    socket and closes it on every path.
    """

    __slots__ = (
        "_answer_limit",
        "_deadlines",
        "_idle_since",
        "_is_multiplexed",
        "_is_worn",
        "_known_capacity",
        "_machine",
        "_on_closed",
        "_on_hungry",
        "_on_changed",
        "_pinged_at",
        "_read",
        "_refused",
        "_shared",
        "_socket",
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
        "requests_limit",
        "state",
        "worn_at",
    )

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        machine: Machine,
        shared: Surroundings,
        *,
        on_hungry: Callable[[Connection], None],
        on_changed: Callable[[Connection], None],
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
        self._on_hungry = on_hungry
        self._on_changed = on_changed
        self._on_closed = on_closed
        timeouts = shared.timeouts
        self._answer_limit = min(_or_never(timeouts.max_time), _or_never(timeouts.response_header_timeout))
        self._is_multiplexed = machine.is_multiplexed
        self.worn_at: float = NEVER
        """From how many requests on a replacement is wanted (see `requests_limit`)."""
        self.requests_limit: float = NEVER
        """How many requests the server takes on one connection, as far as is known."""
        self._is_worn = False
        self._known_capacity = machine.capacity
        self._refused = 0
        self._idle_since = shared.clock()
        self._pinged_at = -NEVER
        self._unsent: memoryview | None = None
        self._written_at = 0.0
        """When the kernel had taken the last of what there was to write."""
        shared.poller.watch(self)

    @property
    def room(self) -> int:
        if self.state is _CLOSED or self.state is _TESTING:
            return 0
        room = self._machine.room
        return room if self.requests + room <= self.requests_limit else self._left

    @property
    def capacity(self) -> int:
        """How many exchanges it carries at a time; 0 if its end is near."""
        if self.state is _CLOSED or self._is_worn or self._machine.closing is not None:
            return 0
        return self._machine.capacity

    @property
    def requests_taken(self) -> int:
        """How many requests the server did not refuse."""
        return self.requests - self._refused

    def limit_requests(self, limit: int | None) -> None:
        """The server takes so many requests on one connection; None if that is not known."""
        if limit is None:
            self.requests_limit = self.worn_at = NEVER
            return
        self.requests_limit = limit
        # So early that a replacement is there in time: dialling takes about three round trips.
        early = max(limit // 50, 3 * min(self._machine.capacity, limit // 10))
        self.worn_at = limit - early

    @property
    def _left(self) -> int:
        """How many requests the server will still take."""
        return max(0, int(self.requests_limit) - self.requests)

    def close(self, reason: CloseReason) -> None:
        """Close now; whatever is open fails with what was sent of it."""
        if self.state is not _CLOSED:
            self._end(reason, f"the connection was closed ({reason.value})", orderly=False)

    def expire(self, now: float) -> None:
        """Called by the deadline queue."""
        if self.state is _TESTING:
            self._end(CloseReason.TIMEOUT, "no answer to a PING", orderly=False)
            return
        if not self._machine.open_exchanges:
            self.close(CloseReason.IDLE_TIMEOUT)
            return
        if now < self._answer_deadline():
            self._deadlines.set(self, self._answer_deadline())
            return
        overdue = [
            exchange
            for exchange, has_head in self._machine.waiting()
            if now >= self._deadline_of(exchange, has_head=has_head)
        ]
        if not overdue:
            self._machine.release_body()
            self._flush_rest(now)
            return
        reason = f"no answer within {_readable(now - overdue[0].sent_at)} s"
        if len(overdue) == self._machine.open_exchanges:
            self._end(CloseReason.TIMEOUT, reason, orderly=False)
            return
        for exchange in overdue:
            self._settle(self._machine.cancel(exchange, reason), CloseReason.TIMEOUT)
        self._flush_rest(now)

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
                if self._is_multiplexed:
                    self._look_at_streams(events)
        if self.state is _TESTING and not machine.ping_open and machine.closing is None:
            self._enter(_BUSY)
        if machine.room and self._unsent is None and self.state is _BUSY and not self._is_used_up:
            return not mask & LEAVING
        self._go_on(now)
        return False

    def _look_at_streams(self, events: list[Event]) -> None:
        """How many there may be changes with SETTINGS; GOAWAY says which were not processed."""
        machine = self._machine
        if machine.closing is not None:
            self._refused += sum(isinstance(event, Failed) and event.sent is Sent.REFUSED for event in events)
        if machine.capacity != self._known_capacity:
            self._known_capacity = machine.capacity
            self._on_changed(self)

    def _go_on(self, now: float) -> None:
        """After reading, when no further exchange can be taken yet or ever."""
        machine = self._machine
        if machine.room and self._unsent is not None and not self._is_multiplexed:
            self._end(CloseReason.EARLY_ANSWER, "", orderly=False)
            return
        if machine.closing is None or self._is_multiplexed:
            # The socket is writable, `100 Continue` has released a body, or HTTP/2 has something to say.
            self._flush_rest(now)
        if machine.closing is not None and not machine.open_exchanges and self.state is not _CLOSED:
            self._end(machine.closing, "", orderly=False)

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
        limit = self.requests_limit
        while exchanges and machine.room and requests < limit:
            exchange = exchanges.pop()
            requests += 1
            exchange.connection = number
            exchange.request_on_connection = requests
            machine.send(exchange)
        if requests == self.requests:
            self._wait_for_work(now)
            return
        self.requests = requests
        if self.state is not _BUSY:
            self._enter(_BUSY)
        deadline = now + self._answer_limit
        if not self._is_multiplexed:
            # Moving a deadline later is the common case, and then only stores the number.
            self.deadline = deadline
        if self._flush(now) and (deadline < self.queued_at or machine.body_held or self._unsent is not None):
            self._deadlines.set(self, self._answer_deadline())
        if requests >= self.worn_at and not self._is_worn:
            self._is_worn = True
            self._on_changed(self)
        if exchanges or not self._is_multiplexed or not machine.room:
            return
        self._on_hungry(self)

    def wake(self, now: float) -> bool:
        """Get ready to be offered work; False if that has to wait for the answer to a PING."""
        if self.state is not _IDLE:
            return True
        if self._needs_test(now):
            self._enter(_TESTING)
            self._pinged_at = now
            self._machine.ping()
            self._deadlines.set(self, now + _PING_TIMEOUT_SECONDS)
            self._flush(now)
            return False
        self._enter(_BUSY)
        return True

    def _needs_test(self, now: float) -> bool:
        # Servers bear few PINGs (gRPC's two in 5 minutes, others one in 30 s).
        return (
            self._is_multiplexed
            and self.requests > 0
            and now - self._idle_since > _TESTED_AFTER_SECONDS
            and now - self._pinged_at > _SECONDS_BETWEEN_PINGS
        )

    @property
    def _is_used_up(self) -> bool:
        return self.requests >= self.requests_limit

    def _wait_for_work(self, now: float) -> None:
        """There is none for this connection now."""
        if self._is_multiplexed and not self._flush(now):
            return
        if not self._machine.open_exchanges:
            self._idle_since = now
            if self.state is _BUSY:
                self._enter(_IDLE)
            self._deadlines.set(self, now + _or_never(self._shared.timeouts.idle_conn_timeout))
        self._on_hungry(self)

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
            if self._machine.has_more_output:
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
        """When what is open must have come further."""
        waiting = self._machine.waiting()
        deadline = min(
            (self._deadline_of(exchange, has_head=head) for exchange, head in waiting), default=NEVER
        )
        if self._machine.body_held and self._unsent is None:
            limit = _or_never(self._shared.timeouts.expect_continue_timeout)
            deadline = min(deadline, self._written_at + limit)
        return deadline

    def _deadline_of(self, exchange: Exchange, *, has_head: bool) -> float:
        timeouts = self._shared.timeouts
        deadline = exchange.sent_at + _or_never(timeouts.max_time)
        if has_head or self._unsent is not None or self._machine.body_held:
            return deadline
        # Over HTTP/2 others are written after it.
        written_at = exchange.sent_at if self._is_multiplexed else self._written_at
        return min(deadline, written_at + _or_never(timeouts.response_header_timeout))

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
