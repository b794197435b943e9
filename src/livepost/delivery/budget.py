"""How many of the requests may be retries: the budget that keeps retries from becoming the load.

Where one request in two fails, retries double the load of a server that is ill because of its load.
So while there are fresh records to send, at most a fifth of all attempts are retries: each fresh
attempt earns a quarter of a retry (a token bucket, as in Finagle's RetryBudget).  A record that finds
the budget spent waits for it and fails by no means.

Ten a second are always allowed, or one record that fails at a slow trickle would wait for ever.  When
nothing fresh can be sent there is no traffic to be a fifth of: then the back-off of each record and
the brake are what spares the server, and the budget is not asked.  Nor is it for a record that the server has
not looked at when that happens first (`classify`): it has made no load yet.
"""

from __future__ import annotations

RETRY_SHARE = 0.2
ALWAYS_PER_SECOND = 10.0
MOST_SAVED = 100.0


class RetryBudget:
    """Grants retries.  To be asked only while fresh records could be sent instead."""

    __slots__ = ("_always_per_second", "_asked_at", "_earned_per_fresh", "_fresh", "_most_saved", "_tokens")

    def __init__(
        self,
        now: float,
        *,
        share: float = RETRY_SHARE,
        always_per_second: float = ALWAYS_PER_SECOND,
        most_saved: float = MOST_SAVED,
    ) -> None:
        self._earned_per_fresh = share / (1.0 - share)
        self._always_per_second = always_per_second
        self._most_saved = most_saved
        self._tokens = 0.0
        self._fresh = 0
        self._asked_at = now

    def allow(self, now: float, wanted: int, fresh: int) -> int:
        """How many of `wanted` retries may be sent now, and spend them.

        `fresh` is the number of first attempts since the run began: nothing has to be told per record.
        """
        earned = (fresh - self._fresh) * self._earned_per_fresh
        passed = (now - self._asked_at) * self._always_per_second
        self._fresh = fresh
        self._asked_at = now
        self._tokens = min(self._most_saved, self._tokens + max(earned, passed))
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted

    def give_back(self, count: int) -> None:
        """So many that were allowed were not sent after all."""
        self._tokens = min(self._most_saved, self._tokens + count)

    def next_at(self, now: float) -> float:
        """When there will be one retry more, even if no fresh record is sent until then."""
        missing = 1.0 - self._tokens - (now - self._asked_at) * self._always_per_second
        return now + max(0.0, missing / self._always_per_second)
