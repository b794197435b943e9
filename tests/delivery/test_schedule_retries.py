"""What comes back to the schedule, when it goes out again, and beside how much that is fresh."""

from __future__ import annotations

import pytest
from schedule_world import FakeSupply, World, record

from livepost.delivery.retry import RetryPolicy
from livepost.model import Sent
from livepost.wire.machine import Failed


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_cannot_have_been_processed_is_tried_again_up_to_six_times(sent: Sent) -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), sent, "reset")
    assert world.reminders == [pytest.approx(world.now + 0.001)], "at once"
    world.advance(0.001)
    for delay in (0.2, 0.4, 0.8, 1.6):
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


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_the_server_has_not_looked_at_goes_again_at_once_and_ahead(sent: Sent) -> None:
    """nginx: a hundred requests were on their way when it said that it had had its last."""
    world = World(FakeSupply(*map(record, range(1, 201))))
    refused = world.schedule.pull(100, world.now)
    events = [Failed(exchange, sent, "refused") for exchange in refused]
    world.schedule.settle(events, world.now)
    assert world.schedule.waiting == 200
    again = world.schedule.pull(150, world.now)
    assert again[:100] == refused, "no budget is asked"
    assert [exchange.record.number for exchange in again[100:]] == list(range(101, 151))
    # The second time it is like any other, and waits for its turn.
    world.schedule.settle(events, world.now)
    assert world.schedule.waiting == 50
    world.advance(0.201)
    again = world.schedule.pull(150, world.now)
    assert sum(exchange.attempts == 3 for exchange in again) == 37, "a quarter of the 150 fresh ones"
    assert sum(exchange.attempts == 1 for exchange in again) == 50


def test_a_refusal_after_another_failure_is_no_first_one() -> None:
    world = World(FakeSupply(record(1)))
    world.postpone(world.pull())
    world.advance(0.101)
    world.fail(world.pull(), Sent.REFUSED)
    world.pull_nothing()
    assert world.until_waiting() == pytest.approx(0.2)


def test_without_retries_not_even_what_was_refused_goes_again() -> None:
    world = World(FakeSupply(record(1)), RetryPolicy(attempts_per_record=1))
    world.fail(world.pull(), Sent.REFUSED, "refused")
    assert world.observer.told == ["1 unsent: refused"]


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
        world.postpone(exchange)
    world.advance(0.15)
    assert [world.pull().record.number for _ in range(2)] == [2, 4]
    world.pull_nothing()
    world.advance(1.0)
    assert [world.pull().record.number for _ in range(2)] == [3, 1]


def test_one_reminder_is_under_way_for_what_is_due_first() -> None:
    delays = iter([0.3, 0.5, 0.1])
    world = World(FakeSupply(*map(record, range(1, 4))), RetryPolicy(uniform=lambda low, high: next(delays)))
    for exchange in [world.pull() for _ in range(3)]:
        world.postpone(exchange)
    assert world.reminders == [pytest.approx(100.1)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.3)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.5)]


def test_a_reminder_that_comes_early_asks_again() -> None:
    world = World(FakeSupply(record(1)))
    world.postpone(world.pull())
    assert world.reminders == [pytest.approx(100.1)]
    world.reminders.clear()
    world.now = 100.0996
    world.schedule.release_due(world.now)
    world.pull_nothing()
    assert world.reminders == [pytest.approx(100.1, abs=0.001)]
    world.advance(0.002)
    assert world.pull().record.number == 1


def test_a_reminder_too_many_does_no_harm() -> None:
    world = World(FakeSupply(record(1)))
    world.schedule.release_due(world.now)
    exchange = world.pull()
    world.schedule.release_due(world.now)
    world.answer(exchange)
    world.schedule.release_due(world.now)
    assert (world.finishes, world.reminders) == (1, [])


def test_retries_are_a_fifth_of_all_while_there_are_fresh_records() -> None:
    world = World(FakeSupply(*map(record, range(1, 2000))), RetryPolicy(uniform=lambda low, high: 0.0))
    for exchange in world.schedule.pull(400, world.now):
        world.postpone(exchange)
    pulled = world.schedule.pull(400, world.now)
    again = [exchange for exchange in pulled if exchange.attempts == 2]
    assert (len(pulled), len(again)) == (400, 100), "a quarter of the 400 fresh ones before"
    pulled = world.schedule.pull(400, world.now)
    assert sum(exchange.attempts == 2 for exchange in pulled) == 75, "a quarter of 300"


def test_a_retry_beyond_the_budget_comes_later_on_a_connection_that_waits() -> None:
    world = World(FakeSupply(record(1), ended=False), RetryPolicy(uniform=lambda low, high: 0.0))
    world.postpone(world.pull())
    world.arrive(record(2))
    fresh = world.schedule.pull(4, world.now)
    assert [exchange.record.number for exchange in fresh] == [2]
    assert world.schedule.waiting == 0, "nothing is dialled for what the budget keeps back"
    assert world.reminders == [pytest.approx(100.001)]
    world.until_reminded()
    assert world.pull_numbers(4) == [1], "nothing fresh is left, so no budget is asked"


def test_a_budget_that_is_spent_asks_to_be_reminded() -> None:
    world = World(FakeSupply(*map(record, range(1, 9))), RetryPolicy(uniform=lambda low, high: 0.0))
    world.postpone(world.pull())
    world.until_reminded()
    assert world.pull_numbers(1) == [2]
    assert world.reminders == [pytest.approx(100.076)], "a quarter is earned, and ten a second are given"
    world.until_reminded()
    assert world.pull_numbers(1) == [1]


def test_nothing_fresh_is_given_while_too_many_wait_to_be_tried_again() -> None:
    count = 10_000
    world = World(FakeSupply(*map(record, range(1, count + 3))), RetryPolicy(uniform=lambda low, high: 1.0))
    for exchange in world.schedule.pull(count, world.now):
        world.postpone(exchange)
    assert world.schedule.waiting == 0
    world.pull_nothing()
    world.advance(1.0)
    assert world.schedule.waiting == count
    assert world.pull_numbers(3) == [1, 2, 3], "no budget keeps them then"
    assert world.schedule.waiting == count - 3 + 2
