"""The way of what redirects have led to another origin: work for a pool of its own."""

from __future__ import annotations

from collections import deque

from livepost.delivery.schedule import Schedule
from livepost.wire.message import Exchange


class Lane:
    """Satisfies `net.work.Work` for what redirects have led to another origin."""

    def __init__(self, schedule: Schedule, queue: deque[Exchange]) -> None:
        self._schedule = schedule
        self._queue = queue
        self.settle = schedule.settle

    @property
    def waiting(self) -> int:
        return self._schedule.waiting_in(self._queue)

    def pull(self, limit: int, now: float) -> list[Exchange]:
        return self._schedule.pull_from(self._queue, limit, now)
