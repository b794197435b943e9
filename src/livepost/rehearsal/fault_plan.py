"""Which request, connection or moment meets which fault.

A `FaultPlan` follows rules and can be repeated by its seed; a `FaultScript` is told one by one.
Requests are numbered from 1 in the order in which their heads arrived, on all connections together,
and those for `/stats` are not.  With several connections that order is the network's: the same
seed then strikes the same numbers, not always the same records.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from livepost.clock import Clock
from livepost.errors import ConfigurationError
from livepost.rehearsal.faults import Fault, Place
from livepost.wire.message import Fields


class HeadSeen(msgspec.Struct, frozen=True, gc=False):
    """The head of a request: what is known when its fault is chosen."""

    number: int
    """Which request of this server, from 1."""
    connection: int
    request_on_connection: int
    method: bytes
    target: bytes
    path: bytes
    headers: Fields


@dataclass(frozen=True, slots=True)
class TimedFault:
    """A fault of the listener that begins by itself."""

    after_seconds: float
    """Since the server started."""
    fault: Fault


class Faults(Protocol):
    """Chooses the faults of a server.  Everything is called in the server's loop and must not block."""

    def start(self, clock: Clock) -> Sequence[TimedFault]:
        """The server starts now; returns what will happen by itself."""

    def for_connection(self, number: int) -> Fault | None:
        """What happens to a connection just accepted, the `number`th from 1."""

    def for_request(self, head: HeadSeen) -> Fault | None:
        """What happens to a request."""


@dataclass(frozen=True, slots=True)
class When:
    """How often, and within which requests and times; everything given must be met.

    Raises ConfigurationError for what cannot be.
    """

    probability: float | None = None
    every: int | None = None
    """Every so many requests: 10 is the 10th, the 20th, …"""
    first: int = 1
    last: int | None = None
    """Numbers of requests (for faults of connections, of connections), both included."""
    after_seconds: float = 0.0
    before_seconds: float | None = None
    """Since the server started."""

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ConfigurationError(f"the probability is {self.probability:g}", "it is from 0 to 1")
        if (self.every is not None and self.every < 1) or self.first < 1:
            raise ConfigurationError("requests are counted from 1", "use 1 or more")
        if self.last is not None and self.last < self.first:
            raise ConfigurationError(
                f"nothing is from request {self.first} to {self.last}", "let it end after it begins"
            )
        if self.before_seconds is not None and self.before_seconds <= self.after_seconds:
            raise ConfigurationError(
                f"nothing is from {self.after_seconds:g} s to {self.before_seconds:g} s",
                "let it end after it begins",
            )

    @property
    def names_requests(self) -> bool:
        """It waits for certain requests, and not only for a time."""
        return (self.probability, self.every, self.first, self.last) != (None, None, 1, None)

    def covers(self, number: int, seconds: float) -> bool:
        """All but the probability is met."""
        return (
            number >= self.first
            and (self.last is None or number <= self.last)
            and (self.every is None or number % self.every == 0)
            and seconds >= self.after_seconds
            and (self.before_seconds is None or seconds < self.before_seconds)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault and when it happens.

    A fault of the listener happens once at `when.after_seconds`, unless `when` names requests: then
    each of those begins it.
    """

    fault: Fault
    when: When = When()

    @property
    def begins_by_itself(self) -> bool:
        return self.fault.place is Place.LISTENER and not self.when.names_requests


class FaultPlan:
    """Follows rules; of those that apply, the first wins.

    Each rule draws its own numbers from `seed`, one for each request, so that another rule beside
    it changes nothing about when it applies.
    """

    def __init__(self, rules: Iterable[Rule], *, seed: int = 0) -> None:
        every = tuple(rules)
        draws = [random.Random(f"{seed}/{index}").random for index in range(len(every))]
        self._timed = tuple(
            TimedFault(rule.when.after_seconds, rule.fault) for rule in every if rule.begins_by_itself
        )
        counted = [pair for pair in zip(every, draws, strict=True) if not pair[0].begins_by_itself]
        self._of_connections = [pair for pair in counted if pair[0].fault.place is Place.CONNECTION]
        self._of_requests = [pair for pair in counted if pair[0].fault.place is not Place.CONNECTION]
        self._clock: Clock = float  # 0.0
        self._started_at = 0.0

    def start(self, clock: Clock) -> Sequence[TimedFault]:
        self._clock = clock
        self._started_at = clock()
        return self._timed

    def for_connection(self, number: int) -> Fault | None:
        return self._first_that_applies(self._of_connections, number)

    def for_request(self, head: HeadSeen) -> Fault | None:
        return self._first_that_applies(self._of_requests, head.number)

    def _first_that_applies(self, rules: list[tuple[Rule, Callable[[], float]]], number: int) -> Fault | None:
        seconds = self._clock() - self._started_at
        chosen = None
        for rule, draw in rules:
            when = rule.when
            is_drawn = when.probability is None or draw() < when.probability
            if chosen is None and is_drawn and when.covers(number, seconds):
                chosen = rule.fault
        return chosen


Script = Callable[[HeadSeen], Fault | None] | Iterable[Fault | None]


class FaultScript:
    """Faults told one by one, for tests.

    `requests` is asked about every request, or lists the faults of the 1st, 2nd, … (None for none;
    there are none after its end).  `connections` lists those of the connections, in the same way.
    """

    def __init__(self, requests: Script = (), *, connections: Iterable[Fault | None] = ()) -> None:
        self._choose = requests if callable(requests) else _one_by_one(iter(requests))
        self._connections = iter(connections)

    def start(self, clock: Clock) -> Sequence[TimedFault]:
        return ()

    def for_connection(self, number: int) -> Fault | None:
        return next(self._connections, None)

    def for_request(self, head: HeadSeen) -> Fault | None:
        return self._choose(head)


def _one_by_one(faults: Iterator[Fault | None]) -> Callable[[HeadSeen], Fault | None]:
    return lambda head: next(faults, None)
