from __future__ import annotations

import pytest
from schedule_world import FakeRecorder, FakeSupply, World, keyed, record, rejection

from livepost.policy import OrderOptions


def test_in_strict_order_one_is_under_way_and_no_more_is_dialled_for() -> None:
    world = World(FakeSupply(*map(record, range(1, 4))), order=OrderOptions(ordered=True))
    world.schedule.arrived()
    assert world.schedule.waiting == 1
    exchange = world.pull()
    assert world.schedule.waiting == 0
    world.postpone(exchange)
    assert world.schedule.waiting == 0, "the second waits for the first, which waits for its time"
    world.until_reminded()
    assert world.schedule.waiting == 1
    assert world.pull() is exchange
    world.answer(exchange)
    assert world.schedule.waiting == 1
    assert world.pull_numbers(9) == [2]


@pytest.mark.parametrize("ends_by", [404, 500])
def test_a_failure_in_strict_order_leaves_the_rest_unsent(ends_by: int) -> None:
    recorder = FakeRecorder()
    world = World(
        FakeSupply(record(1), record(2), rejection(3), record(4)),
        recorder=recorder,
        order=OrderOptions(ordered=True),
    )
    world.answer(world.pull(), ends_by)
    assert world.finishes == 1
    assert sorted(world.observer.told)[1:] == ["2 unsent", "3 rejected: not JSON", "4 unsent"]
    assert recorder.text == ("R" if ends_by == 404 else "Q") + ".R"


def test_a_failure_in_strict_order_may_be_skipped() -> None:
    order = OrderOptions(ordered=True, on_key_failure="skip")
    world = World(FakeSupply(record(1), record(2)), order=order)
    world.answer(world.pull(), 404)
    world.answer(world.pull())
    assert world.observer.told == ["1 rejected: status 404 404", "2 delivered: status 201 201"]


def test_records_of_one_key_go_one_after_the_other_and_others_meanwhile() -> None:
    supply = FakeSupply(keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), record(4), keyed(5, "a"))
    world = World(supply, order=OrderOptions(order_key="/key"))
    world.schedule.arrived()
    assert world.schedule.waiting == 3
    first, third, fourth = world.schedule.pull(9, world.now)
    assert [x.record.number for x in (first, third, fourth)] == [1, 3, 4], "the fourth has no key"
    assert world.schedule.waiting == 0
    world.answer(third)
    assert world.schedule.waiting == 0
    world.answer(first)
    assert world.schedule.waiting == 1
    second = world.pull()
    assert second.record.number == 2
    world.answer(second)
    world.answer(world.pull())
    world.answer(fourth)
    assert world.finishes == 1


def test_a_failure_stops_its_key_alone() -> None:
    supply = FakeSupply(keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "a"), ended=False)
    world = World(supply, order=OrderOptions(order_key="/key"))
    first, third = world.schedule.pull(9, world.now)
    world.answer(first, 404)
    assert world.observer.told == ["1 rejected: status 404 404", "2 unsent", "4 unsent"]
    world.arrive(keyed(5, "a"), keyed(6, "b"))
    assert world.observer.told[3:] == ["5 unsent"]
    world.answer(third)
    assert world.pull_numbers(9) == [6]


def test_what_an_end_sets_free_wakes_connections_that_wait() -> None:
    """So many are held behind one key that no more is read until its record has ended."""
    count = 10_300
    supply = FakeSupply(*(keyed(number, "a") for number in range(1, count)), record(count), record(count + 1))
    world = World(supply, order=OrderOptions(order_key="/key"))
    (first,) = world.schedule.pull(2, world.now)
    assert (world.schedule.waiting, world.reminders) == (0, [])
    for number in range(2, 400):
        world.answer(first)
        if world.schedule.waiting > 1:
            break
        first = world.pull()
        assert first.record.number == number
    assert world.schedule.waiting == 3, "its next, and the two behind those of the key"
    assert world.reminders == [pytest.approx(100.001)]
