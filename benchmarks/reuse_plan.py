"""When bursts are sent around a server's idle limit, and how many handshakes they cost at the least.

In each burst every connection carries one record, so what holds for one of them holds for all:

- one handshake in the beginning, and one after every pause that the server does not wait out,
- one after as many requests as the server takes on a connection; tests are requests, too.

With heartbeats, which each connection has at times of its own, these are those that are live in the end, and
those that the server ended with as many requests as it takes.

Whether the server closes in a pause that is about as long as its limit, nobody can say before: there the
handshakes count that were made, as far as the server, and not the client, had closed the connections.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WAIT_MILLISECONDS = 100
"""How long a request takes, so that none of a burst is answered before all connections carry one."""
_TALK_SECONDS = WAIT_MILLISECONDS / 1000 + 0.005
"""From the start of a burst until its connections are idle."""

_BELOW = -0.6
"""Seconds from the limit at which livepost reuses a connection without more ado (its margin is 0.5 s)."""
_MARGIN_SECONDS = 0.5
_AT = (-0.1, -0.02, -0.005, 0.0, 0.005, 0.02)
_UNCERTAIN_FROM = -0.15
_ABOVE_SECONDS = 0.4
_LONG_LIMIT_SECONDS = 30
_MULTIPLES = (1.5, 1.0, 3.0, 2.0)


class Mode(enum.Enum):
    """How livepost is asked to treat idle connections."""

    TESTED = "tested"
    """With --keepalive-path: it tests those that have been idle for long."""
    BEATING = "heartbeats"
    """With --keepalive-every auto, too: it keeps them alive."""
    PLAIN = "no path"
    """With neither: it retires them."""


class Fate(enum.Enum):
    """What becomes of a connection in a pause."""

    KEPT = "kept"
    CLOSED = "closed"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Setting:
    """The limits of one server."""

    name: str
    limit: int
    """Seconds that it is told to keep an idle connection."""
    cap: int | None
    """Requests that a connection carries; None: no limit."""
    later: tuple[float, float]
    """It closes so many seconds later than it is told, from and to."""
    told_cap: int | None = None
    """The cap as it is told; None: nothing."""

    def pause_at(self, offset: float) -> float:
        """The pause after which connections have been idle for its limit and `offset` seconds."""
        return self.limit + self.later[0] + offset + _TALK_SECONDS

    def fate(self, pause: float) -> Fate:
        """Of an unused connection, between two bursts."""
        idle = pause - _TALK_SECONDS
        if idle <= self.limit + self.later[0] + _UNCERTAIN_FROM:
            return Fate.KEPT
        certain = self.limit + self.later[1] + _ABOVE_SECONDS / 2
        return Fate.CLOSED if idle >= certain else Fate.UNCERTAIN


@dataclass(frozen=True, slots=True)
class BurstPlan:
    """What one livepost is given, and when (`conversation.Bursts`)."""

    setting: Setting
    mode: Mode
    connections: int
    pauses: tuple[float, ...]

    @property
    def sent(self) -> int:
        return self.connections * (1 + len(self.pauses))

    def burst(self, number: int) -> bytes:
        """As many records as there are connections, none of which is in another burst."""
        first = number * self.connections
        return b"".join(b'{"id": %d}\n' % n for n in range(first, first + self.connections))

    def burst_of(self, record: int) -> int:
        """In which burst the record of this number is, from 1."""
        return (record - 1) // self.connections


def plan_bursts(setting: Setting, mode: Mode, connections: int, seconds: float) -> BurstPlan:
    """For about so many seconds, and at least three pauses."""
    pauses: list[float] = []
    sweep = _multiples(setting) if mode is Mode.BEATING else _around(setting)
    while len(pauses) < 3 or sum(pauses) + setting.limit <= seconds:
        pauses.append(next(sweep))
    return BurstPlan(setting, mode, connections, tuple(pauses))


def _around(setting: Setting) -> Iterator[float]:
    below = setting.limit + _BELOW
    at = [setting.limit + setting.later[0] + offset for offset in _AT]
    above = setting.limit + setting.later[1] + _ABOVE_SECONDS
    if setting.limit >= _LONG_LIMIT_SECONDS:
        # There is time for a few only.
        sweep = [below, at[3], at[1], at[5], above]
    else:
        sweep = [below, at[0], below, at[1], at[2], below, at[3], below, at[4], below, at[5], above]
    # How long the first one takes nobody knows: the process is being started.
    return (idle + _TALK_SECONDS for idle in itertools.chain([above], itertools.cycle(sweep)))


def _multiples(setting: Setting) -> Iterator[float]:
    if setting.limit >= _LONG_LIMIT_SECONDS:
        return itertools.cycle([setting.limit * 1.2])
    return itertools.cycle(setting.limit * multiple for multiple in _MULTIPLES)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it, as far as the least depends on that."""

    new_in_burst: Sequence[int]
    """Connections that carried their first record in each burst."""
    closed_by_server: int
    """Idle connections that the server closed."""
    alive: int
    """Connections in the end."""
    full: int
    """Connections that the server ended because they had carried as many requests as it takes."""
    tests: int
    """In all, of connections that were still there."""
    known_limit: float
    """Seconds that livepost takes for the idle limit."""


def least_handshakes(plan: BurstPlan, seen: Seen) -> int:
    """The fewest that the plan can be carried out with, given that pauses near the limit went as they did."""
    setting, connections = plan.setting, plan.connections
    carried: list[float] = [0] * connections
    """Requests on each connection; 0: it is to be made."""
    if plan.mode is Mode.BEATING:
        # Those that were still there in the end replaced the others, or were the first.
        return seen.full + min(seen.alive, connections)
    made = certain = uncertain = 0
    tests = _tests(plan, seen)
    for number in range(1 + len(plan.pauses)):
        if number:
            fate = setting.fate(plan.pauses[number - 1])
            if plan.mode is Mode.PLAIN and _is_retired(plan.pauses[number - 1], seen):
                fate = Fate.CLOSED
            alive = connections - carried.count(0)
            if fate is Fate.CLOSED:
                certain += alive
                carried = [0] * connections
            else:
                carried = [_one_more(count, tests[number - 1], setting.cap) for count in carried]
                gone = carried.count(0)
                if fate is Fate.UNCERTAIN and (new := seen.new_in_burst[number] - gone) > 0:
                    uncertain += new
                    carried = sorted(carried)
                    carried[gone : gone + new] = [0] * new
        made += carried.count(0)
        carried = [_one_more(count, 1, setting.cap, makes=True) for count in carried]
    if plan.mode is Mode.PLAIN:
        return made
    # What the client closed itself it could have kept.
    return made - max(0, uncertain - max(0, seen.closed_by_server - certain))


def _is_retired(pause: float, seen: Seen) -> bool:
    return pause - _TALK_SECONDS >= seen.known_limit - min(_MARGIN_SECONDS, seen.known_limit / 2)


def _one_more(carried: float, requests: float, cap: int | None, *, makes: bool = False) -> float:
    """How many requests a connection has carried after some more; 0 when that was its last."""
    if not carried and not makes:
        return 0
    return 0 if cap is not None and round(carried + requests, 6) >= cap else carried + requests


def _tests(plan: BurstPlan, seen: Seen) -> list[float]:
    """How often each connection was tested, in each pause."""
    tested = [
        float(_is_retired(pause, seen) and plan.setting.fate(pause) is not Fate.CLOSED)
        for pause in plan.pauses
    ]
    each = seen.tests / plan.connections / (sum(tested) or 1.0)
    return [each * share for share in tested]
