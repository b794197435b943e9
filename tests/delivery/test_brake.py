from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from livepost.delivery.brake import Brake, BrakeState
from livepost.delivery.classify import Sign
from livepost.errors import DestinationError

NONE, WORKS, SUSPECT, STOP = Sign.NONE, Sign.WORKS, Sign.SUSPECT, Sign.STOP
RELEASED, PAUSED, PROBING = BrakeState.RELEASED, BrakeState.PAUSED, BrakeState.PROBING
REOPENING, GIVEN_UP = BrakeState.REOPENING, BrakeState.GIVEN_UP
MANY = 1000


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


class World:
    """A brake whose destination worked at time 0, and a clock that only moves when told to."""

    def __init__(
        self,
        most_at_once: int = 8,
        *,
        has_worked: bool = True,
        give_up_after: float | None = 3600.0,
        start_timeout: float | None = 10.0,
        jitter: float = 1.0,
    ) -> None:
        self.now = 0.0
        self.brake = Brake(
            most_at_once,
            give_up_after=give_up_after,
            start_timeout=start_timeout,
            uniform=lambda low, high: low + jitter * (high - low),
        )
        if has_worked:
            self.brake.note(WORKS, 0.0, 0.0)
        self.now = 1.0

    def note(self, sign: Sign, sent_at: float | None = None, not_before: float = 0.0) -> bool:
        at = self.now if sent_at is None else sent_at
        return self.brake.note(sign, self.now, at, not_before=not_before)

    def allow(self, wanted: int = MANY) -> int:
        return self.brake.allow(self.now, wanted)

    def wait(self) -> float:
        """Until the pause is over; returns how long it was."""
        until = self.brake.next_at(self.now)
        seconds = until - self.now
        assert self.brake.allow(until - 0.001, MANY) == 0
        self.now = until
        return seconds

    def probe(self, sign: Sign, not_before: float = 0.0) -> bool:
        assert self.allow() == 1
        assert self.brake.state is PROBING
        assert self.allow() == 0, "one at a time"
        return self.note(sign, not_before=not_before)


def test_a_destination_that_works_is_not_slowed_and_need_not_be_watched() -> None:
    world = World()
    assert world.brake.is_released
    assert not world.brake.is_watching
    assert world.allow(64) == 64
    assert world.brake.next_at(world.now) == world.now
    assert world.note(NONE)
    assert not world.brake.is_watching


def test_it_is_watched_until_it_worked_once() -> None:
    world = World(has_worked=False)
    assert world.brake.is_watching
    world.note(NONE)
    assert world.brake.is_watching
    world.note(WORKS)
    assert not world.brake.is_watching


def test_one_stop_pauses_all() -> None:
    world = World()
    assert world.note(STOP), "it counts against the record that met it first"
    assert world.brake.state is PAUSED
    assert (world.brake.is_released, world.brake.is_watching) == (False, True)
    assert world.allow() == 0
    assert world.brake.next_at(world.now) == world.now + 0.5


def test_those_under_way_with_it_are_told_apart_from_probes() -> None:
    world = World()
    world.note(STOP)
    pause_ends = world.brake.next_at(1.0)
    assert not world.note(STOP, sent_at=0.9), "it does not count against its record"
    assert not world.note(SUSPECT, sent_at=0.9)
    assert not world.note(WORKS, sent_at=0.9)
    assert (world.brake.state, world.brake.next_at(1.0)) == (PAUSED, pause_ends)
    world.wait()
    assert world.allow() == 1
    assert not world.note(STOP, sent_at=0.9)
    assert not world.note(WORKS, sent_at=0.9)
    assert world.brake.state is PROBING
    assert world.allow() == 0, "the probe is still under way"


def test_pauses_double_with_every_probe_that_fails_and_are_bounded() -> None:
    world = World(give_up_after=None)
    world.note(STOP)
    pauses = []
    for _ in range(9):
        pauses.append(world.wait())
        assert not world.probe(STOP), "it does not count against the record that probes"
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])


def test_a_pause_is_at_least_half_of_its_length() -> None:
    world = World(jitter=0.0, give_up_after=None)
    world.note(STOP)
    pauses = []
    for _ in range(8):
        pauses.append(world.wait())
        world.probe(STOP)
    assert pauses == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 15, 15])


@pytest.mark.parametrize("sign", [NONE, SUSPECT, STOP])
def test_a_probe_without_an_answer_that_works_has_failed(sign: Sign) -> None:
    world = World()
    world.note(STOP)
    world.wait()
    world.probe(sign)
    assert world.brake.state is PAUSED


def test_after_a_probe_that_works_it_opens_twice_as_far_with_each_round_trip() -> None:
    world = World(most_at_once=32)
    world.note(STOP)
    world.wait()
    assert world.probe(WORKS)
    assert world.brake.state is REOPENING
    rounds = []
    while not world.brake.is_released:
        world.now += 0.1
        granted = world.allow()
        rounds.append(granted)
        for _ in range(granted):
            world.note(WORKS)
    assert rounds == [2, 4, 8, 16]
    assert not world.brake.is_watching


def test_while_it_lets_more_through_there_is_nothing_to_wait_for() -> None:
    world = World()
    world.note(STOP)
    world.wait()
    world.probe(WORKS)
    assert world.brake.next_at(world.now) == world.now
    assert world.allow(1) == 1
    assert world.brake.next_at(world.now) == world.now
    assert world.allow(1) == 1
    assert world.brake.next_at(world.now) == float("inf"), "until one of the two has ended"


def test_a_pause_too_short_to_be_told_from_none_is_none() -> None:
    world = World()
    world.brake.pause(world.now, 1e-12)
    assert world.brake.is_released


def test_with_one_connection_a_probe_that_works_is_enough() -> None:
    world = World(most_at_once=1)
    world.note(STOP)
    world.wait()
    world.probe(WORKS)
    assert world.brake.state is RELEASED


def test_what_stops_it_again_while_it_opens_begins_with_a_short_pause() -> None:
    world = World()
    world.note(STOP)
    for _ in range(4):
        world.wait()
        world.probe(STOP)
    world.wait()
    world.probe(WORKS)
    world.now += 0.1
    assert world.allow() == 2
    assert world.note(STOP), "the destination worked, so it counts"
    assert not world.note(STOP)
    assert world.wait() == 0.5


def test_what_was_not_given_out_is_given_back() -> None:
    world = World()
    world.note(STOP)
    world.wait()
    assert world.allow() == 1
    world.brake.give_back(1)
    assert world.allow() == 1


def test_a_run_of_suspects_pulls_it() -> None:
    world = World()
    assert [world.note(SUSPECT) for _ in range(5)] == [True] * 5
    assert world.brake.state is PAUSED


def test_an_answer_that_works_ends_a_run() -> None:
    world = World()
    for _ in range(4):
        world.note(SUSPECT)
    assert world.brake.is_watching
    world.note(WORKS)
    assert not world.brake.is_watching
    for _ in range(4):
        world.note(SUSPECT)
    assert world.brake.is_released


def test_what_was_the_connections_fault_neither_pulls_it_nor_ends_a_run() -> None:
    world = World()
    for _ in range(200):
        world.note(NONE)
    assert world.brake.is_released
    for sign in [SUSPECT, NONE] * 5:
        world.note(sign)
    assert world.brake.state is PAUSED


def test_a_retry_after_is_a_floor_and_a_tenth_of_it_is_spread() -> None:
    world = World()
    world.note(STOP, not_before=61.0)
    assert world.brake.next_at(world.now) == 66.0, "five seconds at most"
    world.note(STOP, sent_at=0.5, not_before=81.0)
    assert world.brake.next_at(world.now) == 86.0
    world.note(STOP, sent_at=0.5, not_before=31.0)
    assert world.brake.next_at(world.now) == 86.0
    world = World(jitter=0.0)
    world.note(STOP, not_before=61.0)
    assert world.brake.next_at(world.now) == 61.0


def test_a_quota_that_is_used_up_is_waited_for() -> None:
    world = World(jitter=0.0)
    world.brake.pause(world.now, 30.0)
    assert world.brake.state is PAUSED
    world.brake.pause(world.now, 40.0)
    world.brake.pause(world.now, 20.0)
    assert world.wait() == 40.0
    world.probe(WORKS)
    assert world.brake.state is REOPENING
    world.brake.pause(world.now, 30.0)
    assert world.wait() == 30.0
    world.brake.pause(world.now, 0.0)
    world.probe(WORKS)
    assert world.brake.state is REOPENING


def test_probes_that_fail_after_a_quota_was_used_up_count_from_the_first() -> None:
    world = World()
    world.brake.pause(world.now, 30.0)
    world.wait()
    world.probe(STOP)
    assert world.wait() == 1.0


def test_while_it_opens_only_what_pulls_it_elsewhere_pulls_it() -> None:
    world = World(most_at_once=64)
    world.note(STOP)
    world.wait()
    world.probe(WORKS)
    for sign in [NONE] * 20 + [SUSPECT] * 4 + [WORKS] + [SUSPECT] * 4:
        assert world.allow(1) == 1
        assert world.note(sign)
        assert world.brake.state is REOPENING
    world.allow(1)
    world.note(SUSPECT)
    assert world.brake.state is PAUSED


def test_dials_that_fail_pull_it_and_fail_as_probes() -> None:
    world = World(give_up_after=None)
    world.brake.dial_failed(world.now)
    assert world.brake.state is PAUSED
    pauses = []
    for _ in range(3):
        world.brake.dial_failed(world.now)
        pauses.append(world.wait())
        assert world.allow() == 1
        world.brake.give_back(1)
        world.brake.dial_failed(world.now)
    assert pauses == [0.5, 1.0, 2.0]
    world.wait()
    world.probe(WORKS)
    world.brake.dial_failed(world.now)
    assert world.wait() == 0.5


def until_given_up(world: World) -> float:
    """When it is given up, if every probe fails."""
    world.note(STOP)
    while True:
        world.wait()
        world.probe(STOP)
        if world.brake.state is GIVEN_UP:
            return world.now


def test_it_is_given_up_in_time_after_a_last_probe() -> None:
    world = World(give_up_after=100.0)
    assert until_given_up(world) == 101.0
    assert world.allow() == 0
    assert world.brake.next_at(world.now) == float("inf")
    error = world.brake.error
    assert isinstance(error, DestinationError)
    assert str(error) == "the server has taken nothing for 100 s"
    assert "--give-up-after" in error.hint
    assert not world.note(WORKS)
    world.brake.pause(world.now, 5.0)
    world.brake.dial_failed(world.now)
    assert world.brake.state is GIVEN_UP


def test_before_it_ever_worked_it_is_given_up_sooner() -> None:
    world = World(has_worked=False)
    assert until_given_up(world) == 11.0
    assert str(world.brake.error) == "the server took nothing within 10 s"


def test_a_server_that_names_a_time_is_waited_for_from_the_start() -> None:
    world = World(has_worked=False, jitter=0.0)
    world.note(STOP, not_before=31.0)
    assert world.wait() == 30.0
    world.probe(STOP)
    assert world.brake.state is PAUSED


def test_the_last_probe_does_not_wait_for_a_time_beyond_it() -> None:
    world = World(give_up_after=100.0)
    world.note(STOP, not_before=5000.0)
    assert world.wait() == 100.0
    world.probe(STOP, not_before=9000.0)
    assert world.brake.state is GIVEN_UP


def test_a_last_probe_that_works_saves_the_run() -> None:
    world = World(give_up_after=100.0)
    world.note(STOP, not_before=5000.0)
    world.wait()
    world.probe(WORKS)
    world.note(STOP)
    assert world.brake.next_at(world.now) < world.now + 1


def test_what_worked_in_between_begins_the_time_anew() -> None:
    world = World(give_up_after=10.0)
    for _ in range(50):
        world.note(STOP)
        assert world.wait() == 0.5
        world.probe(WORKS)
        assert world.brake.error is None


def test_without_a_limit_it_is_never_given_up() -> None:
    world = World(give_up_after=None, start_timeout=None, has_worked=False)
    world.note(STOP)
    for _ in range(1000):
        world.wait()
        world.probe(STOP)
    assert world.brake.state is PAUSED


class AnyDestination(RuleBasedStateMachine):
    """Whatever happens, it never gets stuck, and lets no more through than its state allows."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.brake = Brake(8, give_up_after=500.0, start_timeout=20.0)
        self.under_way: list[float] = []

    @rule(wanted=st.integers(0, 20))
    def give_out(self, wanted: int) -> None:
        granted = self.brake.allow(self.now, min(wanted, 8 - len(self.under_way)))
        assert granted <= 8 - len(self.under_way)
        if self.brake.state is PROBING:
            assert granted + self.probes() <= 1
        elif self.brake.state in (PAUSED, GIVEN_UP):
            assert granted == 0
        self.under_way += [self.now] * granted

    def probes(self) -> int:
        """How many are under way that were sent since the last pause."""
        return sum(at >= self.brake._opened_at for at in self.under_way)

    @rule(data=st.data(), sign=st.sampled_from(Sign), wait=st.sampled_from([0.0, 5.0, 5000.0]))
    def end(self, data: st.DataObject, sign: Sign, wait: float) -> None:
        if self.under_way:
            index = data.draw(st.integers(0, len(self.under_way) - 1))
            self.brake.note(sign, self.now, self.under_way.pop(index), not_before=self.now + wait)

    @rule(seconds=st.floats(0.01, 40.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def fail_to_dial(self) -> None:
        if not self.under_way:
            self.brake.dial_failed(self.now)

    @rule(seconds=st.floats(0.0, 100.0))
    def use_quota_up(self, seconds: float) -> None:
        self.brake.pause(self.now, seconds)

    @invariant()
    def it_goes_on_by_itself_or_with_the_next_end(self) -> None:
        brake = self.brake
        assert brake.is_released is (brake.state is RELEASED)
        assert (brake.error is not None) is (brake.state is GIVEN_UP)
        if not brake.is_released:
            assert brake.is_watching
        if brake.state is PAUSED:
            assert brake.next_at(self.now) <= self.now + 505.0
        elif brake.state in (PROBING, REOPENING) and brake.allow(self.now, MANY) == 0:
            assert self.probes(), "else nothing would ever end it"
        else:
            # What the question above took.
            self.give_all_back()

    def give_all_back(self) -> None:
        if self.brake.state in (PROBING, REOPENING):
            self.brake.give_back(self.brake._under_way - self.probes())


AnyDestination.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestAnyDestination = AnyDestination.TestCase
