"""The time of day as a practice server has it, which may be wrong on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate


class ServerClock:
    """The true time, or `skew_seconds` ahead of it (negative: behind).

    `wall_clock` gives seconds since 1970.
    """

    __slots__ = ("_date", "_second", "_skew_seconds", "_wall_clock")

    def __init__(self, skew_seconds: float = 0.0, wall_clock: Callable[[], float] = time.time) -> None:
        self._skew_seconds = skew_seconds
        self._wall_clock = wall_clock
        self._second: int | None = None
        self._date = b""

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall_clock() + self._skew_seconds

    def date(self) -> bytes:
        """The value of a Date field (RFC 9110 section 6.6.1), written anew only once a second."""
        second = int(self._wall_clock() + self._skew_seconds)
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date
