"""How many requests may start now: as many as the brake and the rate both allow."""

from __future__ import annotations

from livepost.delivery.brake import Brake
from livepost.delivery.classify import Sign
from livepost.delivery.rate import RateLimiter
from livepost.delivery.server_hints import ServerHint
from livepost.errors import DestinationError


class Gate:
    """Asked for every pull; while `is_open`, there is no need to."""

    __slots__ = ("_brake", "_limiter")

    def __init__(self, brake: Brake, limiter: RateLimiter) -> None:
        self._brake = brake
        self._limiter = limiter

    @property
    def is_open(self) -> bool:
        return self._brake.is_released and self._limiter.is_unlimited

    @property
    def is_watching(self) -> bool:
        """Whether an attempt that worked is to be told to `note`."""
        return self._brake.is_watching

    @property
    def error(self) -> DestinationError | None:
        """Why the run should end, or None."""
        return self._brake.error

    @property
    def is_braked(self) -> bool:
        """Whether what is sent now finds out how the destination is."""
        return not self._brake.is_released

    def available(self, now: float) -> int:
        """How many `allow` would grant at most.  Only while not open."""
        available = self._brake.available(now)
        return available if self._limiter.is_unlimited else min(available, self._limiter.available(now))

    def allow(self, now: float, wanted: int) -> int:
        """How many of `wanted` requests may start now, and count them as started."""
        granted = self._brake.allow(now, wanted)
        if granted and not self._limiter.is_unlimited:
            allowed = self._limiter.allow(now, granted)
            self._brake.give_back(granted - allowed)
            granted = allowed
        return granted

    def give_back(self, count: int) -> None:
        """So many that were allowed did not start after all."""
        self._brake.give_back(count)
        self._limiter.give_back(count)

    def next_at(self, now: float) -> float:
        """When `allow` grants more by itself; infinite if that takes the end of an attempt."""
        at = self._brake.next_at(now)
        return at if self._limiter.is_unlimited else max(at, self._limiter.next_at(now))

    def note(self, sign: Sign, now: float, sent_at: float, *, not_before: float = 0.0) -> bool:
        """What the end of an attempt says of the destination; whether it counts against its record."""
        return self._brake.note(sign, now, sent_at, not_before=not_before)

    def heed(self, hint: ServerHint, now: float, in_flight: int, *, brakes: bool = True) -> None:
        """The server asks for less, with an answer that came while so many had none yet."""
        if hint.pause_seconds is not None and brakes:
            self._brake.pause(now, hint.pause_seconds)
        if hint.pace is not None:
            self._limiter.follow(now, hint.pace, in_flight)

    def dial_failed(self, now: float) -> None:
        """No connection could be made, and none is alive."""
        self._brake.dial_failed(now)
