from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from livepost.net.dial_need import Need, dials_wanted

NEED = Need(waiting=100, to_come=float("inf"), limit=64, each=1, dialing=0, at_once=64)


@dataclass
class One:
    """A connection that is busy, and may go on for as long as it likes."""

    capacity: int = 1
    spare: int = 0
    requests_left: int = 2**31
    is_worn: bool = False
    requests: int = 50
    opened_at: float = 1000.0


BUSY = One()
IDLE = One(spare=1)
WORN = One(capacity=0, requests_left=3, is_worn=True)


@pytest.mark.parametrize(
    ("connections", "changes", "dials"),
    [
        ([], {}, 64),
        ([], {"waiting": 0}, 0),
        ([], {"waiting": 3}, 3),
        ([BUSY] * 60, {}, 4),
        ([BUSY] * 60, {"dialing": 3}, 1),
        ([BUSY] * 60, {"at_once": 1}, 1),
        ([BUSY, IDLE, IDLE], {"waiting": 2}, 0),
        ([BUSY, IDLE, IDLE], {"waiting": 5}, 3),
    ],
)
def test_as_many_as_wait_and_the_limit_allows(
    connections: list[One], changes: dict[str, int], dials: int
) -> None:
    assert dials_wanted(connections, replace(NEED, **changes)) == dials


def test_of_those_that_carry_many_at_a_time_fewer_are_dialled() -> None:
    many = replace(NEED, limit=250, each=100)
    assert dials_wanted([], many) == 1
    assert dials_wanted([One(capacity=100)], replace(many, waiting=101)) == 2
    assert dials_wanted([One(capacity=100)], replace(many, waiting=101, dialing=1)) == 1


def test_worn_ones_are_replaced_an_eighth_at_a_time() -> None:
    assert dials_wanted([BUSY] * 60 + [WORN] * 4, NEED) == 4
    assert dials_wanted([WORN] * 64, NEED) == 8
    assert dials_wanted([WORN] * 64, replace(NEED, dialing=8)) == 0


def test_one_is_dialled_before_work_comes_if_all_are_worn() -> None:
    nothing = replace(NEED, waiting=0)
    assert dials_wanted([WORN, WORN], nothing) == 1
    assert dials_wanted([WORN, BUSY], nothing) == 0
    assert dials_wanted([WORN, WORN], replace(nothing, dialing=1)) < 1
    assert dials_wanted([WORN, WORN], replace(nothing, to_come=0.0)) < 1


def test_in_the_end_a_worn_one_still_does() -> None:
    last = replace(NEED, to_come=0.0)
    assert dials_wanted([WORN, WORN], replace(last, waiting=6)) < 1
    assert dials_wanted([WORN, WORN], replace(last, waiting=7)) == 1
    assert dials_wanted([WORN, WORN], replace(last, waiting=6, to_come=1.0)) == 6
