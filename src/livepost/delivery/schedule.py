"""What is sent next, and what becomes of it: the loop that every record goes through.

    supply ──▶ pull ──▶ a connection ──▶ settle ──▶ delivered, rejected, in doubt, unsent
                ▲                          │
                └──── retries, by time ◀───┘

Connections pull from here and bring results back.  A connection's slot comes first; then the gate lets
so many requests start; then an attempt is made.  When that has ended the slot is free again, and only
then does a record wait to be tried again, holding neither slot nor connection.

Nothing here does I/O, sleeps or knows the time: it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from livepost.delivery.classify import Ruling, Sign, Verdict, in_spite_of
from livepost.delivery.detour import Detours
from livepost.delivery.order import Admission
from livepost.delivery.policies import Policies
from livepost.delivery.retry import COUNTED_IN_ANY_CASE_FROM
from livepost.errors import LivepostError
from livepost.events import CloseReason
from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Outcome, Record, Rejection, State
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Exchange, RequestHead, Response

_NEVER = float("inf")

# Success is all that matters of a status to `HintReader`, and this one lets it remember.
_ANY_SUCCESS = 200

# What is due at once is looked at soon, and never in a tight loop.
_SHORTEST_REMINDER_SECONDS = 0.001

_SETTLED_AT_ONCE = 1_000

_LEFT_UNSENT = Outcome(State.UNSENT, "the run ended first")
_LEFT_IN_DOUBT = Outcome(State.IN_DOUBT, "the run ended before it could be tried again")
_TURN_NEVER_CAME = Outcome(State.UNSENT, "an earlier record of its order was not delivered")

# Looking a member up in its enum takes 0.1 µs in Python 3.11.
_DELIVERED = Verdict.DELIVERED
_TIMEOUT = CloseReason.TIMEOUT


class Supply(Protocol):
    """Where records come from (`records.feed.RecordFeed`)."""

    @property
    def waiting(self) -> int:
        """How many `take` could give now."""

    @property
    def ended(self) -> bool:
        """No more will come, and none waits."""

    def take(self, limit: int) -> Sequence[Record | Rejection]:
        """The next ones, in order: at least one if any waits, and at most `limit`."""

    def peek(self) -> Record | Rejection | None:
        """The first of what `take` would return, without taking it."""


class Recorder(Protocol):
    """Where it is kept how far each record has come (`recording.Recording`)."""

    @property
    def marks(self) -> memoryview:
        """One byte per record, at its number.  Asked for anew each time: it is replaced as the run grows."""

    def conclude(
        self, mark: int, item: Record | Rejection, reason: str, attempts: int, response: Response | None
    ) -> None:
        """Mark a record REJECTED or IN_DOUBT and write down why."""


class DeliveryObserver(Protocol):
    """Told what becomes of every record.  Calls must return at once.

    `seconds` runs from handing the exchange to a connection to the end of its answer.
    """

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        """The record's last attempt ended (`response` is None: without an answer)."""

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """An attempt ended and another will follow; `reason` is one of a small number of words."""

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""

    def left(self, record: Record, outcome: Outcome) -> None:
        """No (further) attempt was made: unsent, or in doubt where an earlier one left a doubt."""


class Schedule:
    """Satisfies `net.work.Work`.

    `recorder` is None if nothing is kept.  `remind(seconds)` asks for a call of
    `release_due` in that many seconds; a call that comes early asks again.  `on_failed(error)` is called
    when the run should end early.  `on_finished()` comes once, when every record taken has ended and no
    more will come.  After `stop`, nothing new is pulled; what is in flight may finish.  Observers may
    call `stop`.
    """

    def __init__(
        self,
        supply: Supply,
        head: RequestHead,
        policies: Policies,
        observers: Sequence[DeliveryObserver],
        *,
        recorder: Recorder | None = None,
        detours: Detours | None = None,
        remind: Callable[[float], None],
        on_failed: Callable[[LivepostError], None],
        on_finished: Callable[[], None],
    ) -> None:
        self._supply = supply
        self._take = supply.take
        self._head = head
        self._rules = policies.rules
        self._policy = policies.retry
        self._retries = policies.retries
        self._gate = policies.gate
        self._hints = policies.hints
        self._access = policies.access
        self._order = policies.order
        self._keys = policies.keys
        self._observers = tuple(observers)
        self._recorder = recorder
        self._detours = detours
        self._remind = remind
        self._on_failed = on_failed
        self._on_finished = on_finished
        self._now = 0.0
        self._reminder_at = _NEVER
        """When the next call of `release_due` was asked for."""
        self._released: deque[Record] = deque()
        """Records whose turn has come behind others of their key."""
        self._in_flight = 0
        self._fresh_sent = 0
        self._is_exhausted = False
        """The last pull gave less than was asked for, and nothing has happened since."""
        self._is_stopping = False
        self._is_finished = False
        self.read = 0
        """Records taken from the supply, fit to send or not."""

    @property
    def waiting(self) -> int:
        if self._is_stopping or self._is_exhausted:
            return 0
        waiting = self._supply.waiting + len(self._retries.ready) + len(self._released)
        return waiting if self._gate.is_open else min(waiting, self._gate.available(self._now))

    def pull(self, limit: int, now: float) -> list[Exchange]:
        self._now = now
        pulled: list[Exchange] = []
        if self._is_stopping:
            return pulled
        gate = self._gate
        granted = limit if gate.is_open else gate.allow(now, limit)
        unfit: list[Rejection] = []
        if granted:
            # A record that fails each time must not be the one that finds out how the destination is.
            again_last = gate.is_braked
            if self._retries.ready and not again_last:
                self._pull_again(pulled, granted, now)
            if self._released:
                self._pull_released(pulled, granted, now)
            self._pull_fresh(pulled, unfit, granted, now)
            if self._retries.ready and again_last:
                self._pull_again(pulled, granted, now)
        count = len(pulled)
        # Before an observer is told anything, which may stop the run.
        self._in_flight += count
        if count < limit:
            self._is_exhausted = True
            if not gate.is_open:
                gate.give_back(granted - count)
                self._remind_at(gate.next_at(now))
        for rejection in unfit:
            self._reject(rejection)
        if not count:
            self.check_finished()
        return pulled

    def _pull_again(self, pulled: list[Exchange], limit: int, now: float) -> None:
        retries = self._retries
        room = limit - len(pulled)
        if self._supply.waiting or self._released:
            granted = retries.within_budget(room, now, fresh_sent=self._fresh_sent)
            if granted < min(room, len(retries.ready)):
                self._remind_at(retries.budget_at(now))
            room = granted
        again = retries.take(retries.ready, room, now)
        for exchange in again:
            self._mark(exchange.record, IN_FLIGHT)
        pulled += again

    def _pull_released(self, pulled: list[Exchange], limit: int, now: float) -> None:
        while self._released and len(pulled) < limit:
            pulled.append(self._begin(self._released.popleft(), now))

    def _pull_fresh(self, pulled: list[Exchange], unfit: list[Rejection], limit: int, now: float) -> None:
        take = self._take
        is_plain = self._order is None and self._keys is None
        head = self._head
        marks = None if self._recorder is None else self._recorder.marks
        before = len(pulled)
        while (room := limit - len(pulled)) > 0 and self._takes_fresh and (items := take(room)):
            self.read += len(items)
            for item in items:
                if not isinstance(item, Record):
                    unfit.append(item)
                elif is_plain:
                    pulled.append(Exchange(head, item.body, item, 1, now))
                    if marks is not None:
                        marks[item.number] = IN_FLIGHT
                elif self._may_go(item):
                    pulled.append(self._begin(item, now))
        self._fresh_sent += len(pulled) - before

    @property
    def _takes_fresh(self) -> bool:
        return not self._retries.is_full and (self._order is None or not self._order.is_full)

    def _begin(self, record: Record, now: float) -> Exchange:
        exchange = Exchange(self._head, record.body, record, 1, now)
        if self._keys is not None:
            exchange.fields = (self._keys.field(record.number),)
        self._mark(record, IN_FLIGHT)
        return exchange

    def _may_go(self, record: Record) -> bool:
        admission = Admission.GO if self._order is None else self._order.admit(record)
        if admission is Admission.STOPPED:
            self._leave(record, _TURN_NEVER_CAME)
        return admission is Admission.GO

    def pull_from(self, queue: deque[Exchange], limit: int, now: float) -> list[Exchange]:
        """As `pull`, but of a queue of `Retries` for another origin."""
        self._now = now
        if self._is_stopping:
            return []
        gate = self._gate
        granted = limit if gate.is_open else gate.allow(now, limit)
        pulled = self._retries.take(queue, granted, now)
        for exchange in pulled:
            self._mark(exchange.record, IN_FLIGHT)
        self._in_flight += len(pulled)
        if not gate.is_open:
            gate.give_back(granted - len(pulled))
            self._remind_at(gate.next_at(now))
        return pulled

    def release_due(self, now: float) -> None:
        """Let `pull` give what has waited long enough; to be called when `remind` said."""
        self._now = now
        self._is_exhausted = False
        self._reminder_at = _NEVER
        self._retries.release_due(now)
        self._remind_at(self._retries.next_at)
        if not self._gate.is_open:
            self._remind_at(self._gate.next_at(now))

    def dial_failed(self, now: float) -> float | None:
        """No connection could be made, and none is alive: seconds until the next dial, or None to give up."""
        self._now = now
        self._gate.dial_failed(now)
        if self._gate.error is not None:
            return None
        at = self._gate.next_at(now)
        self._remind_at(at)
        return at - now

    def arrived(self) -> None:
        """The supply has more to give, or has ended."""
        self._is_exhausted = False
        self.check_finished()

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        self._now = now
        self._is_exhausted = False
        rules = self._rules
        observers = self._observers
        marks = None if self._recorder is None else self._recorder.marks
        fields = None
        for event in events:
            exchange = event.exchange
            if not isinstance(event, Answered):
                ruling = rules.of_failure(event.sent, timed_out=cause is _TIMEOUT)
                self._judge(exchange, ruling, None, event.reason)
                continue
            response = event.response
            ruling = (rules.of_status if response.complete else rules.of_cut_off)[response.status]
            if ruling.verdict is not _DELIVERED:
                self._judge(exchange, ruling, response, "")
                continue
            fields = response.fields
            if marks is not None:
                marks[exchange.record.number] = DELIVERED
            outcome = ruling.outcome
            seconds = now - exchange.sent_at
            for observer in observers:
                observer.finished(exchange, outcome, response, seconds)
            if self._order is not None or self._gate.is_watching or self._access.is_watching:
                self._worked(exchange)
        if fields is not None:
            # Of the last one alone: a server says the same with each.
            hint = self._hints.read(_ANY_SUCCESS, fields)
            if hint is not None:
                self._gate.heed(hint, now, self._in_flight - len(events))
        # Only now, so that an observer that stops the run does not finish it before the others are told.
        self._in_flight -= len(events)
        if not self._gate.is_open:
            self._remind_at(self._gate.next_at(now))
        if not self._in_flight:
            self.check_finished()

    def _worked(self, exchange: Exchange) -> None:
        """A record was delivered while somebody was waiting for that."""
        if self._gate.is_watching:
            self._gate.note(Sign.WORKS, self._now, exchange.sent_at)
        if self._access.is_watching:
            self._access.passed()
        self._pass_turn(exchange.record, delivered=True)

    def _judge(self, exchange: Exchange, ruling: Ruling, response: Response | None, reason: str) -> None:
        """An attempt that did not deliver its record: what follows from it."""
        not_before = 0.0 if response is None else self._heed(ruling, response)
        counts = self._gate.note(ruling.sign, self._now, exchange.sent_at, not_before=not_before)
        exchange.tries += counts or exchange.tries >= COUNTED_IN_ANY_CASE_FROM
        exchange.has_doubt = exchange.has_doubt or ruling.leaves_doubt
        if self._gate.error is not None:
            self._on_failed(self._gate.error)
        if exchange.attempts == 1:
            exchange.first_sent_at = exchange.sent_at
        outcome = Outcome(ruling.outcome.state, reason) if reason else ruling.outcome
        if ruling.verdict is Verdict.FOLLOW and response is not None:
            refusal = self._follow(exchange, ruling, response)
            if refusal is None:
                return
            outcome = refusal
        elif ruling.verdict is Verdict.TRY_AGAIN and self._try_again(exchange, ruling, response, not_before):
            return
        self._end(exchange, in_spite_of(exchange.has_doubt, outcome), response)

    def _heed(self, ruling: Ruling, response: Response) -> float:
        """Do as the server asks; return the time before which it wants nothing."""
        hint = self._hints.read(response.status, response.fields)
        if hint is None:
            return 0.0
        # An answer that pulls the brake does so by itself.
        self._gate.heed(hint, self._now, self._in_flight, brakes=not ruling.pauses)
        return 0.0 if hint.pause_seconds is None else self._now + hint.pause_seconds

    def _try_again(
        self, exchange: Exchange, ruling: Ruling, response: Response | None, not_before: float
    ) -> bool:
        """Put it among the retries; False if it has had its tries, or its time."""
        at = self._policy.next_try_at(
            self._now, exchange.tries, exchange.first_sent_at, not_before=not_before
        )
        if at is None:
            return False
        self._again(exchange, ruling, response, at)
        return True

    def _again(self, exchange: Exchange, ruling: Ruling, response: Response | None, at: float) -> None:
        seconds = self._now - exchange.sent_at
        for observer in self._observers:
            observer.retried(exchange, ruling.reason, response, seconds)
        if not exchange.has_doubt:
            self._mark(exchange.record, UNSENT)
        self._retries.add(exchange, at)
        self._retries.release_due(self._now)
        self._remind_at(at)

    def _follow(self, exchange: Exchange, ruling: Ruling, response: Response) -> Outcome | None:
        """Send it where the answer points; the outcome if that cannot be."""
        assert self._detours is not None
        refusal = self._detours.follow(exchange, response)
        if refusal is None:
            self._again(exchange, ruling, response, self._now)
            return None
        return Outcome(State.REJECTED, f"{ruling.outcome.reason}: {refusal}")

    def _end(self, exchange: Exchange, outcome: Outcome, response: Response | None) -> None:
        """A record that was not delivered, or only in spite of its status, is over."""
        seconds = self._now - exchange.sent_at
        self._record_end(exchange.record, outcome, exchange.attempts, response)
        for observer in self._observers:
            observer.finished(exchange, outcome, response, seconds)
        if outcome.state is State.REJECTED and response is not None:
            error = self._access.denied(response.status)
            if error is not None:
                self._on_failed(error)
        self._pass_turn(exchange.record, delivered=False)

    def _pass_turn(self, record: Record, *, delivered: bool) -> None:
        """It is the next one's turn, where there is an order."""
        if self._order is None:
            return
        if delivered:
            following = self._order.release(record)
        else:
            following, given_up = self._order.failed(record)
            for held in given_up:
                self._leave(held, _TURN_NEVER_CAME)
        if following is not None:
            self._released.append(following)

    def _mark(self, record: Record, mark: int) -> None:
        if self._recorder is not None:
            self._recorder.marks[record.number] = mark

    def _record_end(self, record: Record, outcome: Outcome, attempts: int, response: Response | None) -> None:
        if self._recorder is None:
            return
        if outcome.state is State.UNSENT:
            self._recorder.marks[record.number] = UNSENT
        else:
            mark = REJECTED if outcome.state is State.REJECTED else IN_DOUBT
            self._recorder.conclude(mark, record, outcome.reason, attempts, response)

    def stop(self) -> None:
        """Pull nothing more.  Records that wait to be tried again end as unsent, or in doubt."""
        self._is_stopping = True
        self.check_finished()

    def check_finished(self) -> None:
        """See whether all has ended."""
        if self._in_flight or self._is_finished:
            return
        # No connection is needed, and perhaps none will be had, for what is not fit to send.
        while isinstance(rejection := self._supply.peek(), Rejection):
            self._supply.take(1)
            self.read += 1
            self._reject(rejection)
        if self._is_finished or not (self._is_stopping or self._has_nothing_left):
            return
        self._is_finished = True
        self._settle_rest()
        self._on_finished()

    @property
    def _has_nothing_left(self) -> bool:
        is_held = self._order is not None and self._order.held > 0
        return self._supply.ended and not self._retries and not self._released and not is_held

    def _remind_at(self, when: float) -> None:
        """Have one reminder under way, of what is due first."""
        when = max(when, self._now + _SHORTEST_REMINDER_SECONDS)
        if when < self._reminder_at and not self._is_stopping:
            self._reminder_at = when
            self._remind(when - self._now)

    def _settle_rest(self) -> None:
        for exchange in self._retries.drain():
            outcome = _LEFT_IN_DOUBT if exchange.has_doubt else _LEFT_UNSENT
            self._record_end(exchange.record, outcome, exchange.attempts, None)
            self._leave(exchange.record, outcome)
        held = self._order.drain() if self._order is not None else ()
        for record in (*self._released, *held):
            self._leave(record, _LEFT_UNSENT)
        self._released.clear()
        while items := self._supply.take(_SETTLED_AT_ONCE):
            self.read += len(items)
            for item in items:
                if isinstance(item, Record):
                    self._leave(item, _LEFT_UNSENT)
                else:
                    self._reject(item)

    def _leave(self, record: Record, outcome: Outcome) -> None:
        for observer in self._observers:
            observer.left(record, outcome)

    def _reject(self, rejection: Rejection) -> None:
        if self._recorder is not None:
            self._recorder.conclude(REJECTED, rejection, rejection.reason, 0, None)
        for observer in self._observers:
            observer.rejected(rejection)


class Lane:
    """Satisfies `net.work.Work` for what redirects have led to another origin."""

    def __init__(self, schedule: Schedule, queue: deque[Exchange]) -> None:
        self._schedule = schedule
        self._queue = queue
        self.settle = schedule.settle

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def pull(self, limit: int, now: float) -> list[Exchange]:
        return self._schedule.pull_from(self._queue, limit, now)
