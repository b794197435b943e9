from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.brake import Brake, BrakeState
from livepost.delivery.classify import Sign
from livepost.delivery.gate import Gate
from livepost.delivery.rate import RateLimiter
from livepost.delivery.server_hints import Pace, ServerHint

START = 100.0


class World:
    """A gate whose brake pauses for as long as it may."""

    def __init__(self, per_second: float | None = None, *, start_timeout: float | None = None) -> None:
        self.brake = Brake(4, give_up_after=60.0, start_timeout=start_timeout, uniform=lambda low, high: high)
        self.limiter = RateLimiter(START, per_second)
        self.gate = Gate(self.brake, self.limiter)


def test_without_trouble_and_without_a_rate_it_is_open() -> None:
    gate = World().gate
    assert gate.is_open
    assert not gate.is_braked
    assert gate.error is None
    assert gate.allow(START, 64) == 64


def test_a_rate_alone_closes_it_and_says_when_more_may_start() -> None:
    gate = World(per_second=20.0).gate
    assert not gate.is_open
    assert not gate.is_braked
    assert gate.available(START) == 2
    assert gate.allow(START, 5) == 2
    assert gate.available(START) == 0
    assert gate.next_at(START) == pytest.approx(START + 0.05)
    assert gate.available(START + 0.05) == 1


def test_a_brake_alone_closes_it_until_a_probe_may_go() -> None:
    gate = World().gate
    assert gate.note(Sign.STOP, START, START)
    assert (gate.is_open, gate.is_braked) == (False, True)
    assert gate.available(START) == gate.allow(START, 5) == 0
    assert gate.next_at(START) == START + 0.5
    assert gate.allow(START + 0.5, 5) == 1
    assert gate.available(START + 0.5) == 0
    assert gate.next_at(START + 0.5) == float("inf")


def test_the_later_of_the_two_counts() -> None:
    slow = World(per_second=0.5).gate
    assert slow.allow(START, 1) == 1
    slow.note(Sign.STOP, START, START)
    assert slow.next_at(START) == START + 2.0
    fast = World(per_second=20.0).gate
    assert fast.allow(START, 9) == 2
    fast.note(Sign.STOP, START, START)
    assert fast.next_at(START) == START + 0.5


def test_a_brake_that_lets_more_through_leaves_the_rate_to_say_when() -> None:
    world = World(per_second=1.0)
    gate = world.gate
    assert gate.allow(START, 1) == 1
    gate.note(Sign.STOP, START, START)
    assert gate.allow(START + 1.0, 1) == 1
    gate.note(Sign.WORKS, START + 1.0, START + 1.0)
    assert world.brake.state is BrakeState.REOPENING
    assert gate.available(START + 1.0) == 0
    assert gate.next_at(START + 1.0) == pytest.approx(START + 2.0)


def test_what_the_rate_does_not_grant_the_brake_has_not_counted() -> None:
    world = World(per_second=1.0)
    gate = world.gate
    assert gate.allow(START, 1) == 1
    gate.note(Sign.STOP, START, START)
    assert gate.allow(START + 0.5, 1) == 0, "the probe would be early for the rate"
    assert gate.allow(START + 1.0, 1) == 1


def test_what_is_given_back_may_be_asked_for_again() -> None:
    gate = World(per_second=20.0).gate
    assert gate.allow(START, 2) == 2
    gate.give_back(1)
    assert gate.available(START) == gate.allow(START, 5) == 1
    gate.note(Sign.STOP, START, START)
    assert gate.allow(START + 1.0, 1) == 1
    gate.give_back(1)
    assert gate.allow(START + 1.0, 1) == 1


def test_the_server_may_ask_for_a_pause_and_for_a_pace() -> None:
    world = World()
    world.gate.heed(ServerHint(pause_seconds=10.0), START, 0)
    assert world.gate.next_at(START) == START + 11.0, "and up to a tenth more"
    world = World()
    world.gate.heed(ServerHint(pace=Pace(10, 20.0)), START, 0)
    assert (world.gate.is_open, world.gate.is_braked) == (False, False)
    assert world.gate.next_at(START) == START + 2.0


def test_a_pause_of_an_answer_that_brakes_by_itself_is_left_to_that() -> None:
    world = World()
    world.gate.heed(ServerHint(pause_seconds=10.0), START, 0, brakes=False)
    assert world.gate.is_open
    world.gate.note(Sign.STOP, START, START, not_before=START + 10.0)
    assert world.gate.next_at(START) == START + 11.0


def test_a_failed_dial_brakes_and_at_last_gives_up() -> None:
    world = World(start_timeout=0.2)
    world.gate.dial_failed(START)
    assert world.gate.next_at(START) == START + 0.2
    world.gate.dial_failed(START + 0.2)
    assert str(world.gate.error) == "the server took nothing within 0.2 s"
    assert world.gate.available(START + 9.0) == world.gate.allow(START + 9.0, 1) == 0


def test_it_watches_until_the_server_has_worked() -> None:
    gate = World().gate
    assert gate.is_watching
    gate.note(Sign.WORKS, START, START)
    assert not gate.is_watching


@given(
    per_second=st.sampled_from([None, 1.0, 20.0, 1000.0]),
    signs=st.lists(st.tuples(st.sampled_from(list(Sign)), st.floats(0.0, 3.0), st.integers(0, 4))),
)
def test_it_is_never_shut_for_good_while_nothing_is_under_way(
    per_second: float | None, signs: list[tuple[Sign, float, int]]
) -> None:
    """And `available` is what `allow` grants."""
    gate = World(per_second).gate
    now = START
    for sign, seconds, wanted in signs:
        now += seconds
        available = gate.available(now)
        granted = gate.allow(now, wanted)
        assert granted == (wanted if gate.is_open else min(wanted, available))
        for _ in range(granted):
            gate.note(sign, now, now)
        if gate.error is not None:
            return
        at = gate.next_at(now)
        assert at < float("inf")
        assert gate.available(max(at, now)) > 0
