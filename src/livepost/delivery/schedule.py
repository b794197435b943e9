"""What is sent next, and what becomes of it: the loop that every record goes through.

    supply ──▶ intake ──▶ pull ──▶ a connection ──▶ settle ──▶ delivered, rejected, in doubt, unsent
                           ▲                          │
                           └──── retries, by time ◀───┘

Connections pull from here and bring results back.  A connection's slot comes first; then the gate lets
so many requests start; then an attempt is made.  When that has ended the slot is free again, and only
then does a record wait to be tried again, holding neither slot nor connection.

A connection that was given less than it asked for comes back only when it is woken.  So whatever makes
more to be had is followed by a wake: an arrival and a reminder by nature, the end of an attempt by a
reminder that is due at once, where there had been nothing to be had before.

Nothing here does I/O, sleeps or knows the time: it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from livepost.delivery.account import Account, DeliveryObserver, Recorder
from livepost.delivery.classify import Ruling, Sign, Verdict, in_spite_of
from livepost.delivery.detour import Detours
from livepost.delivery.intake import Intake, Supply
from livepost.delivery.policies import Policies
from livepost.delivery.retry import COUNTED_IN_ANY_CASE_FROM
from livepost.errors import DestinationError, LivepostError
from livepost.events import CloseReason
from livepost.mark import DELIVERED, IN_FLIGHT
from livepost.model import Outcome, Rejection, State
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Exchange, Fields, RequestHead, Response

_NEVER = float("inf")

# Success is all that matters of a status to `HintReader`, and this one lets it remember.
_ANY_SUCCESS = 200

# What is due at once is looked at soon, and never in a tight loop.
_SHORTEST_REMINDER_SECONDS = 0.001

_LEFT_UNSENT = Outcome(State.UNSENT, "the run ended first")
_TURN_NEVER_CAME = Outcome(State.UNSENT, "an earlier record of its order was not delivered")

# Looking a member up in its enum takes 0.1 µs in Python 3.11.
_DELIVERED = Verdict.DELIVERED
_TIMEOUT = CloseReason.TIMEOUT


class Schedule:
    """Satisfies `net.work.Work`.

    `recorder` is None if nothing is kept; `detours` are needed where redirects are followed.
    `remind(seconds)` asks for one call of `release_due` in that many seconds, after which everybody is to
    be woken; it takes the place of what was asked for before.  `on_failed(error)` is called when the run
    should end early.  `on_finished()` comes once, when every record taken has ended and no more will come.
    After `stop`, nothing new is pulled; what is in flight may finish.  Observers may call `stop`.
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
        self._intake = Intake(supply, head, policies.order, policies.keys)
        self._account = Account(observers, recorder)
        self._rules = policies.rules
        self._policy = policies.retry
        self._retries = policies.retries
        self._gate = policies.gate
        self._hints = policies.hints
        self._access = policies.access
        self._detours = detours
        self._remind = remind
        self._on_failed = on_failed
        self._on_finished = on_finished
        self._now = 0.0
        self._reminder_at = _NEVER
        """When the next call of `release_due` was asked for."""
        self._in_flight = 0
        self._is_exhausted = False
        """The last pull gave less than was asked for, and nothing has happened since."""
        self._is_stopping = False
        self._is_finished = False

    @property
    def read(self) -> int:
        """Records taken from the supply, fit to send or not."""
        return self._intake.read

    @property
    def waiting(self) -> int:
        if self._is_stopping or self._is_exhausted:
            return 0
        return self._let_through(self._fresh_waiting + self._retries.waiting)

    def waiting_in(self, queue: deque[Exchange]) -> int:
        """As `waiting`, for a queue of `Retries` for another origin."""
        return 0 if self._is_stopping else self._let_through(len(queue))

    def _let_through(self, wanted: int) -> int:
        gate = self._gate
        return wanted if gate.is_open or not wanted else min(wanted, gate.available(self._now))

    @property
    def _fresh_waiting(self) -> int:
        return 0 if self._retries.is_full else self._intake.waiting

    def pull(self, limit: int, now: float) -> list[Exchange]:
        self._now = now
        if self._is_stopping:
            return []
        gate = self._gate
        granted = limit if gate.is_open else gate.allow(now, limit)
        pulled = self._choose(granted, now)
        count = len(pulled)
        self._begun(count, granted, limit)
        if count < limit:
            self._is_exhausted = True
        self._tell_refused()
        if not count:
            self.check_finished()
        return pulled

    def pull_from(self, queue: deque[Exchange], limit: int, now: float) -> list[Exchange]:
        """As `pull`, of a queue of `Retries` for another origin."""
        self._now = now
        if self._is_stopping:
            return []
        gate = self._gate
        granted = limit if gate.is_open else gate.allow(now, limit)
        pulled = self._take_again(queue, granted)
        self._begun(len(pulled), granted, limit)
        return pulled

    def _begun(self, count: int, granted: int, limit: int) -> None:
        """So many attempts begin, of those that the gate has granted."""
        # Before an observer is told anything, which may stop the run.
        self._in_flight += count
        gate = self._gate
        if not gate.is_open:
            gate.give_back(granted - count)
            at = gate.next_at(self._now)
            if at > self._now or granted < limit:
                self._remind_at(at)

    def _choose(self, limit: int, now: float) -> list[Exchange]:
        if not self._retries:
            return self._intake.take(limit, now, self._account.marks)
        if self._gate.is_braked:
            # A record that fails each time must not be the one that finds out how the destination is.
            pulled = self._choose_fresh(limit, now)
            return pulled + self._choose_again(limit - len(pulled), now)
        pulled = self._choose_again(limit, now)
        return pulled + self._choose_fresh(limit - len(pulled), now)

    def _choose_fresh(self, limit: int, now: float) -> list[Exchange]:
        return [] if self._retries.is_full else self._intake.take(limit, now, self._account.marks)

    def _choose_again(self, limit: int, now: float) -> list[Exchange]:
        retries = self._retries
        pulled = self._take_again(retries.prompt, limit)
        room = wanted = min(limit - len(pulled), len(retries.ready))
        if wanted > 0 and self._fresh_waiting:
            room = retries.within_budget(wanted, now, fresh_sent=self._intake.sent)
            if room < wanted:
                self._remind_at(retries.budget_at(now))
        return pulled + self._take_again(retries.ready, room)

    def _take_again(self, queue: deque[Exchange], limit: int) -> list[Exchange]:
        pulled = self._retries.take(queue, limit, self._now)
        for exchange in pulled:
            self._account.mark(exchange.record, IN_FLIGHT)
        return pulled

    def release_due(self, now: float) -> None:
        """Let `pull` give what has waited long enough; to be called when `remind` said."""
        self._now = now
        self._is_exhausted = False
        self._reminder_at = _NEVER
        self._retries.release_due(now)
        self._remind_at(self._retries.next_at)
        self._remind_of_gate()

    def dial_failed(self, now: float) -> float | None:
        """No connection could be made, and none is alive: seconds until the next dial, or None to give up."""
        self._now = now
        self._gate.dial_failed(now)
        if self._gate.error is not None:
            return None
        self._remind_of_gate()
        return self._gate.next_at(now) - now

    def arrived(self) -> None:
        """The supply has more to give, or has ended; everybody is to be woken."""
        self._is_exhausted = False
        self._intake.look_ahead()
        self._tell_refused()
        self.check_finished()

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        self._now = now
        was_shut = self._is_shut
        had_nothing = (self._is_exhausted or self._intake.is_ordered) and not self.waiting
        self._is_exhausted = False
        rules = self._rules
        observers = self._account.observers
        marks = self._account.marks
        is_watched = self._is_watched
        fields = None
        for event in events:
            exchange = event.exchange
            if not isinstance(event, Answered):
                ruling = rules.of_failure(event.sent, timed_out=cause is _TIMEOUT)
                self._judge(exchange, ruling, None, event.reason)
                is_watched = self._is_watched
                continue
            response = event.response
            ruling = (rules.of_status if response.complete else rules.of_cut_off)[response.status]
            if ruling.verdict is not _DELIVERED:
                self._judge(exchange, ruling, response, "")
                is_watched = self._is_watched
                continue
            fields = response.fields
            if marks is not None:
                marks[exchange.record.number] = DELIVERED
            outcome = ruling.outcome
            seconds = now - exchange.sent_at
            for observer in observers:
                observer.finished(exchange, outcome, response, seconds)
            if is_watched:
                self._worked(exchange)
                is_watched = self._is_watched
        # Only now, so that an observer that stops the run does not finish it before the others are told.
        self._in_flight -= len(events)
        if fields is not None:
            # Of the last one alone: a server says the same with each.
            self._heed_success(fields)
        self._intake.look_ahead()
        self._remind_of_gate()
        if (was_shut and not self._is_shut) or (had_nothing and self.waiting):
            # Those that bring these events ask for more by themselves, the others do not.
            self._remind_at(now)
        self._tell_refused()
        if not self._in_flight:
            self.check_finished()

    @property
    def _is_shut(self) -> bool:
        return not self._gate.is_open and not self._gate.available(self._now)

    @property
    def _is_watched(self) -> bool:
        """Whether somebody is to be told of each delivery."""
        return self._intake.is_ordered or self._gate.is_watching or self._access.is_watching

    def _worked(self, exchange: Exchange) -> None:
        """A record was delivered."""
        if self._gate.is_watching:
            self._gate.note(Sign.WORKS, self._now, exchange.sent_at)
        if self._access.is_watching:
            self._access.passed()
        self._intake.pass_turn(exchange.record, delivered=True)

    def _judge(self, exchange: Exchange, ruling: Ruling, response: Response | None, reason: str) -> None:
        """An attempt that did not deliver its record: what follows from it."""
        not_before = 0.0 if response is None else self._heed(ruling, response)
        counts = self._gate.note(ruling.sign, self._now, exchange.sent_at, not_before=not_before)
        exchange.has_doubt = exchange.has_doubt or ruling.leaves_doubt
        if exchange.attempts == 1:
            exchange.first_sent_at = exchange.sent_at
        outcome = Outcome(ruling.outcome.state, reason) if reason else ruling.outcome
        error = self._gate.error
        if error is not None:
            self._on_failed(DestinationError(f"{error}: {outcome.reason}", error.hint))
        if ruling.verdict is Verdict.FOLLOW and response is not None:
            refusal = self._follow(exchange, ruling, response)
            if refusal is None:
                return
            outcome = refusal
        elif ruling.verdict is Verdict.TRY_AGAIN:
            exchange.tries += counts or exchange.tries >= COUNTED_IN_ANY_CASE_FROM
            if self._try_again(exchange, ruling, response, not_before):
                return
        self._end(exchange, in_spite_of(exchange.has_doubt, outcome), response)

    def _heed_success(self, fields: Fields) -> None:
        hint = self._hints.read(_ANY_SUCCESS, fields)
        if hint is not None:
            self._gate.heed(hint, self._now, self._in_flight)

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
        now, is_unseen = self._now, ruling.is_unseen
        at = self._policy.next_try_at(
            now, exchange.tries, exchange.first_sent_at, not_before=not_before, is_unseen=is_unseen
        )
        if at is None:
            return False
        self._account.again(exchange, ruling.reason, response, now - exchange.sent_at)
        if is_unseen and at == now:
            self._retries.hasten(exchange)
        else:
            self._retries.add(exchange, at)
        self._retries.release_due(now)
        self._remind_at(at)
        return True

    def _follow(self, exchange: Exchange, ruling: Ruling, response: Response) -> Outcome | None:
        """Send it where the answer points; the outcome if that cannot be."""
        assert self._detours is not None
        refusal = self._detours.follow(exchange, response)
        if refusal is not None:
            return Outcome(State.REJECTED, f"{ruling.outcome.reason}: {refusal}")
        self._account.again(exchange, ruling.reason, response, self._now - exchange.sent_at)
        self._retries.hasten(exchange)
        self._remind_at(self._now)
        return None

    def _end(self, exchange: Exchange, outcome: Outcome, response: Response | None) -> None:
        """A record that was not delivered is over."""
        self._account.ended(exchange, outcome, response, self._now - exchange.sent_at)
        if outcome.state is State.REJECTED and response is not None:
            error = self._access.denied(response.status)
            if error is not None:
                self._on_failed(error)
        self._intake.pass_turn(exchange.record, delivered=False)

    def stop(self) -> None:
        """Pull nothing more.  Records that wait to be tried again end as unsent, or in doubt."""
        self._is_stopping = True
        self.check_finished()

    def check_finished(self) -> None:
        """See whether all has ended."""
        if self._in_flight or self._is_finished:
            return
        self._intake.pass_over_unfit()
        self._tell_refused()
        if self._is_stopping or (self._intake.is_empty and not self._retries):
            self._is_finished = True
            self._settle_rest()
            self._on_finished()

    def _tell_refused(self) -> None:
        """Of records that will never be sent."""
        refused = self._intake.refused
        # As if one were in flight: an observer that stops the run does not finish it before all are told.
        self._in_flight += 1
        while refused:
            item = refused.popleft()
            if isinstance(item, Rejection):
                self._account.rejected(item)
            else:
                self._account.left(item, _TURN_NEVER_CAME)
        self._in_flight -= 1

    def _settle_rest(self) -> None:
        for exchange in self._retries.drain():
            self._account.left(exchange.record, _LEFT_UNSENT, exchange.attempts, has_doubt=exchange.has_doubt)
        for item in self._intake.drain():
            if isinstance(item, Rejection):
                self._account.rejected(item)
            else:
                self._account.left(item, _LEFT_UNSENT)

    def _remind_of_gate(self) -> None:
        """Be called when more may start than now."""
        if not self._gate.is_open:
            at = self._gate.next_at(self._now)
            if at > self._now:
                self._remind_at(at)

    def _remind_at(self, when: float) -> None:
        """Have one reminder under way, of what is due first."""
        when = max(when, self._now + _SHORTEST_REMINDER_SECONDS)
        if when < self._reminder_at and not (self._is_stopping or self._is_finished):
            self._reminder_at = when
            self._remind(when - self._now)
