"""One connection: a non-blocking socket, a protocol machine, and what it carries.

    IDLE <──> BUSY ──> CLOSED         (dials are the pool's: a connection begins when one is made)
      └─> TESTING ─┘                  (see `multiplexed`)

The poller watches the socket all its life, also while idle, so that a server's FIN is noticed when it
comes.  Plain and TLS sockets are used alike, without a transport: measured four times cheaper over TLS.

A connection that has room is given the next exchanges in the same round of the poller in which
an answer was read.  It tells the pool only when there are none.
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
from livepost.wire.machine import Answered, Event, Failed, Machine, Stage
from livepost.wire.message import Exchange

# One TLS record is at most 16 KiB, so a read always empties OpenSSL's own buffer and readiness of
# the socket is all there is to wait for.
READ_BYTES = 65_536

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_SENT = (Sent.SOME, Sent.ALL)

# Nobody would read a farewell.
_PEER_IS_GONE = frozenset((CloseReason.SERVER_IDLE, CloseReason.SERVER_CLOSED, CloseReason.RESET))


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
    """Carries exchanges, one at a time, until `closed` is reported.

    `on_hungry(connection)` is called when it could carry more than there is, `on_changed(connection)` when
    the pool should look at it anew, and `on_closed(connection, reason)` at its end.  The connection
    owns the socket and closes it on every path.
    """

    __slots__ = (
        "_answer_limit",
        "_deadlines",
        "_machine",
        "_on_changed",
        "_on_closed",
        "_on_hungry",
        "_read",
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
        "is_worn",
        "lost",
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
        self.lost = 0
        """How many requests that the server may have were open at its end, and had no answer."""
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
        self._answer_limit = min(or_never(timeouts.max_time), or_never(timeouts.response_header_timeout))
        self.requests_limit: float = NEVER
        """How many requests the server takes on one connection, as far as is known."""
        self.worn_at: float = NEVER
        """With how many of them this one is worn."""
        self.is_worn = False
        """It nears that limit, and another is to take its place."""
        self._unsent: memoryview | None = None
        self._written_at = 0.0
        """When the kernel had taken the last of what there was to write."""
        shared.poller.watch(self)

    @property
    def room(self) -> int:
        return 0 if self.state is _CLOSED else self._machine.room

    @property
    def spare(self) -> int:
        """How many more exchanges it could take now, if it is still there."""
        return self.room

    @property
    def capacity(self) -> int:
        """How many exchanges it carries at a time; 0 if another is to take its place."""
        return 0 if self.is_worn or self.closing is not None else 1

    @property
    def closing(self) -> CloseReason | None:
        """Why it takes no further exchange, or None while it may."""
        return self._machine.closing

    @property
    def left(self) -> int:
        """How many more requests the server will take; a large number if no limit is known."""
        if self.closing is not None:
            return 0
        return max(0, int(min(self.requests_limit - self.requests, 2**31)))

    @property
    def requests_served(self) -> int:
        """How many requests the server did not say it left unserved."""
        return self.requests - self._machine.unserved

    @property
    def has_outlived_limit(self) -> bool:
        """The server took more requests than `requests_limit`, which so is none."""
        return self.requests > self.requests_limit

    def limit_requests(self, limit: int | None) -> None:
        """The server takes so many requests on one connection; None if that is not known.

        With so many left that a replacement is there in time, it is worn: to dial takes about three round
        trips, in each of which it carries as many as it can at a time.
        """
        self.is_worn = False
        if limit is None:
            self.requests_limit = self.worn_at = NEVER
            return
        self.requests_limit = limit
        self.worn_at = self._worn_with(limit)

    def _worn_with(self, limit: int) -> int:
        return limit - max(limit // 50, 3 * min(self._machine.capacity, limit // 10))

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
        overdue = self._overdue(now)
        if overdue:
            self._expire(overdue, now)
        else:
            self._machine.release_body()
            self._flush_rest(now)

    def _overdue(self, now: float) -> list[Exchange]:
        """The open exchanges that must be waited for no longer."""
        return [
            exchange
            for exchange, stage in self._machine.waiting()
            if now >= self._last_deadline(exchange, stage)
        ]

    def _expire(self, overdue: list[Exchange], now: float) -> None:
        """End these, and the connection with them."""
        self._end(CloseReason.TIMEOUT, no_answer_within(now - overdue[0].sent_at), orderly=False)

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
                    self.has_answered = self.has_answered or has_answer(events)
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
        if not (exchanges and machine.room):
            self._become_idle(now)
            return
        exchange = exchanges.pop()
        self.requests = requests = self.requests + 1
        exchange.connection = self.number
        exchange.request_on_connection = requests
        send = machine.send
        send(exchange)
        if self.state is not _BUSY:
            self._enter(_BUSY)
        # Moving a deadline later is the common case, and then only stores the number.
        self.deadline = deadline = now + self._answer_limit
        if self._flush(now) and (deadline < self.queued_at or machine.body_held or self._unsent is not None):
            self._deadlines.set(self, self._answer_deadline())
        if requests >= self.worn_at:
            self._wear()

    def _wear(self) -> None:
        """Another is to take its place soon; if that turns out to be wrong, that is told, too."""
        if self.state is _CLOSED:
            return
        self.is_worn = True
        self.worn_at = self.requests_limit + 1 if self.requests <= self.requests_limit else NEVER
        self._on_changed(self)

    def wake(self, now: float) -> bool:
        """Leave the pool's hungry connections, to be offered work; whether it can be offered at once."""
        self._enter(_BUSY)
        return True

    def _become_idle(self, now: float) -> None:
        if self.state is _BUSY:
            self._enter(_IDLE)
        self._deadlines.set(self, now + or_never(self._shared.timeouts.idle_conn_timeout))
        self._on_hungry(self)

    def _flush(self, now: float) -> bool:
        """Write what there is to write; False when the connection broke and was closed.

        What the kernel does not take waits until the socket is writable.
        """
        machine = self._machine
        write = self._write
        while True:
            unsent = self._unsent
            output = machine.take_output() if unsent is None else unsent
            if not output:
                return True
            try:
                sent = write(output)
            except _NOT_NOW:
                sent = 0
            except OSError as error:
                self._write_failed(error)
                return False
            self.bytes_sent += sent
            if sent < len(output):
                self._unsent = memoryview(output)[sent:]
                if unsent is None:
                    self._shared.poller.want_writable(self, True)
                return True
            self._written_at = now
            if unsent is not None:
                self._unsent = None
                self._shared.poller.want_writable(self, False)
            elif not machine.has_more_output:
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
        deadline = NEVER
        for exchange, stage in self._machine.waiting():
            deadline = min(deadline, self._last_deadline(exchange, stage))
            if stage is Stage.HELD and self._unsent is None:
                # Then its body is sent anyway.
                limit = or_never(self._shared.timeouts.expect_continue_timeout)
                deadline = min(deadline, self._head_written_at(exchange) + limit)
        return deadline

    def _last_deadline(self, exchange: Exchange, stage: Stage) -> float:
        """When it has failed if it has not come further."""
        timeouts = self._shared.timeouts
        deadline = exchange.sent_at + or_never(timeouts.max_time)
        if stage is Stage.SENT and self._unsent is None:
            deadline = min(
                deadline, self._all_written_at(exchange) + or_never(timeouts.response_header_timeout)
            )
        return deadline

    def _head_written_at(self, exchange: Exchange) -> float:
        return self._written_at

    def _all_written_at(self, exchange: Exchange) -> float:
        return self._written_at

    def _ended_by_peer(self, reason: str, *, orderly: bool) -> None:
        is_idle = not self._machine.open_exchanges
        self._end(CloseReason.SERVER_IDLE if is_idle else CloseReason.SERVER_CLOSED, reason, orderly=orderly)

    def _end(self, reason: CloseReason, explanation: str, *, orderly: bool) -> None:
        """Close the socket, settle what is open, tell the pool: the one way out."""
        self._enter(_CLOSED)
        self._deadlines.discard(self)
        self._shared.poller.forget(self)
        machine = self._machine
        announced = machine.closing
        events = machine.end(written=self.bytes_sent, reason=explanation, orderly=orderly)
        self.lost = sum(isinstance(event, Failed) and event.sent in _SENT for event in events)
        if reason is CloseReason.SERVER_CLOSED:
            # A response that runs until close announces it.
            reason = machine.closing or reason
        elif reason is CloseReason.RESET:
            reason = announced or reason
        self._close_socket(says_goodbye=reason not in _PEER_IS_GONE)
        self._shared.observer.connection_closed(
            ConnectionClosed(
                self.number, reason, self.requests, self.bytes_sent, self.bytes_received, machine.http_version
            )
        )
        self._settle(events, reason)
        self._on_closed(self, reason)

    def _close_socket(self, *, says_goodbye: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            if says_goodbye and self._unsent is None and (farewell := self._machine.take_output()):
                self.bytes_sent += self._write(farewell)
        self._unsent = None
        if isinstance(self._socket, ssl.SSLSocket):
            # Say close_notify; do not wait for the peer's.
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()
        self._socket.close()

    def _settle(self, events: list[Event], cause: CloseReason | None = None) -> None:
        if events:
            self.has_answered = self.has_answered or has_answer(events)
            self._shared.work.settle(events, self._shared.clock(), cause)

    def _enter(self, state: ConnectionState) -> None:
        if state not in _TRANSITIONS[self.state]:
            raise RuntimeError(f"connection {self.number} cannot go from {self.state} to {state}")
        self.state = state


def has_answer(events: list[Event]) -> bool:
    """Whether at least one of these is an answer."""
    return any(isinstance(event, Answered) for event in events)


def or_never(limit: float | None) -> float:
    """A limit that may be missing, as a number."""
    return NEVER if limit is None else limit


def no_answer_within(seconds: float) -> str:
    """Why a record that waited so long has failed."""
    readable = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.3g}"
    return f"no answer within {readable} s"


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
