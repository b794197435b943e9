"""A destination and a run against it, in simulated time: to see the policies work together.

`Simulation` is the smallest schedule that uses all of them as the real one does: what may go is asked of
brake, rate and budget, in this order; an attempt ends after the server's latency; what is to be tried
again waits in a heap.  No I/O, no real time, one seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from livepost.delivery.brake import Brake, BrakeState
from livepost.delivery.budget import RetryBudget
from livepost.delivery.classify import NO_CONNECTION, Rules, Ruling, Sign, Verdict, in_spite_of
from livepost.delivery.rate import RateLimiter
from livepost.delivery.retry import COUNTED_IN_ANY_CASE_FROM, RetryPolicy
from livepost.delivery.server_hints import HintReader
from livepost.model import Sent, State
from livepost.policy import OutcomeOptions, PaceOptions, RetryOptions
from livepost.wire.message import Fields, Response

LATENCY_SECONDS = 0.02

Answer = Response | Sent | None
"""An answer, or how much was sent when the connection failed, or None: no connection was to be had."""


def answer(status: int, *fields: tuple[bytes, bytes]) -> Response:
    return Response(status, fields, b"")


@dataclass(slots=True)
class Item:
    """One record on its way."""

    number: int
    attempts: int = 0
    counted: int = 0
    """Attempts that count against it."""
    sent_at: float = 0.0
    first_sent_at: float = 0.0
    is_in_doubt: bool = False


@dataclass(slots=True)
class Report:
    """What came of a run."""

    seconds: float = 0.0
    states: Counter[State] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Attempts, by the reason of their ruling."""
    sent_at: list[float] = field(default_factory=list)
    """When each attempt began."""
    fresh_while_fresh: int = 0
    retries_while_fresh: int = 0
    """Attempts that were retries, while there were fresh records to send instead."""
    most_attempts: int = 0
    was_given_up: bool = False

    def sent_between(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.sent_at)


class Simulation:
    """Delivers `records` to `server(now, number)`, at most `connections` at a time."""

    def __init__(
        self,
        server: Callable[[float, int], Answer],
        *,
        records: int,
        connections: int = 16,
        method: bytes = b"POST",
        retry: RetryOptions | None = None,
        pace: PaceOptions | None = None,
        per_second: float | None = None,
        latency: float = LATENCY_SECONDS,
        seed: int = 1,
    ) -> None:
        retry = retry or RetryOptions()
        pace = pace or PaceOptions()
        uniform = random.Random(seed).uniform
        self.now = 0.0
        self.report = Report()
        self._server = server
        self._connections = connections
        self._latency = latency
        self._rules = Rules(method, retry, OutcomeOptions())
        self._policy = RetryPolicy.of(retry, uniform)
        self._brake = Brake(
            connections, give_up_after=pace.give_up_after, start_timeout=pace.start_timeout, uniform=uniform
        )
        self._budget = RetryBudget(0.0)
        self._limiter = RateLimiter(0.0, per_second)
        self._hints = HintReader(pace.max_retry_after, lambda: 1_700_000_000.0 + self.now)
        self._fresh = deque(Item(number) for number in range(records))
        self._fresh_sent = 0
        self._sequence = itertools.count()
        self._later: list[tuple[float, int, Item]] = []
        self._ready: deque[Item] = deque()
        self._under_way: list[tuple[float, int, Item]] = []

    def run(self, *, at_most_seconds: float = 100_000.0) -> Report:
        while self._fresh or self._ready or self._later or self._under_way:
            self._send()
            if self._brake.state is BrakeState.GIVEN_UP and not self._under_way:
                self.report.was_given_up = True
                self._settle()
                break
            self.now = self._next_time()
            assert self.now < at_most_seconds, "it never ends"
            while self._later and self._later[0][0] <= self.now:
                self._ready.append(heapq.heappop(self._later)[2])
            while self._under_way and self._under_way[0][0] <= self.now:
                self._end(heapq.heappop(self._under_way)[2])
        self.report.seconds = self.now
        return self.report

    def _next_time(self) -> float:
        times = [self._under_way[0][0]] if self._under_way else []
        if self._later:
            times.append(self._later[0][0])
        if (self._fresh or self._ready) and len(self._under_way) < self._connections:
            waits = [self._brake.next_at(self.now), self._limiter.next_at(self.now)]
            if not self._fresh or self._brake.is_released:
                waits.append(self._budget.next_at(self.now) if self._ready and self._fresh else self.now)
            times.append(max(waits))
        assert times, "nothing would ever happen again"
        return max(self.now + 1e-9, min(times))

    def _send(self) -> None:
        wanted = min(self._connections - len(self._under_way), len(self._ready) + len(self._fresh))
        if wanted <= 0:
            return
        allowed = self._brake.allow(self.now, wanted)
        granted = self._limiter.allow(self.now, allowed) if allowed else 0
        again = min(granted, len(self._ready))
        if not self._brake.is_released:
            # A record that fails each time must not be the one that probes for all.
            again = min(again, max(0, granted - len(self._fresh)))
        elif self._fresh and again:
            again = self._budget.allow(self.now, again, self._fresh_sent)
        fresh = min(granted - again, len(self._fresh))
        if self._fresh:
            self.report.retries_while_fresh += again
            self.report.fresh_while_fresh += fresh
        for _ in range(again):
            self._give_out(self._ready.popleft())
        for _ in range(fresh):
            self._give_out(self._fresh.popleft())
        self._fresh_sent += fresh
        self._brake.give_back(allowed - again - fresh)
        self._limiter.give_back(granted - again - fresh)

    def _give_out(self, item: Item) -> None:
        item.attempts += 1
        item.sent_at = self.now
        if item.attempts == 1:
            item.first_sent_at = self.now
        self.report.sent_at.append(self.now)
        heapq.heappush(self._under_way, (self.now + self._latency, next(self._sequence), item))

    def _end(self, item: Item) -> None:
        result = self._server(item.sent_at, item.number)
        fields: Fields = ()
        if isinstance(result, Response):
            ruling = self._rules.of_answer(result)
            fields = result.fields
        else:
            ruling = NO_CONNECTION if result is None else self._rules.of_failure(result)
        self.report.answers[ruling.reason] += 1
        not_before = self._follow_hints(result, fields, ruling)
        counts = True
        if ruling.sign is not Sign.WORKS or self._brake.is_watching:
            counts = self._brake.note(ruling.sign, self.now, item.sent_at, not_before=not_before)
        item.counted += counts or item.counted >= COUNTED_IN_ANY_CASE_FROM
        item.is_in_doubt |= ruling.leaves_doubt
        at = None
        if ruling.verdict is Verdict.TRY_AGAIN:
            at = self._policy.next_try_at(self.now, item.counted, item.first_sent_at, not_before=not_before)
        if at is None:
            self._finish(item, in_spite_of(item.is_in_doubt, ruling.outcome).state)
        else:
            heapq.heappush(self._later, (at, next(self._sequence), item))

    def _follow_hints(self, result: Answer, fields: Fields, ruling: Ruling) -> float:
        if not isinstance(result, Response):
            return 0.0
        hint = self._hints.read(result.status, fields)
        if hint is None:
            return 0.0
        if hint.pace is not None:
            self._limiter.follow(self.now, hint.pace, len(self._under_way))
        if hint.pause_seconds is None:
            return 0.0
        if not ruling.pauses:
            self._brake.pause(self.now, hint.pause_seconds)
        return self.now + hint.pause_seconds

    def _finish(self, item: Item, state: State) -> None:
        self.report.states[state] += 1
        self.report.most_attempts = max(self.report.most_attempts, item.attempts)

    def _settle(self) -> None:
        for item in [*self._fresh, *self._ready, *(item for _, _, item in self._later)]:
            self._finish(item, State.IN_DOUBT if item.is_in_doubt else State.UNSENT)
