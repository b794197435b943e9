"""When something that failed is tried again, and how often.

Whether it may be is decided elsewhere (`classify`); here it is only counted and timed.

Delays grow exponentially with full jitter: a random part of base times two to the number of
failures, bounded (Brooker, "Exponential Backoff And Jitter", 2015).

Nothing is wrong with a server that took a connection away before it looked at the requests on it, and there
may be a hundred of them: each is sent again at once the first time, as golang.org/x/net/http2 does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from livepost.policy import RetryOptions

COUNTED_IN_ANY_CASE_FROM = 3
"""A record with so many attempts that count is under suspicion itself: from then on all of its attempts
count, also in an outage (see `brake`).  Else, alone at the end, it would probe until all is given up."""

_LONGEST_SECONDS = 30.0

_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.  `uniform(0, x)` is the source of jitter, for tests."""

    attempts_per_record: int = 6
    base_seconds: float = 0.1
    longest_seconds: float = 5.0
    max_seconds: float | None = None
    """How long after its first attempt a record may be tried again; None is no limit."""
    uniform: Callable[[float, float], float] = random.uniform

    @classmethod
    def of(
        cls, options: RetryOptions, uniform: Callable[[float, float], float] = random.uniform
    ) -> RetryPolicy:
        """As the user asked.  Ten tries come to about a minute on the average, two at the most."""
        return cls(
            attempts_per_record=options.retry + 1,
            longest_seconds=_LONGEST_SECONDS,
            max_seconds=options.retry_max_time,
            uniform=uniform,
        )

    def next_try_at(
        self,
        now: float,
        attempts: int,
        first_sent_at: float,
        *,
        not_before: float = 0.0,
        is_unseen: bool = False,
    ) -> float | None:
        """When a record may be tried again, or None: it has had its tries, or its time.

        `attempts` are those that count (see `brake`), `not_before` the time that a Retry-After names:
        where back-off would be earlier, it is that and up to a tenth more, so that not all come at once.
        If nothing of the first attempt was seen by the server (`is_unseen`), the second follows at once.
        """
        if attempts >= self.attempts_per_record:
            return None
        at = now if is_unseen and attempts <= 1 else now + self.delay(max(attempts, 1))
        if at < not_before:
            at = not_before + self.uniform(0.0, _SPREAD * (not_before - now))
        if self.max_seconds is not None and at > first_sent_at + self.max_seconds:
            return None
        return at

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row (1 or more)."""
        bound = min(self.longest_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))
        return self.uniform(0.0, bound)

    def redial_delay(self, failures: int) -> float:
        """Seconds until another connection may be dialled, while others are alive."""
        # Never less than half: dials in a tight loop help nobody.
        bound = min(self.longest_seconds, self.base_seconds * 2.0 ** min(failures, 30))
        return bound / 2 + self.uniform(0.0, bound / 2)
