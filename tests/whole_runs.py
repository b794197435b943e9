"""What tests of whole runs in one process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from livepost.config import DeliveryOptions, Limits, RouteOptions
from livepost.deliver import Result
from livepost.delivery.retry import RetryPolicy
from livepost.model import Outcome, Record, Rejection, State
from livepost.policy import PaceOptions
from livepost.records.source import ObjectSource
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
