"""Exchanges that are to be tried again: first by time, then in the order in which their time came.

They hold neither connection nor slot, but memory: from 10,000 of them, or 64 MiB, nothing fresh should
be sent (`is_full`) until some have gone.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque

from livepost.delivery.budget import RetryBudget
from livepost.wire.message import Exchange

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 1024**2

_NEVER = float("inf")


class Retries:
    """Empty most of the time.

    `ready` holds those whose time has come, and `prompt` those that are sent as soon as may be: the server
    has had no work with them yet, or none where a redirect sends them now, so no budget is asked.  What a
    redirect has led elsewhere (`Exchange.detour`) waits in a queue of its own.  Queues may be looked at, and
    are only changed here.
    """

    __slots__ = ("_budget", "_bytes", "_count", "_later", "_queues", "_sequence", "prompt", "ready")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._count = 0
        self._later: list[tuple[float, int, Exchange]] = []
        self._sequence = itertools.count()
        self.prompt: deque[Exchange] = deque()
        self.ready: deque[Exchange] = deque()
        self._queues = [self.prompt, self.ready]

    def __len__(self) -> int:
        return self._count

    @property
    def waiting(self) -> int:
        """How many could be tried at once, but for those that go elsewhere."""
        return len(self.prompt) + len(self.ready)

    @property
    def is_full(self) -> bool:
        return self._count >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES

    @property
    def next_at(self) -> float:
        """When the next one becomes ready."""
        return self._later[0][0] if self._later else _NEVER

    def new_queue(self) -> deque[Exchange]:
        """For exchanges that go elsewhere."""
        self._queues.append(deque())
        return self._queues[-1]

    def add(self, exchange: Exchange, at: float) -> None:
        """Try this one again, not before `at`."""
        self._hold(exchange)
        heapq.heappush(self._later, (at, next(self._sequence), exchange))

    def hasten(self, exchange: Exchange) -> None:
        """Send this one as soon as may be, where its detour leads if it has one."""
        self._hold(exchange)
        queue = self._queue_of(exchange)
        (self.prompt if queue is self.ready else queue).append(exchange)

    def _queue_of(self, exchange: Exchange) -> deque[Exchange]:
        return self.ready if exchange.detour is None else exchange.detour.queue

    def _hold(self, exchange: Exchange) -> None:
        self._count += 1
        self._bytes += len(exchange.body)

    def release_due(self, now: float) -> None:
        """Make ready what has waited long enough."""
        while self._later and self._later[0][0] <= now:
            exchange = heapq.heappop(self._later)[2]
            self._queue_of(exchange).append(exchange)

    def within_budget(self, limit: int, now: float, *, fresh_sent: int) -> int:
        """How many of `ready` may be tried, up to `limit`, while fresh records wait to be sent."""
        wanted = min(limit, len(self.ready))
        return wanted if self.is_full else self._budget.allow(now, wanted, fresh_sent)

    def budget_at(self, now: float) -> float:
        """When the budget allows another one."""
        return self._budget.next_at(now)

    def take(self, queue: deque[Exchange], limit: int, now: float) -> list[Exchange]:
        """Up to `limit` of a queue, for another attempt that begins now."""
        taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
        for exchange in taken:
            exchange.attempts += 1
            exchange.sent_at = now
            self._bytes -= len(exchange.body)
        self._count -= len(taken)
        return taken

    def drain(self) -> list[Exchange]:
        """Give up all, in the order in which they would have been tried."""
        left = [exchange for queue in self._queues for exchange in queue]
        left += [exchange for _, _, exchange in sorted(self._later)]
        for queue in self._queues:
            queue.clear()
        self._later.clear()
        self._count = self._bytes = 0
        return left
