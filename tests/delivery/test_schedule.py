from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_world import (
    HEAD,
    LONGEST,
    FakeObserver,
    FakeSupply,
    World,
    record,
    rejection,
)

from livepost.delivery.retry import RetryPolicy
from livepost.model import Sent, State
from livepost.wire.message import Exchange


def test_records_are_given_in_order_and_their_ends_told() -> None:
    world = World(FakeSupply(record(1), record(2), record(3)))
    first, second = world.pull(), world.pull()
    assert (first.head, first.body, first.record) == (HEAD, b"1", record(1))
    world.now += 0.25
    world.answer(second)
    third = world.pull()
    world.now += 0.5
    world.answer(third, 404)
    assert world.finishes == 0
    world.answer(first, 400)
    assert world.finishes == 1
    assert world.observer.told == [
        "2 delivered: status 201 201",
        "3 rejected: status 404 404",
        "1 rejected: status 400 400",
    ]
    assert world.observer.seconds == [0.25, 0.5, 0.75]
    assert world.schedule.read == 3
    world.pull_nothing()
    assert world.finishes == 1


def test_the_end_of_an_empty_supply_is_the_end() -> None:
    world = World(FakeSupply(ended=False))
    world.schedule.check_finished()
    world.pull_nothing()
    assert world.finishes == 0
    world.supply.has_ended = True
    world.schedule.check_finished()
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read, world.observer.told) == (1, 0, [])


def test_an_end_that_comes_late_is_noticed_by_the_pull() -> None:
    world = World(FakeSupply(record(1), ended=False))
    world.answer(world.pull())
    assert world.finishes == 0
    world.supply.has_ended = True
    world.pull_nothing()
    assert world.finishes == 1


def test_it_is_not_finished_while_one_is_in_flight() -> None:
    world = World(FakeSupply(record(1)))
    exchange = world.pull()
    world.pull_nothing()
    world.schedule.check_finished()
    assert world.finishes == 0
    world.answer(exchange)
    assert world.finishes == 1


def test_what_was_never_fit_to_send_needs_no_connection() -> None:
    world = World(FakeSupply(rejection(1), rejection(2)))
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read) == (1, 2)
    assert world.observer.told == ["1 rejected: not JSON", "2 rejected: not JSON"]


def test_rejections_before_a_record_are_settled_without_a_connection() -> None:
    world = World(FakeSupply(rejection(1), record(2), rejection(3)))
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read, world.schedule.waiting) == (0, 1, 2)
    world.answer(world.pull())
    assert (world.finishes, world.schedule.read, world.schedule.waiting) == (1, 3, 0)
    assert world.observer.told == [
        "1 rejected: not JSON",
        "2 delivered: status 201 201",
        "3 rejected: not JSON",
    ]


def test_a_pull_passes_over_rejections() -> None:
    world = World(FakeSupply(record(1), rejection(2), rejection(3), record(4), rejection(5)))
    first, second = world.pull(), world.pull()
    assert (first.record.number, second.record.number) == (1, 4)
    world.pull_nothing()
    assert (world.schedule.read, world.finishes) == (5, 0)
    world.answer(first)
    world.answer(second)
    assert world.finishes == 1


def test_waiting_is_what_can_be_pulled() -> None:
    world = World(FakeSupply(record(1), record(2), record(3), ended=False))
    assert world.schedule.waiting == 3
    exchange = world.pull()
    assert world.schedule.waiting == 2
    world.fail(exchange, Sent.NOTHING)
    assert world.schedule.waiting == 2, "what must wait cannot be pulled"
    world.advance(0.1)
    world.schedule.check_finished()
    assert (world.schedule.waiting, world.finishes) == (3, 0)
    world.now += 0.001
    assert world.pull() is exchange, "what is ready again goes first, within the budget"
    assert world.schedule.waiting == 2
    world.schedule.stop()
    assert world.schedule.waiting == 0


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_cannot_have_been_processed_is_tried_again_up_to_six_times(sent: Sent) -> None:
    world = World(FakeSupply(record(1)))
    for delay in (0.1, 0.2, 0.4, 0.8, 1.6):
        world.fail(world.pull(), sent, "reset")
        assert world.reminders == [pytest.approx(world.now + delay)]
        world.advance(delay - 0.001)
        world.pull_nothing()
        world.advance(0.002)
    assert world.finishes == 0
    world.fail(world.pull(), sent, "reset")
    word = "not_sent" if sent is Sent.NOTHING else "refused"
    assert world.observer.told == [f"1 retried: {word}"] * 5 + ["1 unsent: reset"]
    assert (world.finishes, world.reminders) == (1, [])


@pytest.mark.parametrize("sent", [Sent.SOME, Sent.ALL])
def test_what_may_have_been_processed_is_in_doubt_and_not_sent_again(sent: Sent) -> None:
    world = World(FakeSupply(record(1)))
    exchange = world.pull()
    world.now += 2.0
    world.fail(exchange, sent, "no answer within 2 s")
    assert world.observer.told == ["1 in_doubt: no answer within 2 s"]
    assert world.observer.seconds == [2.0]
    world.pull_nothing()
    assert (world.finishes, world.reminders) == (1, [])


def test_a_record_that_comes_back_may_end_in_any_way() -> None:
    world = World(FakeSupply(record(1), record(2), record(3)))
    exchanges = [world.pull() for _ in range(3)]
    for exchange in exchanges:
        world.fail(exchange, Sent.NOTHING)
    world.advance(1.0)
    assert [world.pull() for _ in range(3)] == exchanges
    world.answer(exchanges[0])
    world.fail(exchanges[1], Sent.ALL, "gone")
    world.answer(exchanges[2], 400)
    assert world.observer.told[3:] == [
        "1 delivered: status 201 201",
        "2 in_doubt: gone",
        "3 rejected: status 400 400",
    ]
    assert world.finishes == 1


def test_what_waits_comes_back_in_the_order_of_its_time() -> None:
    delays = iter([0.3, 0.1, 0.2, 0.1])
    world = World(FakeSupply(*map(record, range(1, 5))), RetryPolicy(uniform=lambda low, high: next(delays)))
    for exchange in [world.pull() for _ in range(4)]:
        world.fail(exchange, Sent.NOTHING)
    world.advance(0.15)
    assert [world.pull().record.number for _ in range(2)] == [2, 4]
    world.pull_nothing()
    world.advance(1.0)
    assert [world.pull().record.number for _ in range(2)] == [3, 1]


def test_one_reminder_is_under_way_for_what_is_due_first() -> None:
    delays = iter([0.3, 0.5, 0.1])
    world = World(FakeSupply(*map(record, range(1, 4))), RetryPolicy(uniform=lambda low, high: next(delays)))
    for exchange in [world.pull() for _ in range(3)]:
        world.fail(exchange, Sent.NOTHING)
    assert world.reminders == [pytest.approx(100.1)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.3)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.5)]


def test_a_reminder_that_comes_early_asks_again() -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), Sent.NOTHING)
    assert world.reminders == [pytest.approx(100.1)]
    world.reminders.clear()
    world.now = 100.0996
    world.schedule.release_due(world.now)
    world.pull_nothing()
    assert world.reminders == [pytest.approx(100.1, abs=0.001)]
    world.advance(0.002)
    assert world.pull().record.number == 1


def test_it_is_not_finished_while_one_is_ready_again() -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), Sent.NOTHING)
    world.schedule.check_finished()
    world.advance(0.2)
    world.schedule.check_finished()
    assert world.finishes == 0
    world.answer(world.pull())
    assert world.finishes == 1


def test_a_reminder_too_many_does_no_harm() -> None:
    world = World(FakeSupply(record(1)))
    world.schedule.release_due(world.now)
    exchange = world.pull()
    world.schedule.release_due(world.now)
    world.answer(exchange)
    world.schedule.release_due(world.now)
    assert (world.finishes, world.reminders) == (1, [])


def test_after_a_stop_nothing_is_pulled_and_what_is_in_flight_may_finish() -> None:
    world = World(FakeSupply(record(1), record(2), rejection(3), record(4), ended=False))
    exchange = world.pull()
    world.schedule.stop()
    world.pull_nothing()
    assert (world.finishes, world.schedule.waiting) == (0, 0)
    world.answer(exchange)
    assert world.finishes == 1
    assert world.schedule.read == 4
    assert world.observer.told == [
        "1 delivered: status 201 201",
        "2 unsent",
        "3 rejected: not JSON",
        "4 unsent",
    ]


def test_a_stop_with_nothing_in_flight_is_the_end() -> None:
    world = World(FakeSupply(record(1), ended=False))
    world.schedule.stop()
    world.schedule.stop()
    assert (world.finishes, world.observer.told) == (1, ["1 unsent"])


def test_a_stop_leaves_unsent_what_waits_to_be_tried_again() -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    exchanges = [world.pull() for _ in range(4)]
    world.fail(exchanges[1], Sent.NOTHING)
    world.advance(0.1)
    world.fail(exchanges[0], Sent.REFUSED)
    world.schedule.stop()
    assert world.finishes == 0
    world.fail(exchanges[2], Sent.NOTHING)
    world.fail(exchanges[3], Sent.ALL, "gone")
    assert world.finishes == 1
    assert world.observer.told == [
        "2 retried: not_sent",
        "1 retried: refused",
        "3 retried: not_sent",
        "4 in_doubt: gone",
        "2 unsent",
        "1 unsent",
        "3 unsent",
    ]


def test_after_a_stop_there_are_no_reminders() -> None:
    world = World(FakeSupply(record(1), record(2)))
    first, second = world.pull(), world.pull()
    world.schedule.stop()
    world.fail(first, Sent.NOTHING)
    world.schedule.release_due(world.now + 10)
    assert world.reminders == []
    world.answer(second)
    assert world.finishes == 1


def stopping_observer(world: list[World], words: str) -> FakeObserver:
    """Stops the schedule as soon as it is told something that begins so."""

    def stop() -> None:
        if observer.told[-1].startswith(words):
            world[0].schedule.stop()

    observer = FakeObserver(stop)
    return observer


@pytest.mark.parametrize("is_last_in_flight", [True, False])
def test_an_observer_may_stop_the_run_at_an_answer(is_last_in_flight: bool) -> None:
    worlds: list[World] = []
    world = World(FakeSupply(*map(record, range(1, 4))), LONGEST, stopping_observer(worlds, "1 delivered"))
    worlds.append(world)
    first = world.pull()
    second = None if is_last_in_flight else world.pull()
    world.answer(first)
    world.pull_nothing()
    if second is not None:
        assert world.finishes == 0
        world.answer(second)
    assert world.finishes == 1
    assert world.observer.told[0] == "1 delivered: status 201 201", "told before the run was finished"
    assert world.observer.states.total() == world.schedule.read == 3


def test_an_observer_may_stop_the_run_at_a_retry() -> None:
    worlds: list[World] = []
    world = World(FakeSupply(record(1), record(2)), LONGEST, stopping_observer(worlds, "1 retried"))
    worlds.append(world)
    world.fail(world.pull(), Sent.NOTHING)
    assert world.finishes == 1
    assert world.observer.told == ["1 retried: not_sent", "1 unsent", "2 unsent"]


def test_an_observer_may_stop_the_run_at_a_rejection_within_a_pull() -> None:
    """What that pull has taken by then still goes out."""
    worlds: list[World] = []
    world = World(
        FakeSupply(record(1), rejection(2), record(3), record(4)),
        LONGEST,
        stopping_observer(worlds, "2 rejected"),
    )
    worlds.append(world)
    for exchange in world.schedule.pull(2, world.now):
        world.answer(exchange)
    assert world.finishes == 1
    assert world.observer.told == [
        "2 rejected: not JSON",
        "1 delivered: status 201 201",
        "3 delivered: status 201 201",
        "4 unsent",
    ]


def test_an_observer_may_stop_the_run_at_a_rejection_without_a_connection() -> None:
    worlds: list[World] = []
    world = World(
        FakeSupply(rejection(1), rejection(2), record(3)), LONGEST, stopping_observer(worlds, "1 rejected")
    )
    worlds.append(world)
    world.schedule.check_finished()
    assert world.finishes == 1
    assert world.observer.states == {State.REJECTED: 2, State.UNSENT: 1}
    assert world.schedule.read == 3


class Simulation:
    """A server, connections and a user that do whatever `steps` say, and keep to the rules themselves."""

    def __init__(self, on_call: Callable[[], None]) -> None:
        self.world = World(FakeSupply(ended=False), RetryPolicy(attempts_per_record=3), FakeObserver(on_call))
        self.in_flight: list[Exchange] = []
        self.made = 0
        self.may_be_pulled: set[int] = set()
        """Numbers of records that were never given out, or came back provably unprocessed."""
        self.is_stopped = False

    def take(self, step: str, choice: int) -> None:
        if step == "arrive" and not self.world.finishes:
            self.arrive(choice)
        elif step == "pull":
            self.pull(choice + 1)
        elif step == "answer" and self.in_flight:
            exchange = self.in_flight.pop(choice % len(self.in_flight))
            self.world.answer(exchange, (200, 201, 400, 500)[choice % 4])
        elif step == "fail" and self.in_flight:
            self.fail(choice)
        elif step == "wait":
            self.world.advance(choice / 4)

    def arrive(self, choice: int) -> None:
        for _ in range(choice % 4):
            self.made += 1
            self.may_be_pulled.add(self.made)
            is_fit = (self.made + choice) % 3 > 0
            self.world.supply.items.append(record(self.made) if is_fit else rejection(self.made))
        self.world.schedule.check_finished()

    def pull(self, limit: int) -> None:
        was_stopped = self.is_stopped
        pulled = self.world.schedule.pull(limit, self.world.now)
        if not pulled:
            return
        assert not was_stopped
        assert not self.world.finishes
        assert len(pulled) <= limit
        for exchange in pulled:
            self.may_be_pulled.remove(exchange.record.number)
            assert exchange.attempts <= 3
            assert exchange.sent_at == self.world.now
        self.in_flight += pulled

    def fail(self, choice: int) -> None:
        exchange = self.in_flight.pop(choice % len(self.in_flight))
        sent = (Sent.NOTHING, Sent.REFUSED, Sent.SOME, Sent.ALL)[choice % 4]
        if sent in (Sent.NOTHING, Sent.REFUSED):
            self.may_be_pulled.add(exchange.record.number)
        self.world.fail(exchange, sent)

    def stop(self) -> None:
        self.is_stopped = True
        self.world.schedule.stop()

    def run_to_the_end(self) -> None:
        self.world.supply.has_ended = True
        for _ in range(10 * self.made + 1):
            self.pull(3)
            self.take("answer", 0)
            self.world.advance(10.0)
        self.world.schedule.check_finished()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "arrive", "pull", "pull", "pull", "answer", "fail", "fail", "wait"]),
        st.integers(0, 9),
    ),
    max_size=60,
)


@given(steps=STEPS, stop_at=st.integers(0, 90), stops_by_observer=st.booleans())
def test_every_record_ends_once_whatever_happens(
    steps: list[tuple[str, int]], stop_at: int, stops_by_observer: bool
) -> None:
    """Random batches, answers, failures and pauses, and a stop somewhere, perhaps from within a call."""
    calls = itertools.count(1)

    def on_call() -> None:
        if stops_by_observer and next(calls) == stop_at:
            simulation.stop()

    simulation = Simulation(on_call)
    for position, (step, choice) in enumerate(steps):
        if position == stop_at and not stops_by_observer:
            simulation.stop()
        simulation.take(step, choice)
    simulation.run_to_the_end()
    world, made = simulation.world, simulation.made
    assert world.finishes == 1
    assert not world.supply.items
    assert world.schedule.read == made
    ends = [words.split()[0] for words in world.observer.told if "retried" not in words]
    assert sorted(map(int, ends)) == list(range(1, made + 1))
    assert world.observer.states.total() == made
