"""Runs that end early: stopped from outside, by whoever hears how a record ended, or by the server."""

from __future__ import annotations

from typing import Any

import pytest
from schedule_world import LONGEST, FakeObserver, FakeSupply, World, keyed, record, rejection

from livepost.model import Record, Rejection, Sent, State
from livepost.policy import OrderOptions


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


def stopped_at(words: str, *items: Record | Rejection, **options: Any) -> World:
    """It is stopped as soon as an observer is told something that begins so."""

    def stop_there() -> None:
        if observer.told[-1].startswith(words):
            world.schedule.stop()

    observer = FakeObserver(stop_there)
    world = World(FakeSupply(*items), LONGEST, observer, **options)
    return world


@pytest.mark.parametrize("is_last_in_flight", [True, False])
def test_an_observer_may_stop_the_run_at_an_answer(is_last_in_flight: bool) -> None:
    world = stopped_at("1 delivered", *map(record, range(1, 4)))
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
    world = stopped_at("1 retried", record(1), record(2))
    world.fail(world.pull(), Sent.NOTHING)
    assert world.finishes == 1
    assert world.observer.told == ["1 retried: not_sent", "1 unsent", "2 unsent"]


def test_an_observer_may_stop_the_run_at_a_rejection_within_a_pull() -> None:
    """What that pull has taken by then still goes out."""
    world = stopped_at("2 rejected", record(1), rejection(2), record(3), record(4))
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
    world = stopped_at("1 rejected", rejection(1), rejection(2), record(3))
    world.schedule.check_finished()
    assert world.finishes == 1
    assert world.observer.states == {State.REJECTED: 2, State.UNSENT: 1}
    assert world.schedule.read == 3


def test_a_stop_by_whoever_hears_of_a_key_that_was_stopped_ends_the_run_once_all_are_told() -> None:
    records = keyed(1, "a"), keyed(2, "b"), keyed(3, "a"), keyed(4, "a")
    world = stopped_at("3 unsent", *records, order=OrderOptions(order_key="/key"))
    first, second = world.schedule.pull(2, world.now)
    world.answer(first, 404)
    assert (world.finishes, world.observer.told[1:]) == (0, ["3 unsent", "4 unsent"])
    world.answer(second)
    assert world.finishes == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_nobody_in_ends_the_run_early(status: int) -> None:
    world = World(FakeSupply(*map(record, range(1, 1000))))
    while not world.errors:
        world.answer(world.pull(), status)
    assert world.observer.states == {State.REJECTED: 20, State.UNSENT: 979}
    assert str(world.errors[0]) == f"the server let none of the first 20 records in (status {status})"
    assert world.finishes == 1


def test_records_that_are_forbidden_among_others_end_nothing() -> None:
    world = World(FakeSupply(*map(record, range(1, 300))))
    for number in range(1, 300):
        world.answer(world.pull(), 201 if number % 50 == 1 else 403)
    assert world.errors == []
    assert world.observer.states == {State.REJECTED: 293, State.DELIVERED: 6}
