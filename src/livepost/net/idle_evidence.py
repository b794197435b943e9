"""After how long a server closes an idle connection, as far as what was seen tells.

A close tells the limit: the idle time at the server's FIN, the shortest of the last few.  It is rounded down
to whole seconds, in which servers are configured: gunicorn, which looks once a second, closes after 2 to 3 s
where 2 are meant.  Below 1 s it is rounded down to tenths.  A life tells what the limit is not: a connection
was idle for longer and answered, or was not closed.

A server that restarts, or sheds connections, closes idle ones, too.  That is told apart in two ways:

- Connections that are closed at the same time after clearly different idle times, or together with busy ones,
  were not closed for being idle.  (Those that became idle together are closed together: one observation.)
- A close is dismissed when later a connection lives clearly longer.  The more often it was seen, the more
  such lives it takes (the square), so that one of several servers with a shorter limit is not forgotten.

"Clearly" is more than a fifth, and more than the second by which the times of servers vary that look at their
connections once a second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

_CLEARLY_LONGER = 1.2
_SLACK_SECONDS = 0.2
_SAME = 0.1
_TOGETHER_SECONDS = 1.0
_SWEEP_SECONDS = 1.0
_REMEMBERED_CLOSES = 8
_STEPS_PER_SECOND = 10
# What a FIN may have gained on the last answer on the way here.
_EARLY_SECONDS = 0.02
_LATE_SECONDS = 0.1


class _Close:
    """One moment at which idle connections were closed."""

    __slots__ = ("idle_seconds", "longer_lives")

    def __init__(self, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        self.longer_lives = 0


class IdleEvidence:
    """Reckons the limit from closes and lives; `now` is of a clock that never goes back."""

    __slots__ = (
        *("_broke_at", "_closed_at", "_closes", "_latest", "_longest_together"),
        *("limit", "shortest", "times_seen"),
    )

    def __init__(self) -> None:
        self.shortest: float | None = None
        """Seconds after which the server closed a connection, by the closes that stand; None if none does."""
        self.limit: float | None = None
        """For which limit, in seconds, the server was probably configured; None if no close stands."""
        self.times_seen = 0
        """At how many moments it was seen, about."""
        self._closes: deque[_Close] = deque(maxlen=_REMEMBERED_CLOSES)
        self._latest: _Close | None = None
        """That of the last moment; None if it turned out that idleness was not the cause."""
        self._closed_at = -math.inf
        self._longest_together = 0.0
        self._broke_at = -math.inf

    def closed(self, idle_seconds: float, now: float) -> None:
        """The server has closed a connection that was idle for so long."""
        is_together = now - self._closed_at <= _TOGETHER_SECONDS
        self._closed_at = now
        self._mark_shorter(idle_seconds, besides=self._latest if is_together else None)
        if is_together:
            self._add_to_latest(idle_seconds)
        else:
            self._longest_together = idle_seconds
            self._latest = None
            if now - self._broke_at > _TOGETHER_SECONDS:
                self._latest = _Close(idle_seconds)
                self._closes.append(self._latest)
        self._reckon()

    def broke(self, now: float) -> None:
        """The server has closed or reset a busy connection.

        So others that it closed at this time were not closed for being idle, either.
        """
        self._broke_at = now
        if now - self._closed_at <= _TOGETHER_SECONDS:
            self._drop_latest()
            self._reckon()

    def lived(self, idle_seconds: float) -> None:
        """A connection was idle for so long and was not closed."""
        self._mark_shorter(idle_seconds)
        self._reckon()

    def has_shorter(self, idle_seconds: float) -> bool:
        """Whether `lived` with this would say anything."""
        return any(idle_seconds > close.idle_seconds for close in self._closes)

    def _add_to_latest(self, idle_seconds: float) -> None:
        if self._latest is None:
            return
        self._longest_together = max(self._longest_together, idle_seconds)
        self._latest.idle_seconds = min(self._latest.idle_seconds, idle_seconds)
        if is_clearly_longer(self._longest_together, self._latest.idle_seconds):
            self._drop_latest()

    def _drop_latest(self) -> None:
        if self._latest is not None:
            self._closes.remove(self._latest)
            self._latest = None

    def _mark_shorter(self, idle_seconds: float, besides: _Close | None = None) -> None:
        for close in self._closes:
            if close is not besides and is_clearly_longer(idle_seconds, close.idle_seconds):
                close.longer_lives += 1

    def _reckon(self) -> None:
        standing = [close.idle_seconds for close in self._closes if not self._is_dismissed(close)]
        if not standing:
            self.shortest = self.limit = None
            self.times_seen = 0
            return
        self.shortest = min(standing)
        self.limit = as_configured(standing)
        self.times_seen = _count_like(self.shortest, self._closes)

    def _is_dismissed(self, close: _Close) -> bool:
        return close.longer_lives >= _count_like(close.idle_seconds, self._closes) ** 2


def as_configured(idle_seconds: Sequence[float], *, enough: int = 2) -> float:
    """The limit in seconds for which a server that closed connections at these idle times was configured.

    That is the shortest of them, rounded down.  But a busy machine may have read the answer before it late:
    so it is the next second if at least `enough` of them are near that.
    """
    shortest = min(idle_seconds)
    whole = math.floor(shortest + _EARLY_SECONDS)
    next_whole = math.ceil(shortest)
    near = sum(abs(one - next_whole) <= _LATE_SECONDS for one in idle_seconds)
    if near >= enough and next_whole - shortest <= _LATE_SECONDS:
        return float(next_whole)
    return float(whole) if whole else math.floor(shortest * _STEPS_PER_SECOND) / _STEPS_PER_SECOND


def is_clearly_longer(longer: float, shorter: float) -> bool:
    """Whether two idle times, in seconds, cannot be due to the same limit."""
    return longer > clearly_longer_than(shorter)


def clearly_longer_than(idle_seconds: float) -> float:
    """From where on a time is `is_clearly_longer`."""
    slack = min(_SWEEP_SECONDS, idle_seconds) + _SLACK_SECONDS
    return max(_CLEARLY_LONGER * idle_seconds, idle_seconds + slack)


def _count_like(idle_seconds: float, closes: Iterable[_Close]) -> int:
    tolerance = max(_SLACK_SECONDS, _SAME * idle_seconds)
    return sum(abs(close.idle_seconds - idle_seconds) <= tolerance for close in closes)
