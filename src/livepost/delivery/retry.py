"""Whether and when something that failed is tried again.

An exchange is tried again only if the server cannot have processed it: nothing of it was sent, or
the server proved that it did not act on it.  Bytes sent and no answer means in doubt, and in doubt
is never sent again.

Delays grow exponentially with full jitter: a random part of base times two to the number of
failures, bounded (Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from livepost.errors import DialError, PermanentDialError
from livepost.model import Sent

_SAFE_TO_REPEAT = frozenset((Sent.NOTHING, Sent.REFUSED))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.  `uniform(0, x)` is the source of jitter, for tests."""

    attempts_per_record: int = 6
    first_dials: int = 5
    """Dials in a row that may fail before the target was ever reached: about 2 s."""
    later_dials: int = 12
    """Dials in a row that may fail after it was: about half a minute, a restart of the server."""
    base_seconds: float = 0.1
    longest_seconds: float = 5.0
    uniform: Callable[[float, float], float] = random.uniform

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row (1 or more)."""
        bound = min(self.longest_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))
        return self.uniform(0.0, bound)

    def exchange_delay(self, attempts: int, sent: Sent) -> float | None:
        """Seconds until a failed exchange may be sent again, or None: it may not."""
        if sent not in _SAFE_TO_REPEAT or attempts >= self.attempts_per_record:
            return None
        return self.delay(attempts)

    def redial_delay(self, error: DialError, failures: int, *, was_reached: bool) -> float | None:
        """Seconds until the target may be dialled again, or None: give up."""
        if isinstance(error, PermanentDialError):
            return None
        if failures >= (self.later_dials if was_reached else self.first_dials):
            return None
        # Never less than half: dials in a tight loop help nobody.
        bound = min(self.longest_seconds, self.base_seconds * 2.0 ** min(failures, 30))
        return bound / 2 + self.uniform(0.0, bound / 2)
