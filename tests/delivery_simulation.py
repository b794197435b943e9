"""A destination and a run against it, in simulated time: to see the policies work together.

The schedule and its policies are the real ones; connections are but slots, used as the pool does: one
that has brought an answer asks for more, one that got nothing waits to be woken, and another is dialled
while something waits, one at first and then as many as are alive.  No I/O, no real time, one seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from schedule_world import HEAD, RUN_ID, TARGET, FakeSupply

from livepost.config import DeliveryOptions, Limits
from livepost.delivery.policies import Policies
from livepost.delivery.retry import RetryPolicy
from livepost.delivery.schedule import Schedule
from livepost.errors import LivepostError
from livepost.model import Outcome, Record, Rejection, Sent, State
from livepost.policy import OrderOptions, PaceOptions, RetryOptions
from livepost.wire.machine import Answered, Event, Failed
from livepost.wire.message import Exchange, Response

LATENCY_SECONDS = 0.02
DIAL_SECONDS = 0.001

Answer = Response | Sent
"""An answer, or how much was sent when the connection broke."""


def answer(status: int, *fields: tuple[bytes, bytes]) -> Response:
    return Response(status, fields, b"")


@dataclass(slots=True)
class Report:
    """What came of a run; listens to its schedule."""

    seconds: float = 0.0
    states: Counter[State] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Attempts, by what came of them."""
    sent_at: list[float] = field(default_factory=list)
    """When each attempt began."""
    fresh_while_fresh: int = 0
    retries_while_fresh: int = 0
    """Attempts that were retries, while there were fresh records to send instead."""
    most_attempts: int = 0
    dials: int = 0
    most_at_once: int = 0
    wakes: int = 0
    delivered: list[int] = field(default_factory=list)
    """Numbers, as they were."""
    error: LivepostError | None = None
    """Why the run was given up."""

    def sent_between(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.sent_at)

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        self.states[outcome.state] += 1
        self.answers["no answer" if response is None else f"status_{response.status}"] += 1
        self.most_attempts = max(self.most_attempts, exchange.attempts)
        if outcome.state is State.DELIVERED:
            self.delivered.append(exchange.record.number)

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        self.answers[reason] += 1

    def rejected(self, rejection: Rejection) -> None:
        self.states[State.REJECTED] += 1

    def left(self, record: Record, outcome: Outcome) -> None:
        self.states[outcome.state] += 1


class Simulation:
    """Delivers `records` to `server(now, number)`, which is half the latency away, over `connections`.

    While not `is_up(now)`, connections break before anything is sent on them and none can be made.
    """

    def __init__(
        self,
        server: Callable[[float, int], Answer],
        *,
        records: int,
        connections: int = 16,
        is_up: Callable[[float], bool] = lambda now: True,
        body_of: Callable[[int], bytes] = lambda number: b"%d" % number,
        retry: RetryOptions | None = None,
        pace: PaceOptions | None = None,
        order: OrderOptions | None = None,
        latency: float = LATENCY_SECONDS,
        seed: int = 1,
    ) -> None:
        retry = retry or RetryOptions()
        uniform = random.Random(seed).uniform
        options = DeliveryOptions(
            target=TARGET,
            limits=Limits(connections),
            retry=retry,
            pace=pace or PaceOptions(),
            order=order or OrderOptions(),
        )
        self.now = 0.0
        self.report = Report()
        self._server = server
        self._is_up = is_up
        self._connections = connections
        self._latency = latency
        self._policy = RetryPolicy.of(retry, uniform)
        self._supply = FakeSupply(*(Record(n, body_of(n), "-", n) for n in range(1, records + 1)))
        self._schedule = Schedule(
            self._supply,
            HEAD,
            Policies.of(
                options,
                HEAD,
                RUN_ID,
                now=0.0,
                wall_clock=lambda: 1_700_000_000.0 + self.now,
                retry=self._policy,
            ),
            [self.report],
            remind=self._remind,
            on_failed=self._give_up,
            on_finished=self._on_finished,
        )
        self._sequence = itertools.count()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._alive = self._idle = self._dialing = 0
        self._is_pausing = False
        """Nothing is dialled until a pause is over."""
        self._is_finished = False
        self._due_at = 0.0
        """When it is to be reminded; what was asked for before does not count."""

    def run(self, *, at_most_seconds: float = 100_000.0) -> Report:
        self._schedule.arrived()
        self._wake()
        while not self._is_finished:
            assert self._calls, "nothing would ever happen again"
            self.now, _, call = heapq.heappop(self._calls)
            assert self.now < at_most_seconds, "it never ends"
            call()
        self.report.seconds = self.now
        return self.report

    def _call_at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (when, next(self._sequence), call))

    def _remind(self, seconds: float) -> None:
        self._due_at = self.now + seconds
        self._call_at(self._due_at, self._on_due)

    def _on_due(self) -> None:
        if self.now != self._due_at:
            return
        self._due_at = 0.0
        self.report.wakes += 1
        self._schedule.release_due(self.now)
        self._wake()

    def _wake(self) -> None:
        while self._idle and self._schedule.waiting:
            self._idle -= 1
            self._pull()
        self._dial_if_needed()

    def _pull(self) -> None:
        """One connection asks for work."""
        are_fresh_left = bool(self._supply.items)
        pulled = self._schedule.pull(1, self.now)
        if not pulled:
            self._idle += 1
            return
        (exchange,) = pulled
        if are_fresh_left:
            self.report.fresh_while_fresh += exchange.attempts == 1
            self.report.retries_while_fresh += exchange.attempts > 1
        self.report.sent_at.append(self.now)
        self.report.most_at_once = max(self.report.most_at_once, self._alive - self._idle)
        if not self._is_up(self.now):
            self._call_at(self.now + self._latency, lambda: self._break(exchange, Sent.NOTHING))
            return
        result = self._server(self.now + self._latency / 2, exchange.record.number)
        if isinstance(result, Sent):
            self._call_at(self.now + self._latency, lambda: self._break(exchange, result))
        else:
            self._call_at(self.now + self._latency, lambda: self._answer(exchange, result))

    def _answer(self, exchange: Exchange, response: Response) -> None:
        self._settle(Answered(exchange, response))
        self._pull()

    def _break(self, exchange: Exchange, sent: Sent) -> None:
        self._settle(Failed(exchange, sent, "it broke"))
        self._alive -= 1
        self._dial_if_needed()

    def _settle(self, event: Event) -> None:
        self._schedule.settle([event], self.now)

    def _dial_if_needed(self) -> None:
        if self._is_pausing:
            return
        wanted = min(
            self._schedule.waiting - self._idle - self._dialing,
            self._connections - self._alive - self._dialing,
            max(1, self._alive) - self._dialing,
        )
        for _ in range(wanted):
            self._dialing += 1
            self.report.dials += 1
            self._call_at(self.now + DIAL_SECONDS, self._dialed)

    def _dialed(self) -> None:
        self._dialing -= 1
        if self._is_up(self.now):
            self._alive += 1
            self._pull()
            self._dial_if_needed()
            return
        delay = self._policy.redial_delay(1) if self._alive else self._schedule.dial_failed(self.now)
        if delay is None:
            self._schedule.stop()
        elif not self._is_pausing:
            self._is_pausing = True
            self._call_at(self.now + delay, self._redial)

    def _redial(self) -> None:
        self._is_pausing = False
        self._dial_if_needed()

    def _give_up(self, error: LivepostError) -> None:
        self.report.error = self.report.error or error
        self._schedule.stop()

    def _on_finished(self) -> None:
        self._is_finished = True
