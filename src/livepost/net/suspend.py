"""Whether the machine was asleep: then the server, and whatever is between, has gone on without us.

CLOCK_MONOTONIC stands still while Linux is suspended and CLOCK_BOOTTIME does not, so their difference is the
time asleep.  Where there is only the time of day it serves instead; it is also set and slewed, so a second,
and what a clock may be slewed in the meantime (500 ppm, adjtimex(2)), are no sleep.
"""

from __future__ import annotations

import time

from livepost.clock import Clock

_SHORTEST_SLEEP_SECONDS = 1.0
_SLEWED = 0.0005


def running_clock() -> Clock:
    """The best clock that goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time


class SuspendWatch:
    """Compares a clock that stands still during a sleep with one that goes on (`running_clock`)."""

    __slots__ = ("_monotonic", "_running")

    def __init__(self, monotonic: float, running: float) -> None:
        self._monotonic = monotonic
        self._running = running

    def slept(self, monotonic: float, running: float) -> float:
        """How many seconds the machine slept since this was last asked; 0 if it did not."""
        awake = monotonic - self._monotonic
        asleep = running - self._running - awake
        self._monotonic = monotonic
        self._running = running
        return asleep if asleep > _SHORTEST_SLEEP_SECONDS + _SLEWED * awake else 0.0
