"""What tests of whole runs in one process share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from livepost.config import DeliveryOptions, Limits, RouteOptions
from livepost.deliver import Result
from livepost.delivery.retry import RetryPolicy
from livepost.model import Outcome, Record, Rejection, State
from livepost.policy import PaceOptions
from livepost.records.source import ObjectSource
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.report.progress import Snapshot
from livepost.target import parse_target
from livepost.wire.message import Exchange, Response

IMPATIENT = RetryPolicy(base_seconds=0.001)
BRIEF = PaceOptions(give_up_after=0.2, start_timeout=0.2)
DIRECT = RouteOptions(proxy="")


class Log:
    """A delivery observer that keeps what it is told; `on_call` may raise."""

    def __init__(self, on_call: Callable[[str], None] = lambda words: None) -> None:
        self.told: list[str] = []
        self.bodies: list[bytes] = []
        self._on_call = on_call

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        if response is not None:
            self.bodies.append(response.body)
        self._tell(f"{exchange.record.number} {outcome.state.value}: {outcome.reason}")

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        self._tell(f"{exchange.record.number} retried: {reason}")

    def rejected(self, rejection: Rejection) -> None:
        self._tell(f"{rejection.number} rejected: {rejection.reason}")

    def left(self, record: Record, outcome: Outcome) -> None:
        self._tell(f"{record.number} {outcome.state.value}")

    @property
    def states(self) -> dict[int, State]:
        """How each record ended, by its number."""
        ends = (words.partition(":")[0].split() for words in self.told)
        return {int(number): State(state) for number, state in ends if state != "retried"}

    def _tell(self, words: str) -> None:
        self.told.append(words)
        self._on_call(words)


class FakeProgress:
    """Keeps what is asked of it; `on_tick` is called with the number of each tick."""

    def __init__(self, interval_seconds: float | None, on_tick: Callable[[int], None]) -> None:
        self.interval_seconds = interval_seconds
        self.calls: list[str] = []
        self.snapshots: list[Snapshot] = []
        self._on_tick = on_tick

    def start(self) -> None:
        self.calls.append("start")

    def tick(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self._on_tick(len(self.snapshots))

    def stop(self) -> None:
        self.calls.append("stop")


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """On asyncio's own loop, in debug mode so that nothing goes unnoticed."""

    async def watched() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        await coroutine
        assert faults == []

    asyncio.run(watched())


def options(url: str, connections: int = 4, **groups: Any) -> DeliveryOptions:
    groups.setdefault("limits", Limits(connections))
    groups.setdefault("route", DIRECT)
    return DeliveryOptions(parse_target(url), **groups)


def numbers(count: int) -> ObjectSource:
    """Records whose bodies are 1, 2, 3 …"""
    return ObjectSource(range(1, count + 1))


def counts(result: Result) -> tuple[int, int, int, int]:
    """Delivered, rejected, in doubt, unsent; checks that they add up to what was read."""
    records = result.summary.records
    found = (records.delivered, records.rejected, records.in_doubt, records.unsent)
    assert sum(found) == records.read
    return found


def answer_with(*replies: Reply | None) -> Callable[[RequestSeen], Reply | None]:
    """Scripted replies, one after the other; afterwards the usual ones."""
    script = itertools.chain(replies, itertools.repeat(None))
    return lambda request: next(script)
