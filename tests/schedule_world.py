"""A schedule among fakes: a supply, an observer, a recorder, and a clock that only moves when told to."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from livepost.config import DeliveryOptions
from livepost.delivery.detour import Detours
from livepost.delivery.lane import Lane
from livepost.delivery.policies import Policies
from livepost.delivery.retry import RetryPolicy
from livepost.delivery.schedule import Schedule
from livepost.errors import LivepostError
from livepost.events import CloseReason
from livepost.model import Outcome, Record, Rejection, Sent, State
from livepost.target import Target, parse_target
from livepost.wire.machine import Answered, Failed
from livepost.wire.message import Exchange, RequestHead, Response

HEAD = RequestHead(b"POST", b"/", b"api.test", b"http", ())
TARGET = parse_target("http://api.test/")
RUN_ID = uuid.UUID("12345678-1234-4234-8234-123456789abc")
LONGEST = RetryPolicy(uniform=lambda low, high: high)
CREATED = Response(201, (), b"")
DOUBT = "after an attempt that may have been processed"


def record(number: int) -> Record:
    return Record(number, b"%d" % number, "-", number)


def keyed(number: int, key: str) -> Record:
    """To be ordered by the pointer `/key`."""
    return Record(number, b'{"key": "%s"}' % key.encode(), "-", number)


def rejection(number: int) -> Rejection:
    return Rejection(number, "-", number, "not JSON")


class FakeSupply:
    """Gives what the test put in."""

    def __init__(self, *items: Record | Rejection, ended: bool = True) -> None:
        self.items = deque(items)
        self.has_ended = ended

    @property
    def waiting(self) -> int:
        return len(self.items)

    @property
    def ended(self) -> bool:
        return self.has_ended and not self.items

    def take(self, limit: int) -> list[Record | Rejection]:
        return [self.items.popleft() for _ in range(min(limit, len(self.items)))]

    def peek(self) -> Record | Rejection | None:
        return self.items[0] if self.items else None


class FakeObserver:
    """Writes down what it is told, in words; calls `on_call` each time."""

    def __init__(self, on_call: Callable[[], None] = lambda: None) -> None:
        self.told: list[str] = []
        self.seconds: list[float] = []
        self.states: Counter[State] = Counter()
        self._on_call = on_call

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        self.states[outcome.state] += 1
        self.seconds.append(seconds)
        answer = "" if response is None else f" {response.status}"
        self._tell(f"{exchange.record.number} {outcome.state.value}: {outcome.reason}{answer}")

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        self.seconds.append(seconds)
        self._tell(f"{exchange.record.number} retried: {reason}")

    def rejected(self, rejection: Rejection) -> None:
        self.states[State.REJECTED] += 1
        self._tell(f"{rejection.number} rejected: {rejection.reason}")

    def left(self, record: Record, outcome: Outcome) -> None:
        self.states[outcome.state] += 1
        self._tell(f"{record.number} {outcome.state.value}")

    def _tell(self, words: str) -> None:
        self.told.append(words)
        self._on_call()


class FakeRecorder:
    """Keeps marks, and what it is told of ends."""

    def __init__(self) -> None:
        self.marks = memoryview(bytearray(1_000))
        self.is_sent_again = False
        self.concluded: list[str] = []

    def conclude(
        self, mark: int, item: Record | Rejection, reason: str, attempts: int, response: Response | None
    ) -> None:
        self.marks[item.number] = mark
        answer = "" if response is None else f" {response.status}"
        self.concluded.append(f"{item.number} {chr(mark)} after {attempts}: {reason}{answer}")

    @property
    def text(self) -> str:
        """The marks of the first records, a dot for none."""
        return bytes(self.marks[1:]).rstrip(b"\0").replace(b"\0", b".").decode()


class World:
    """A schedule with all of its policies.  Of every pause that is drawn at random it waits the longest.

    `options` are groups of `DeliveryOptions`.
    """

    def __init__(
        self,
        supply: FakeSupply,
        policy: RetryPolicy = LONGEST,
        *observers: FakeObserver,
        recorder: FakeRecorder | None = None,
        method: bytes = b"POST",
        **options: Any,
    ) -> None:
        self.now = 100.0
        self.wall = 1_700_000_000.0
        """What the wall clock says; it does not move by itself."""
        self.errors: list[LivepostError] = []
        head = HEAD if method == HEAD.method else dataclasses.replace(HEAD, method=method)
        self.policies = Policies.of(
            DeliveryOptions(target=TARGET, **options),
            head,
            RUN_ID,
            now=self.now,
            wall_clock=lambda: self.wall,
            retry=policy,
        )
        self.observer = FakeObserver()
        self.reminders: list[float] = []
        """When `release_due` is to be called: once or not at all."""
        self.finishes = 0
        self.supply = supply
        self.recorder = recorder
        self.lanes: dict[str, Lane] = {}
        """Of other origins, by URL."""
        self.schedule = Schedule(
            supply,
            head,
            self.policies,
            [*observers, self.observer],
            recorder=recorder,
            detours=Detours(TARGET, head, self.policies.retries.ready, self._open_lane),
            remind=self._remind,
            on_failed=self._on_failed,
            on_finished=self._on_finished,
        )

    def _open_lane(self, target: Target) -> deque[Exchange]:
        queue = self.policies.retries.new_queue()
        self.lanes[str(target)] = Lane(self.schedule, queue)
        return queue

    def pull(self) -> Exchange:
        (exchange,) = self.schedule.pull(1, self.now)
        return exchange

    def pull_nothing(self) -> None:
        assert self.schedule.pull(1, self.now) == []

    def pull_numbers(self, limit: int) -> list[int]:
        """Pull, and forget all but the numbers of the records."""
        return [exchange.record.number for exchange in self.schedule.pull(limit, self.now)]

    def answer(self, exchange: Exchange, status: int = 201, *fields: tuple[bytes, bytes]) -> None:
        self.schedule.settle([Answered(exchange, Response(status, fields, b""))], self.now)

    def fail(
        self, exchange: Exchange, sent: Sent, reason: str = "reset", cause: CloseReason | None = None
    ) -> None:
        self.schedule.settle([Failed(exchange, sent, reason)], self.now, cause)

    def postpone(self, exchange: Exchange) -> None:
        """The server wants nothing of it now, for no fault of its own: it is to be tried later."""
        self.answer(exchange, 425)

    def arrive(self, *items: Record | Rejection) -> None:
        self.supply.items += items
        self.schedule.arrived()

    def end(self) -> None:
        """Nothing more will come."""
        self.supply.has_ended = True
        self.schedule.arrived()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call for what was reminded of, when it is due."""
        end = self.now + seconds
        while self.reminders and min(self.reminders) <= end:
            self.now = max(self.now, min(self.reminders))
            self.reminders.remove(min(self.reminders))
            self.schedule.release_due(self.now)
        self.now = end

    def until_reminded(self) -> float:
        """Let time pass until the next reminder is due; returns how long that was."""
        started = self.now
        self.advance(min(self.reminders) - self.now)
        return self.now - started

    def until_waiting(self) -> float:
        """Let time pass until something can be pulled; returns how long that was."""
        started = self.now
        while not self.schedule.waiting:
            self.until_reminded()
        return self.now - started

    def _remind(self, seconds: float) -> None:
        assert seconds > 0
        self.reminders = [self.now + seconds]

    def _on_failed(self, error: LivepostError) -> None:
        """As a run does."""
        self.errors.append(error)
        self.schedule.stop()

    def _on_finished(self) -> None:
        self.finishes += 1
