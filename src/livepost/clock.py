"""The clocks that are handed to whatever needs the time, so that tests pass their own.

`Clock` is for deadlines and durations: seconds as a float from an arbitrary start, never going
backwards.  `WallClock` is for what people read: the time of day, in UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
WallClock = Callable[[], datetime]

monotonic: Clock = time.monotonic


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)
