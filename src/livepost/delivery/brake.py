"""One brake for the whole destination: who is down, or asks for a pause, is left alone by all.

    RELEASED ──stop, or a run of suspects──► PAUSED ──time is up──► PROBING ──it works──► REOPENING
        ▲                                      ▲ │                     │                      │ │
        │                                      └─┼──it does not work───┘                      │ │
        │                                      └─┼──stop, or a run of suspects────────────────┘ │
        │                                        └──────► GIVEN_UP                              │
        └──as many at once as there are connections─────────────────────────────────────────────┘

Records wait meanwhile.  What stops it (`classify.Sign`): no connection to be had, 429, 503; or five
suspects in a row without an answer that works between them: timeouts, broken connections and other 5xx.
So a gateway whose backend is gone puts five records in doubt and then one per probe, not a million.

A pause is half to all of 0.5 s (the half at random, so that many clients do not come back together),
twice as much after each probe that fails, at most 30 s, and at least what Retry-After asks for.  Then
one request at a time, a real record, finds out how things are.  The first that works opens the brake: two
at once, and one more with each answer, which doubles it every round trip, until it is released.  The
pauses of a destination that works, if only a little, do not grow.

An attempt counts against its record if it was made while the destination worked: the one that pulls the
brake.  Those under way with it and those that probe in vain do not, so an outage uses up nobody's tries,
yet a record that brings the destination down each time ends after its own.  So that it does, let records
that have not failed yet probe first, where there are any.

When nothing worked for `give_up_after` seconds (`start_timeout`, if nothing ever did and the server never
named a time), the next probe is the last.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

from livepost.delivery.classify import Sign
from livepost.errors import DestinationError

SUSPECTS_IN_A_ROW = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

_NEVER = float("inf")
# Attempts of the same moment are not to be taken for those after a pause.
_SHORTEST_PAUSE_SECONDS = 0.001
# Of a pause that the server asked for, and at most a few seconds: so much later, not all come at once.
_SPREAD = 0.1
_MOST_SPREAD_SECONDS = 5.0
_REOPENED_WITH = 2


class BrakeState(enum.Enum):
    """What a destination is let have."""

    RELEASED = "released"
    """As much as there is."""
    PAUSED = "paused"
    """Nothing, until a certain time."""
    PROBING = "probing"
    """One request at a time."""
    REOPENING = "reopening"
    """More with every answer."""
    GIVEN_UP = "given_up"
    """Nothing any more: the run should end."""


_MOVES = {
    BrakeState.RELEASED: {BrakeState.PAUSED},
    BrakeState.PAUSED: {BrakeState.PROBING},
    BrakeState.PROBING: {BrakeState.PAUSED, BrakeState.REOPENING, BrakeState.GIVEN_UP},
    BrakeState.REOPENING: {BrakeState.PAUSED, BrakeState.RELEASED},
    BrakeState.GIVEN_UP: set(),
}


class Brake:
    """Says how many requests may be given out.

    While `is_released` there is no need to ask `allow`; while not `is_watching` no need to `note` an
    attempt whose sign is that the destination works.  `most_at_once` is how many requests can be under
    way at all.  `uniform(a, b)` is the source of jitter, for tests.
    """

    __slots__ = (
        "_blocked_since",
        "_failed_probes",
        "_first_pause_seconds",
        "_give_up_after",
        "_has_worked",
        "_longest_pause_seconds",
        "_most_at_once",
        "_opened_at",
        "_start_timeout",
        "_suspects",
        "_under_way",
        "_uniform",
        "_until",
        "_was_asked_to_wait",
        "_width",
        "is_released",
        "is_watching",
        "state",
    )

    def __init__(
        self,
        most_at_once: int,
        *,
        give_up_after: float | None,
        start_timeout: float | None,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._most_at_once = most_at_once
        self._give_up_after = _NEVER if give_up_after is None else give_up_after
        self._start_timeout = _NEVER if start_timeout is None else start_timeout
        self._first_pause_seconds = first_pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._uniform = uniform
        self.state = BrakeState.RELEASED
        self.is_released = True
        self.is_watching = True
        self._has_worked = False
        self._was_asked_to_wait = False
        self._suspects = 0
        """In a row, without an answer that works between them."""
        self._failed_probes = 0
        """In a row."""
        self._blocked_since: float | None = None
        """When it was pulled first after the destination last worked."""
        self._until = 0.0
        """When the pause ends."""
        self._opened_at = 0.0
        """When the first probe after the last pause was allowed: what was sent before tells nothing new."""
        self._width = 0
        """How many requests may be under way while probing and reopening."""
        self._under_way = 0

    @property
    def error(self) -> DestinationError | None:
        """Why the run should end, once the state is GIVEN_UP."""
        if self.state is not BrakeState.GIVEN_UP:
            return None
        seconds = self._patience
        if self._is_known:
            return DestinationError(
                f"the server has taken nothing for {seconds:g} s",
                "resume when it is well again; --give-up-after says how long to wait",
            )
        return DestinationError(
            f"the server took nothing within {seconds:g} s",
            "is the URL right, http or https? --start-timeout says how long to wait for it to come up",
        )

    def allow(self, now: float, wanted: int) -> int:
        """How many of `wanted` requests may be given out now, and count them as under way."""
        if self.is_released:
            return wanted
        if self.state is BrakeState.PAUSED and now >= self._until:
            self._move(BrakeState.PROBING)
            self._opened_at = now
            self._width = 1
            self._under_way = 0
        if self.state not in (BrakeState.PROBING, BrakeState.REOPENING):
            return 0
        granted = max(0, min(wanted, self._width - self._under_way))
        self._under_way += granted
        return granted

    def available(self, now: float) -> int:
        """How many `allow` would grant, of no more than can be under way at all."""
        if self.is_released:
            return self._most_at_once
        if self.state is BrakeState.PAUSED:
            return int(now >= self._until)
        return max(0, self._width - self._under_way) if self.state is not BrakeState.GIVEN_UP else 0

    def give_back(self, count: int) -> None:
        """So many that were allowed were not given out after all."""
        self._under_way = max(0, self._under_way - count)

    def next_at(self, now: float) -> float:
        """When `allow` grants more by itself; infinite if that takes the end of an attempt."""
        if self.state is BrakeState.PAUSED:
            return max(now, self._until)
        return now if self.available(now) else _NEVER

    def note(self, sign: Sign, now: float, sent_at: float, *, not_before: float = 0.0) -> bool:
        """An attempt ended: what it says of the destination.  Returns whether it counts against its record.

        `sent_at` is when it was given out, `not_before` the time that the server's Retry-After names.
        """
        if not_before > now:
            self._was_asked_to_wait = True
        if self.is_released:
            self._note_released(sign, now, not_before)
            return True
        if self.state is BrakeState.PAUSED or sent_at < self._opened_at:
            if sign is Sign.STOP:
                self._prolong(now, not_before)
            return False
        self._under_way = max(0, self._under_way - 1)
        if self.state is BrakeState.REOPENING:
            self._note_reopening(sign, now, not_before)
            return True
        if self.state is not BrakeState.PROBING:
            return False
        if sign is not Sign.WORKS:
            self._probe_failed(now, not_before)
            return False
        self._worked()
        self._failed_probes = 0
        self._width = _REOPENED_WITH
        self._move(BrakeState.REOPENING)
        self._release_if_wide()
        return True

    def dial_failed(self, now: float) -> None:
        """No connection could be made, and none is alive.

        To be told only then: a server may serve the connections it has and refuse more.
        """
        if self.is_released or self.state is BrakeState.REOPENING:
            self._pull(now, 0.0)
            return
        if self.state is BrakeState.PAUSED and now >= self._until:
            # The dial was the probe.
            self._move(BrakeState.PROBING)
        if self.state is BrakeState.PROBING:
            self._probe_failed(now, 0.0)

    def pause(self, now: float, seconds: float) -> None:
        """The server named a time in which it wants nothing, as where a quota is used up."""
        if self.state is BrakeState.GIVEN_UP or seconds < _SHORTEST_PAUSE_SECONDS:
            return
        self._was_asked_to_wait = True
        if self.state is not BrakeState.PAUSED:
            self._move(BrakeState.PAUSED)
            self._until = now
            if self._blocked_since is None:
                self._blocked_since = now
        self._prolong(now, now + seconds)

    def _note_released(self, sign: Sign, now: float, not_before: float) -> None:
        if sign is Sign.WORKS:
            self._worked()
            self.is_watching = False
        elif sign is Sign.STOP:
            self._pull(now, not_before)
        elif sign is Sign.SUSPECT:
            self._suspect(now)

    def _note_reopening(self, sign: Sign, now: float, not_before: float) -> None:
        if sign is Sign.WORKS:
            self._worked()
            self._width += 1
            self._release_if_wide()
        elif sign is Sign.STOP:
            self._pull(now, not_before)
        elif sign is Sign.SUSPECT:
            self._suspect(now)

    def _worked(self) -> None:
        self._has_worked = True
        self._suspects = 0
        self._blocked_since = None

    def _suspect(self, now: float) -> None:
        self._suspects += 1
        self.is_watching = True
        if self._suspects >= SUSPECTS_IN_A_ROW:
            self._pull(now, 0.0)

    def _release_if_wide(self) -> None:
        if self._width >= self._most_at_once:
            self._move(BrakeState.RELEASED)
            self.is_watching = self._suspects > 0

    def _pull(self, now: float, not_before: float) -> None:
        self._failed_probes = 0
        if self._blocked_since is None:
            self._blocked_since = now
        self._pause(now, not_before)

    def _probe_failed(self, now: float, not_before: float) -> None:
        self._failed_probes += 1
        if now >= self._deadline:
            self._move(BrakeState.GIVEN_UP)
        else:
            self._pause(now, not_before)

    def _pause(self, now: float, not_before: float) -> None:
        self._move(BrakeState.PAUSED)
        bound = min(
            self._longest_pause_seconds, self._first_pause_seconds * 2.0 ** min(self._failed_probes, 30)
        )
        self._until = min(now + bound / 2 + self._uniform(0.0, bound / 2), self._deadline)
        self._prolong(now, not_before)

    def _prolong(self, now: float, not_before: float) -> None:
        """Pause until `not_before` at least, but not beyond the time to give up: it has the last probe."""
        if not_before > self._until:
            spread = min(_MOST_SPREAD_SECONDS, _SPREAD * (not_before - now))
            self._until = max(self._until, min(not_before + self._uniform(0.0, spread), self._deadline))

    @property
    def _is_known(self) -> bool:
        """There is a server: it took something, or named a time."""
        return self._has_worked or self._was_asked_to_wait

    @property
    def _patience(self) -> float:
        return self._give_up_after if self._is_known else self._start_timeout

    @property
    def _deadline(self) -> float:
        return _NEVER if self._blocked_since is None else self._blocked_since + self._patience

    def _move(self, state: BrakeState) -> None:
        if state not in _MOVES[self.state]:
            raise AssertionError(f"a brake that is {self.state.value} cannot become {state.value}")
        self.state = state
        self.is_released = state is BrakeState.RELEASED
        if state is BrakeState.PAUSED:
            self.is_watching = True
