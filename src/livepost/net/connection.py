"""One connection: what it carries, one exchange at a time.

The poller watches the socket all its life, also while idle, so that a server's FIN is noticed when it
comes.  A connection that has room is given the next exchanges in the same round of the poller in which
an answer was read.  It tells the pool only when there are none.

What is learned of a server is learned at the first answer of all and at the first after each pause: so
nothing of it costs anything for the records in between.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import NEVER
from livepost.net.hand_over import HandOver
from livepost.net.link import NOT_NOW, READ_BYTES
from livepost.net.poller import LEAVING, WRITABLE
from livepost.net.surroundings import Surroundings
from livepost.net.tcp_info import Proof, TcpProgress, judge, read_progress
from livepost.net.timed_link import TimedLink, or_never
from livepost.wire.machine import Answered, Event, Machine
from livepost.wire.message import Exchange, Response

TEST_SECONDS = 5.0
"""How long a connection that is asked whether it is there may take to answer."""

_SHORTEST_PROOF_SECONDS = 0.01

# Looking a member up in its enum takes 0.1 µs in Python 3.11, and this is done for every record.
_IDLE = ConnectionState.IDLE
_TESTING = ConnectionState.TESTING
_BUSY = ConnectionState.BUSY
_DRAINING = ConnectionState.DRAINING
_ENDING = ConnectionState.ENDING
_CLOSED = ConnectionState.CLOSED


def ignore(*what: object) -> None:
    """Nobody wants to know."""


def as_it_is(connection: Connection, reason: CloseReason) -> CloseReason:
    """Nobody knows better."""
    return reason


class Connection(TimedLink):
    """Carries exchanges, one at a time, until `closed` is reported.

    `on_hungry(connection)` is called when it could carry more than there is, `on_changed(connection)` when
    the pool should look at it anew, and `on_closed(connection, reason)` at its end.
    `on_answered(connection, response, idle_seconds)` is told its first answer, and the first after each
    pause; the response is None if it was only a PING.  `on_due(connection)` is called at a time set by
    `call_at` if it is idle then.  `why(connection, reason)` says what is told of the reason for its end.
    """

    __slots__ = (
        "_before",
        "_drained_for",
        "_idle_until",
        "_is_awaited",
        "_on_answered",
        "_on_changed",
        "_on_closed",
        "_on_due",
        "_on_hungry",
        "_records_when_idle",
        "_why",
        "_woken_at",
        "hand_over",
        "has_answered",
        "idle_since",
        "is_worn",
        "opened_at",
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
        on_answered: Callable[[Connection, Response | None, float], None] = ignore,
        on_due: Callable[[Connection], None] = ignore,
        why: Callable[[Connection, CloseReason], CloseReason] = as_it_is,
    ) -> None:
        super().__init__(number, sock, machine, shared)
        self.has_answered = False
        self._on_hungry = on_hungry
        self._on_changed = on_changed
        self._on_closed = on_closed
        self._on_answered = on_answered
        self._on_due = on_due
        self._why = why
        self.opened_at = self.idle_since = shared.clock()
        self._is_awaited = True
        """An answer would be the first, of all or after a pause."""
        self._before: TcpProgress | None = None
        """How far our bytes had come before the first request after a pause, until that is answered."""
        self._drained_for = CloseReason.TOO_OLD
        self._woken_at = -NEVER
        self._idle_until = NEVER
        self._records_when_idle = -1
        self.hand_over = HandOver()
        """When another is to take its place."""
        self.worn_at: float = NEVER
        """With how many requests this one is worn."""
        self.is_worn = False
        """Another is to take its place."""

    @property
    def spare(self) -> int:
        """How many more exchanges it could take now, if it is still there."""
        return 1 if self.state is _TESTING else self.room

    @property
    def capacity(self) -> int:
        """How many exchanges it carries at a time; 0 if another is to take its place."""
        return 0 if self.is_worn or self.closing is not None else 1

    @property
    def closing(self) -> CloseReason | None:
        """Why it takes no further exchange, or None while it may."""
        return self._machine.closing

    @property
    def requests_left(self) -> int:
        """How many more requests the server will take; a large number if no limit is known."""
        if self.closing is not None or self.state is _DRAINING:
            return 0
        return max(0, int(min(self.hand_over.requests_limit - self.requests, 2**31)))

    @property
    def requests_served(self) -> int:
        """How many requests the server did not say it left unserved."""
        return self.requests - self._machine.unserved

    @property
    def has_outlived_limit(self) -> bool:
        """The server took more requests than it was thought to, or all that we let it take."""
        plan = self.hand_over
        return self.requests > plan.requests_limit or (
            plan.is_limit_ours and self.requests == plan.requests_limit and not self._machine.open_exchanges
        )

    @property
    def most_at_a_time(self) -> int:
        """How many exchanges it carries at a time, worn or not."""
        return self._machine.capacity

    @property
    def unanswered_since(self) -> float:
        """When it was used after a pause, if nothing has been answered since; else long ago."""
        return self._woken_at if self._is_awaited else -NEVER

    def follow(self, plan: HandOver) -> None:
        """Be worn from so many requests on, or when `wear` is called."""
        self.hand_over = plan
        self.worn_at = plan.requests
        self.is_worn = False

    def close(self, reason: CloseReason) -> None:
        """Close now; whatever is open fails with what was sent of it."""
        if self.state is not _CLOSED:
            self._end(reason, f"the connection was closed ({reason.value})", orderly=False)

    def retire(self, until: float = NEVER) -> None:
        """Take nothing more, and stay open until the server closes it, or then.  Only while idle."""
        self._enter(ConnectionState.RETIRED)
        self._deadlines.set(self, min(until, self._idle_until))

    def drain(self, reason: CloseReason = CloseReason.TOO_OLD) -> None:
        """Take nothing more, and close for this reason when what is open has ended."""
        if self.state is _BUSY and self._machine.open_exchanges:
            self._enter(_DRAINING)
            self._drained_for = reason
        elif self.state is not _DRAINING and self.state is not _ENDING:
            self.close(reason)

    def can_ping(self, now: float) -> bool:
        """Whether `ping` may be called."""
        return False

    def ping(self, now: float) -> None:
        raise NotImplementedError

    def probe(self, exchange: Exchange, now: float) -> None:
        """Ask for what is safe, to see whether the server is there; nothing else is taken until then."""
        self._enter(_TESTING)
        self._probe = exchange
        self.requests += 1
        self.probes += 1
        exchange.connection = self.number
        exchange.sent_at = now
        self._machine.send(exchange)
        self._deadlines.set(self, now + TEST_SECONDS)
        self._flush(now)

    def expire(self, now: float) -> None:
        """Called by the deadline queue."""
        if self.state is _TESTING:
            self._end(CloseReason.TIMEOUT, "no answer to a test", orderly=False)
        elif self.state is _ENDING:
            self._end_by_proof(judge(self._before, read_progress(self._socket)))
        elif not self._machine.open_exchanges:
            if self.state is ConnectionState.RETIRED:
                self.close(CloseReason.EXPIRED)
            elif now >= self._idle_until or self.state is not _IDLE:
                self.close(CloseReason.IDLE_TIMEOUT)
            else:
                self._deadlines.set(self, self._idle_until)
                self._on_due(self)
        else:
            self._expire_exchanges(now)

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        # Callables are fetched before they are called: Python 3.11 has a fast way to an attribute in a
        # slot, but not to a method that turns out to be one (0.1 µs each).
        machine = self._machine
        if mask != WRITABLE:
            read = self._read
            try:
                data = read(READ_BYTES)
            except NOT_NOW:
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
                    settled += self._note_answer(events, now) if self._is_awaited else events
        if machine.room and self._unsent is None and self.state is _BUSY:
            return not mask & LEAVING
        self._go_on(now)
        return False

    def _note_answer(self, events: list[Event], now: float) -> list[Event]:
        """The first answer of all or after a pause may be among these; returns them without a probe's."""
        first = next((event for event in events if isinstance(event, Answered)), None)
        if first is None:
            return self._without_probe(events)
        self._is_awaited = False
        self._before = None
        self._on_answered(self, first.response, first.exchange.sent_at - self.idle_since)
        self.has_answered = True
        if self._probe is None:
            return events
        events = self._without_probe(events)
        self._probe = None
        self._shared.observer.heartbeat(self.number, now - first.exchange.sent_at)
        self._deadlines.set(self, NEVER)
        self._enter(_BUSY)
        return events

    def _go_on(self, now: float) -> None:
        """After reading, when no further exchange can be taken yet or ever."""
        machine = self._machine
        if machine.closing is not None:
            if not machine.open_exchanges:
                self._end(machine.closing, "", orderly=False)
        elif self.state is _DRAINING and not machine.open_exchanges:
            self._end(self._drained_for, "", orderly=False)
        elif machine.room and self._unsent is not None:
            self._end(CloseReason.EARLY_ANSWER, "", orderly=False)
        else:
            # The socket is writable, or `100 Continue` has released a body.
            self._flush_rest(now)

    def _read_failed(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLEOFError):
            self._ended_by_peer("the connection ended without a TLS close", orderly=False)
        else:
            self._end_by_error(error)

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        machine = self._machine
        if self.state is not _BUSY and self.state is not _IDLE:
            return
        if not (exchanges and machine.room):
            self._become_idle(now)
            return
        if self.state is not _BUSY:
            self._enter(_BUSY)
        exchange = exchanges.pop()
        self.requests = requests = self.requests + 1
        exchange.connection = self.number
        exchange.request_on_connection = requests
        send, take_output = machine.send, machine.take_output
        send(exchange)
        # Moving a deadline later is the common case, and then only stores the number.
        self.deadline = deadline = now + self._answer_limit
        is_alive = self._put(take_output(), now)
        if is_alive and (deadline < self.queued_at or machine.body_held or self._unsent is not None):
            self._deadlines.set(self, self._answer_deadline())
        if requests >= self.worn_at:
            self._wear_by_requests()

    def wear(self) -> None:
        """Another is to take its place soon."""
        if self.state is not _CLOSED:
            self.is_worn = True

    def _wear_by_requests(self) -> None:
        """If its limit turns out to be none, that is told, too; one of ours is kept to."""
        limit = self.hand_over.requests_limit
        is_ours = self.hand_over.is_limit_ours
        self.wear()
        if is_ours and self.requests >= limit:
            self.worn_at = NEVER
            if self.state is _BUSY:
                self.drain(CloseReason.LIMIT_REACHED)
        else:
            self.worn_at = limit if is_ours else limit + 1 if self.requests <= limit else NEVER
        if self.state is not _CLOSED:
            self._on_changed(self)

    def wake(self, now: float) -> bool:
        """Leave the pool's hungry connections, to be offered work; whether it can be offered at once."""
        if self.has_answered and self.state is _IDLE:
            self._before = read_progress(self._socket, keeps_error=True)
            self._woken_at = now
        self._enter(_BUSY)
        return True

    def call_at(self, when: float) -> None:
        """If it is idle until then, call `on_due`."""
        self._deadlines.set(self, min(when, self._idle_until))

    def _become_idle(self, now: float) -> None:
        if self.state is _BUSY:
            self._enter(_IDLE)
        self._before = None
        if not self._is_awaited:
            # Else it was woken, and nothing was sent: then its pause goes on.
            self._is_awaited = True
            self.idle_since = now
        records = self.requests - self.probes
        if records != self._records_when_idle:
            self._records_when_idle = records
            self._idle_until = now + or_never(self._shared.timeouts.idle_conn_timeout)
        self._deadlines.set(self, self._idle_until)
        self._on_hungry(self)

    def _ended_by_peer(self, reason: str, *, orderly: bool) -> None:
        if not self._machine.open_exchanges or self.state is _TESTING:
            self._end(CloseReason.SERVER_IDLE, reason, orderly=orderly)
            return
        if self._before is not None:
            progress = read_progress(self._socket)
            proof = judge(self._before, progress)
            if proof is Proof.REFUSED:
                self._end_by_proof(proof)
                return
            if proof is Proof.NOT_YET and progress is not None:
                self._enter(_ENDING)
                self.is_worn = True
                self._shared.poller.forget(self)
                wait = max(2 * progress.round_trip_seconds, _SHORTEST_PROOF_SECONDS)
                self._deadlines.set(self, self._shared.clock() + wait)
                return
        self._end(CloseReason.SERVER_CLOSED, reason, orderly=orderly)

    def _end_by_proof(self, proof: Proof) -> None:
        if proof is Proof.REFUSED:
            explanation = "the server closed the connection before the request came"
            self._end(CloseReason.SERVER_IDLE, explanation, orderly=False, is_refused=True)
        else:
            self._end(CloseReason.SERVER_CLOSED, "the server closed the connection", orderly=False)

    def _settle(self, events: list[Event], cause: CloseReason | None = None) -> None:
        if not self.has_answered:
            self.has_answered = any(isinstance(event, Answered) for event in events)
        super()._settle(events, cause)

    def _explained(self, reason: CloseReason) -> CloseReason:
        return self._why(self, reason)

    def _closed(self, reason: CloseReason) -> None:
        self._on_closed(self, reason)
