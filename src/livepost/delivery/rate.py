"""How fast requests may start: what the user allows, and less where the server asks for less.

A token bucket: tokens come at the rate, up to a burst of a tenth of a second's worth, and each request
takes one.  So over any time T at most burst + rate x T requests start, evenly spread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from livepost.delivery.server_hints import Pace
from livepost.errors import ConfigurationError

BURST_SECONDS = 0.1
# So that a high rate does not mean a wake-up per request.
_WAKE_SECONDS = 0.01
# What rounding may take from a token that is due.
_ROUNDING = 1e-6
_ALL = 2**31
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?/ ?([smhd])")
_BARE = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_HINT = "write 10/s, 600/m, 1000/h or 5000/d"


def parse_rate(text: str) -> float:
    """Requests per second of `10/s`, `0.5/s`, `600/m`, `1000/h` or `5000/d`.

    A number alone is refused: curl means so many an hour by it, most others so many a second.
    Raises ConfigurationError.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        if _BARE.fullmatch(text):
            raise ConfigurationError(
                f"--rate {text} does not say per what",
                f"write {text}/s, or {text}/h if you mean it as curl does",
            )
        raise ConfigurationError(f"--rate: {text!r} is not a rate", _HINT)
    requests = float(match[1])
    if not requests:
        raise ConfigurationError(f"--rate {text} would never send anything", _HINT)
    return requests / _UNITS[match[2]]


@dataclass(slots=True)
class _Bucket:
    """Tokens that come at a rate and are kept up to a burst."""

    per_second: float
    burst: float
    tokens: float
    filled_at: float

    def fill(self, now: float) -> int:
        if now > self.filled_at:
            self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_second)
            self.filled_at = now
        return int(self.tokens + _ROUNDING)

    def next_at(self) -> float:
        """When one token is there; or a little later, when a few are."""
        few = min(self.burst, max(1.0, self.per_second * _WAKE_SECONDS))
        return self.filled_at + max(0.0, few - self.tokens) / self.per_second


def _burst(per_second: float) -> float:
    return max(1.0, per_second * BURST_SECONDS)


class RateLimiter:
    """Allows requests to start.  While `is_unlimited`, there is no need to ask.

    `per_second` is the user's rate, None for none.  What servers ask for (`follow`) holds until the
    time it was for is over, or the server says something else.
    """

    __slots__ = ("_followed", "_followed_until", "_own", "_pace", "is_unlimited")

    def __init__(self, now: float, per_second: float | None = None) -> None:
        self._own = None if per_second is None else _full_bucket(now, per_second)
        self._followed: _Bucket | None = None
        self._followed_until = 0.0
        self._pace: Pace | None = None
        self.is_unlimited = self._own is None

    def allow(self, now: float, wanted: int) -> int:
        """How many of `wanted` requests may start now, and count them as started."""
        buckets = self._buckets(now)
        granted = max(0, min([wanted, *(bucket.fill(now) for bucket in buckets)]))
        for bucket in buckets:
            bucket.tokens -= granted
        return granted

    def available(self, now: float) -> int:
        """How many `allow` would grant at most."""
        return max(0, min((bucket.fill(now) for bucket in self._buckets(now)), default=_ALL))

    def give_back(self, count: int) -> None:
        """So many that were allowed did not start after all."""
        for bucket in (self._own, self._followed):
            if bucket is not None:
                bucket.tokens = min(bucket.burst, bucket.tokens + count)

    def next_at(self, now: float) -> float:
        """When `allow` will grant something again, to be asked after it granted less than was wanted."""
        self._forget_followed(now)
        at = now if self._own is None else max(now, self._own.next_at())
        if self._followed is None:
            return at
        return max(at, min(self._followed.next_at(), self._followed_until))

    def follow(self, now: float, pace: Pace, in_flight: int) -> None:
        """Go no faster than `pace`, which came with an answer while `in_flight` requests had none yet.

        Those may or may not be counted in what the server says is left: they are taken as not.
        """
        until = now + pace.seconds
        if pace == self._pace and self._followed is not None:
            # Said again with every answer, such as a policy that never changes.
            self._followed_until = until
            return
        spread = max(pace.requests - pace.at_once, 0)
        per_second = max(spread, 1) / pace.seconds
        at_once = max(0, min(pace.at_once, pace.requests - in_flight))
        burst = max(_burst(per_second), float(at_once))
        tokens = float(at_once)
        if self._followed is not None and not pace.at_once:
            # Else answers in quick succession would each take what had come since the last.
            self._followed.fill(now)
            tokens = min(self._followed.tokens, burst)
        self._followed = _Bucket(per_second, burst, tokens, now)
        self._followed_until = until
        self._pace = pace
        self.is_unlimited = False

    def _buckets(self, now: float) -> list[_Bucket]:
        self._forget_followed(now)
        return [bucket for bucket in (self._own, self._followed) if bucket is not None]

    def _forget_followed(self, now: float) -> None:
        if self._followed is not None and now >= self._followed_until:
            self._followed = self._pace = None
            self.is_unlimited = self._own is None


def _full_bucket(now: float, per_second: float) -> _Bucket:
    return _Bucket(per_second, _burst(per_second), _burst(per_second), now)
