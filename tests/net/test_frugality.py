from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from net_fakes import ManualTime

from livepost.net.deadlines import Deadlines
from livepost.net.dial_need import Need
from livepost.net.frugality import PATIENCE_SECONDS, Frugality, dials_needed
from livepost.net.surroundings import Surroundings

NEED = Need(waiting=60, to_come=0.0, limit=8, each=1, dialing=0, at_once=8)


@dataclass
class One:
    requests_left: int
    capacity: int = 1
    spare: int = 0
    is_worn: bool = False
    requests: int = 50
    opened_at: float = 1000.0


@dataclass
class Around:
    """As much of `Surroundings` as is used."""

    clock: ManualTime
    deadlines: Deadlines


class Case:
    """Eight connections were made half a second ago, and carry 100 requests each second.

    The server takes 100 on each.  Four more are wanted.
    """

    def __init__(self, time: ManualTime) -> None:
        self.time = time
        self.opened_at = time.now
        time.advance(0.5)
        self.over = 0
        self.deadlines = Deadlines(time, time.call_later)
        self.frugality = Frugality(cast(Surroundings, Around(time, self.deadlines)), self._note_over)

    def _note_over(self) -> None:
        self.over += 1

    def allowed(
        self,
        *left: int,
        need: Need = NEED,
        opened: int = 8,
        request_cap: int | None = 100,
        requests: int = 50,
    ) -> int:
        connections = [One(number, requests=requests, opened_at=self.opened_at) for number in left]
        return self.frugality.allowed(4, connections, need, opened=opened, request_cap=request_cap)


@pytest.fixture
def case(manual_time: ManualTime) -> Iterator[Case]:
    made = Case(manual_time)
    with made.deadlines:
        yield made


@pytest.mark.parametrize(
    ("left", "changes", "dials"),
    [
        ([], {}, 1),
        ([60], {}, 0),
        ([59], {}, 1),
        ([30, 30], {"to_come": 1.0}, 1),
        ([30, 30], {"to_come": 100.5}, 2),
        ([0], {"waiting": 60, "dialing": 1}, 0),
        ([0], {"waiting": 101, "dialing": 1}, 1),
        ([0], {"to_come": math.inf}, 8),
        ([2**31], {"to_come": math.inf}, 8),
    ],
)
def test_as_many_are_needed_as_those_that_are_live_cannot_carry(
    left: list[int], changes: dict[str, Any], dials: int
) -> None:
    connections = [One(number) for number in left]
    assert dials_needed(connections, replace(NEED, **changes), 100) == dials


def test_none_is_replaced_while_the_others_can_carry_the_rest(case: Case) -> None:
    assert case.allowed(30, 30) == 0
    assert case.allowed(30, 29) == 1
    assert case.allowed(0, need=replace(NEED, waiting=1000)) == 4


def test_without_a_limit_of_the_server_or_an_end_in_sight_nothing_is_spared(case: Case) -> None:
    assert case.allowed(30, 30, request_cap=None) == 4
    assert case.allowed(30, 30, need=replace(NEED, to_come=math.inf)) == 4
    assert case.time.pending == []


def test_what_replaces_none_is_not_spared(case: Case) -> None:
    assert case.allowed(30, 30, opened=7) == 4
    case.frugality.begin_anew(8)
    assert case.allowed(30, 30, opened=15) == 4
    assert case.allowed(30, 30, opened=16) == 0


def test_of_those_that_carry_many_at_a_time_fewer_are_all(case: Case) -> None:
    need = replace(NEED, waiting=40, each=4)
    assert case.allowed(60, need=need, opened=1) == 4
    assert case.allowed(60, need=need, opened=2) == 0


def test_where_it_would_take_long_nothing_is_spared(case: Case) -> None:
    """Two connections carry 100 in half a second."""
    two = (2**31, 2**31)
    assert case.allowed(*two, need=replace(NEED, waiting=95)) == 0
    assert case.allowed(*two, need=replace(NEED, waiting=95, to_come=6.0)) == 4
    assert case.allowed(*two, need=replace(NEED, waiting=101)) == 4
    # What a connection has carried of late says more than one that was just made.
    assert case.allowed(*two, need=replace(NEED, waiting=95), requests=9) == 0
    assert case.allowed(*two, need=replace(NEED, waiting=95), requests=40) == 4


def test_where_the_pace_is_not_known_nothing_is_spared(case: Case) -> None:
    assert case.allowed(30, 30, requests=9) == 4


def test_it_is_put_up_with_for_half_a_second(case: Case) -> None:
    assert case.allowed(30, 30) == 0
    case.time.advance(PATIENCE_SECONDS / 2)
    assert case.allowed(20, need=replace(NEED, waiting=20)) == 0
    case.time.advance(PATIENCE_SECONDS / 2 - 0.01)
    assert case.over == 0
    case.time.advance(0.02)
    assert case.over == 1
    assert case.allowed(30, 30) == 4
    assert case.time.pending == []
