"""A connection that carries many exchanges at a time: HTTP/2.

Each exchange has a deadline of its own: one that passes it is cancelled, and the connection with it only
if nothing else is under way and nothing that was sent later has been answered.

Whether it is still there can be asked without asking for anything (PING): what is sent to one that is gone
without a word would be in doubt, and there is room for many.  It is asked before it is used after a long
pause, before it is used when all that was under way was cancelled, and when some of it was, as
golang.org/x/net/http2 does: those keep their places until anything is read (`wire.places`), and if nothing is
read within 5 s, no more is sent to it.  The last kind of PING comes 30 s after one before at the earliest,
whatever was sent meanwhile: a server that does not answer is not asked more often.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from livepost.events import CloseReason
from livepost.net.connection import TEST_SECONDS, Connection, as_it_is, ignore
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import NEVER
from livepost.net.poller import LEAVING
from livepost.net.record_reader import RecordReader
from livepost.net.surroundings import Surroundings
from livepost.net.timed_link import no_answer_within, or_never
from livepost.wire.machine import Event, Machine, Stage
from livepost.wire.message import Exchange, Response

# Servers bear few PINGs without requests between them: gRPC's two in 5 minutes, others one in 30 s.
SECONDS_BETWEEN_PINGS = 30.0

_ENOUGH = 2**31
"""A capacity that asks for no other connection."""

_IDLE = ConnectionState.IDLE
_TESTING = ConnectionState.TESTING
_BUSY = ConnectionState.BUSY
_DRAINING = ConnectionState.DRAINING
_CLOSED = ConnectionState.CLOSED

_TAKES_WORK = (_BUSY, _IDLE, _TESTING)
_IS_READ = (*_TAKES_WORK, _DRAINING, ConnectionState.RETIRED)


class MultiplexedConnection(Connection):
    """Carries as many exchanges at a time as the server allows.

    `on_hungry` is called also while it carries some and could carry more, `on_changed` when its `capacity`
    changes, which the server may do at any time.
    """

    __slots__ = ("_known_capacity", "_pinged_after", "_pinged_at", "_proof_due", "_records", "_times_heads")

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
        super().__init__(
            number,
            sock,
            machine,
            shared,
            on_hungry=on_hungry,
            on_changed=on_changed,
            on_closed=on_closed,
            on_answered=on_answered,
            on_due=on_due,
            why=why,
        )
        self._records = RecordReader(self._read) if isinstance(sock, ssl.SSLSocket) else None
        self._read = self._records or self._read
        self._known_capacity = machine.capacity
        self._pinged_at = -NEVER
        self._pinged_after = -1
        """How many requests had been sent then."""
        self._proof_due = NEVER
        """When something must have been read since exchanges were cancelled."""
        self._times_heads = shared.timeouts.response_header_timeout is not None

    @property
    def room(self) -> int:
        return 0 if self.state is _TESTING else self.spare

    @property
    def runs_dry(self) -> bool:
        machine = self._machine
        return machine.room >= machine.open_exchanges

    @property
    def spare(self) -> int:
        if self.state not in _TAKES_WORK:
            return 0
        return min(self._machine.room, self.requests_left)

    @property
    def capacity(self) -> int:
        machine = self._machine
        if machine.closing is CloseReason.KEEPALIVE_OFF:
            # It was meant to carry one.
            return 1
        if self.is_worn or machine.closing is not None or self.state not in _TAKES_WORK:
            return 0
        # A server that gives no streams at first is waited for: another connection would be no better off.
        return machine.capacity or (0 if self.has_answered else _ENOUGH)

    @property
    def has_outlived_limit(self) -> bool:
        # No more than that are ever sent, and with the last of them the server says that it was the last.
        machine = self._machine
        limit = self.hand_over.requests_limit
        return self.requests >= limit and machine.closing is None and not machine.open_exchanges

    def expire(self, now: float) -> None:
        machine = self._machine
        if now >= self._proof_due:
            self._look_for_proof(now)
        if machine.open_exchanges or self.has_answered or machine.capacity:
            super().expire(now)
        else:
            # It was never given room for a single exchange.
            self.close(CloseReason.TIMEOUT)

    def _expire(self, overdue: list[Exchange], now: float) -> None:
        machine = self._machine
        if len(overdue) == machine.open_exchanges and not self._was_heard_after(overdue[-1], now):
            super()._expire(overdue, now)
            return
        if not machine.unheard:
            self._proof_due = NEVER
        reason = no_answer_within(now - overdue[0].sent_at)
        events: list[Event] = []
        for exchange in overdue:
            events += machine.cancel(exchange, reason)
        self._settle(events, CloseReason.TIMEOUT)
        # Whoever was told may have closed it.
        if self.state is _CLOSED:
            return
        if not machine.open_exchanges:
            self._test_after_cancel(now)
            return
        self._ask_for_proof(now)
        self._flush_rest(now)
        if self.state is not _CLOSED:
            self._note_capacity()
        if self.room and self._unsent is None:
            self._shared.poller.offer((self,))

    def _was_heard_after(self, exchange: Exchange, now: float) -> bool:
        """What was sent after this one has ended by the server's word, and it can be asked for another."""
        machine = self._machine
        is_regular = self.state is _BUSY and machine.closing is None and not machine.ping_open
        was_heard = exchange.request_on_connection < self.requests and not machine.unheard
        return is_regular and was_heard and not self._is_awaited and self.can_ping(now)

    def _test_after_cancel(self, now: float) -> None:
        """All that was under way was cancelled, and the server was there a moment ago."""
        if self._machine.closing is not None:
            # With what nobody waits for, all its streams are taken.
            self._go_on(now)
            return
        # It was not idle, so its answer, or its end, says nothing of pauses.
        self.idle_since = NEVER
        self.ping(now)
        if self.state is not _CLOSED:
            self._note_capacity()

    def _ask_for_proof(self, now: float) -> None:
        """Exchanges were cancelled, and nothing has been read since: it may be gone."""
        machine = self._machine
        if machine.closing is not None or self.state is not _BUSY:
            return
        if not machine.ping_open and now - self._pinged_at >= SECONDS_BETWEEN_PINGS:
            self._note_ping(now)
            machine.ping()
        due_at = now + TEST_SECONDS if machine.ping_open else self._pinged_at + SECONDS_BETWEEN_PINGS
        self._proof_due = min(self._proof_due, due_at)

    def _look_for_proof(self, now: float) -> None:
        machine = self._machine
        self._proof_due = NEVER
        if not machine.unheard or self.state is not _BUSY:
            return
        if machine.ping_open:
            machine.leave(CloseReason.TIMEOUT)
            self._note_capacity()
        else:
            self._ask_for_proof(now)
            self._flush(now)

    def _answer_deadline(self) -> float:
        return min(super()._answer_deadline(), self._proof_due)

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        had_room = self._machine.room > 0
        is_ready = super().take_in(mask, settled, now)
        if self._records is not None and self._records.is_over and self.state in _IS_READ:
            # The end that was kept back, of which the kernel may not tell again.
            is_ready = super().take_in(mask, settled, now)
        if self.state is _CLOSED:
            return False
        self._note_capacity()
        if self.has_outlived_limit:
            self._on_changed(self)
        # Whoever was told may have closed it.
        if self.state is _CLOSED:
            return False
        if is_ready and not self.room:
            self._go_on(now)
        elif not is_ready and not mask & LEAVING:
            is_ready = self._has_become_ready(now, had_room=had_room)
        return is_ready and self.room > 0

    def _has_become_ready(self, now: float, *, had_room: bool) -> bool:
        """What kept it from being given work may be over now."""
        machine = self._machine
        if self.state is _TESTING and self._probe is None and not machine.ping_open:
            self._deadlines.set(self, NEVER)
            self._enter(_BUSY)
            self._on_answered(self, None, self._pinged_at - self.idle_since)
        elif self.state is _IDLE and machine.room and not had_room:
            self._enter(_BUSY)
        return self.state is _BUSY and self._unsent is None

    def _go_on(self, now: float) -> None:
        machine = self._machine
        # A frame that the peer is owed waits for the next request, but not if there may be none.
        if not self._flush(now) or machine.open_exchanges:
            return
        reason = machine.closing
        if reason is None:
            if self.state is _DRAINING:
                self._end(self._drained_for, "", orderly=False)
            return
        if reason is CloseReason.SERVER_ANNOUNCED and self.state not in (_BUSY, _DRAINING):
            reason = CloseReason.SERVER_IDLE
        self._end(reason, "", orderly=False)

    def _note_capacity(self) -> None:
        """It changes with SETTINGS and with streams given up, and ends with GOAWAY or with wear."""
        capacity = self.capacity
        if capacity != self._known_capacity:
            self._known_capacity = capacity
            self._on_changed(self)

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        machine = self._machine
        if self.state is not _BUSY:
            # It has been closed, or has begun to end, in this round.
            return
        before = requests = self.requests
        number = self.number
        limit = self.hand_over.requests_limit
        send = machine.send
        while exchanges and machine.room and requests < limit:
            exchange = exchanges.pop()
            requests += 1
            exchange.connection = number
            exchange.request_on_connection = requests
            send(exchange)
        if requests == before:
            self._wait_for_work(now)
            return
        self.requests = requests
        if not self._flush(now):
            return
        # The earliest that anything can be due; `expire` finds out what is.
        self._look_by(now + self._answer_limit)
        if machine.body_held:
            self._look_by(now + or_never(self._shared.timeouts.expect_continue_timeout))
        if requests >= self.worn_at:
            self.is_worn = True
            self.worn_at = NEVER
        self._note_capacity()
        if not exchanges and self.room:
            self._be_hungry()

    def _look_by(self, when: float) -> None:
        if when < self.deadline:
            self._deadlines.set(self, when)

    def wake(self, now: float) -> bool:
        return self.state is _BUSY or super().wake(now)

    def can_ping(self, now: float) -> bool:
        return self.requests > self._pinged_after or now - self._pinged_at >= SECONDS_BETWEEN_PINGS

    def ping(self, now: float) -> None:
        """Ask whether the server is there; nothing else is taken until then."""
        self._enter(_TESTING)
        self._note_ping(now)
        self._machine.ping()
        self._deadlines.set(self, now + TEST_SECONDS)
        self._flush(now)

    def _note_ping(self, now: float) -> None:
        self._pinged_at = now
        self._pinged_after = self.requests

    def _wait_for_work(self, now: float) -> None:
        """There is none for this connection now."""
        if not self._flush(now):
            return
        if not self._machine.open_exchanges:
            self._become_idle(now)
        else:
            self._be_hungry()

    def _be_hungry(self) -> None:
        """Ask for more, but not while the kernel takes nothing: it would only fill the memory.

        What is due then is given when the last of what waits has been written.
        """
        if self._unsent is None:
            self._on_hungry(self)

    def _flush(self, now: float) -> bool:
        if not super()._flush(now):
            return False
        if self._times_heads and self._unsent is None:
            for exchange, stage in self._machine.waiting():
                if stage is Stage.SENT and exchange.written_at < exchange.sent_at:
                    exchange.written_at = now
                    self._look_by(now + self._answer_limit)
        return True

    def _flush_rest(self, now: float) -> None:
        # What was written may have set one already, and it need not be the earliest.
        if self._flush(now) and self._machine.open_exchanges:
            self._look_by(self._answer_deadline())

    def _head_written_at(self, exchange: Exchange) -> float:
        return exchange.sent_at

    def _all_written_at(self, exchange: Exchange) -> float:
        return exchange.written_at if exchange.written_at >= exchange.sent_at else NEVER
