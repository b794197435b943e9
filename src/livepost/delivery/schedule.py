"""What is sent next, and what becomes of it: the loop that every record goes through.

Connections pull from here (`pull`) and bring results back (`settle`).  A record that
must wait before it is tried again sits in a heap by time and holds neither connection nor slot.
Nothing here does I/O, sleeps or knows the time: it is told.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from livepost.delivery.classify import classify
from livepost.delivery.retry import RetryPolicy
from livepost.events import CloseReason
from livepost.model import Outcome, Record, Rejection, Sent, State
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Exchange, RequestHead, Response

_NEVER = float("inf")

_SETTLED_AT_ONCE = 1_000


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


class DeliveryObserver(Protocol):
    """Told what becomes of every record.  Calls must return at once.

    `seconds` runs from handing the exchange to a connection to the end of its answer.
    """

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        """The record's last attempt ended (`response` is None: without an answer)."""

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """An attempt ended and another will follow."""

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""

    def unsent(self, record: Record) -> None:
        """The run ended before a byte of this record can have been processed."""


class Schedule:
    """Satisfies `net.work.Work`.

    `remind(seconds)` asks for a call of `release_due` in that many seconds; a call that comes early
    asks again.  `on_finished()` comes once, when every record taken has ended and no more will come.
    After `stop`, nothing new is pulled; what is in flight may finish.  Observers may call `stop`.
    """

    def __init__(
        self,
        supply: Supply,
        head: RequestHead,
        policy: RetryPolicy,
        observers: Sequence[DeliveryObserver],
        *,
        remind: Callable[[float], None],
        on_finished: Callable[[], None],
    ) -> None:
        self._supply = supply
        self._take = supply.take
        self._head = head
        self._policy = policy
        self._observers = tuple(observers)
        self._remind = remind
        self._on_finished = on_finished
        self._later: list[tuple[float, int, Exchange]] = []
        """Exchanges to be tried again, by time."""
        self._reminder_at = _NEVER
        """When the next call of `release_due` was asked for."""
        self._sequence = itertools.count()
        self._ready: deque[Exchange] = deque()
        """Exchanges whose time to be tried again has come."""
        self._in_flight = 0
        self._is_stopping = False
        self._is_finished = False
        self.read = 0
        """Records taken from the supply, fit to send or not."""

    @property
    def waiting(self) -> int:
        return 0 if self._is_stopping else self._supply.waiting + len(self._ready)

    def pull(self, limit: int, now: float) -> list[Exchange]:
        pulled: list[Exchange] = []
        if self._is_stopping:
            return pulled
        if self._ready:
            self._pull_again(pulled, limit, now)
        head = self._head
        take = self._take
        unfit: list[Rejection] = []
        while (room := limit - len(pulled)) > 0 and (items := take(room)):
            self.read += len(items)
            for item in items:
                if isinstance(item, Record):
                    pulled.append(Exchange(head, item.body, item, 1, now))
                else:
                    unfit.append(item)
        # Before an observer is told anything, which may stop the run.
        self._in_flight += len(pulled)
        for rejection in unfit:
            self._reject(rejection)
        if not pulled:
            self.check_finished()
        return pulled

    def _pull_again(self, pulled: list[Exchange], limit: int, now: float) -> None:
        while self._ready and len(pulled) < limit:
            exchange = self._ready.popleft()
            exchange.attempts += 1
            exchange.sent_at = now
            pulled.append(exchange)

    def release_due(self, now: float) -> None:
        """Let `pull` give what has waited long enough; to be called when `remind` said."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        self._reminder_at = _NEVER
        self._remind_of_next(now)

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        observers = self._observers
        for event in events:
            exchange = event.exchange
            if isinstance(event, Answered):
                response = event.response
                outcome = classify(response)
                seconds = now - exchange.sent_at
                for observer in observers:
                    observer.finished(exchange, outcome, response, seconds)
            else:
                self._failed(exchange, event.sent, event.reason, now)
        # Only now, so that an observer that stops the run does not finish it before the others are told.
        self._in_flight -= len(events)
        if not self._in_flight:
            self.check_finished()

    def _failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None:
        seconds = now - exchange.sent_at
        delay = self._policy.exchange_delay(exchange.attempts, sent)
        if sent in (Sent.SOME, Sent.ALL):
            for observer in self._observers:
                observer.finished(exchange, Outcome(State.IN_DOUBT, reason), None, seconds)
        elif delay is None:
            for observer in self._observers:
                observer.finished(exchange, Outcome(State.UNSENT, reason), None, seconds)
        else:
            for observer in self._observers:
                observer.retried(exchange, reason, None, seconds)
            heapq.heappush(self._later, (now + delay, next(self._sequence), exchange))
            self._remind_of_next(now)

    def stop(self) -> None:
        """Pull nothing more.  Records that wait to be tried again end as unsent."""
        self._is_stopping = True
        self.check_finished()

    def check_finished(self) -> None:
        """See whether all has ended; call it when the supply may have ended."""
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
        return self._supply.ended and not self._later and not self._ready

    def _remind_of_next(self, now: float) -> None:
        """Have one reminder under way, of what is due first."""
        if self._later and not self._is_stopping and self._later[0][0] < self._reminder_at:
            self._reminder_at = self._later[0][0]
            self._remind(self._reminder_at - now)

    def _settle_rest(self) -> None:
        unfinished = [*self._ready, *(exchange for _, _, exchange in sorted(self._later))]
        self._ready.clear()
        self._later.clear()
        for exchange in unfinished:
            for observer in self._observers:
                observer.unsent(exchange.record)
        while items := self._supply.take(_SETTLED_AT_ONCE):
            self.read += len(items)
            for item in items:
                if isinstance(item, Record):
                    for observer in self._observers:
                        observer.unsent(item)
                else:
                    self._reject(item)

    def _reject(self, rejection: Rejection) -> None:
        for observer in self._observers:
            observer.rejected(rejection)
