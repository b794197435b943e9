"""What is given to connections, in which order, and when all of it has ended."""

from __future__ import annotations

import uuid

import pytest
from schedule_world import HEAD, RUN_ID, FakeSupply, World, record, rejection

from livepost.model import Sent
from livepost.policy import OrderOptions, RetryOptions


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
    world.postpone(exchange)
    assert world.schedule.waiting == 2, "what must wait cannot be pulled"
    world.advance(0.1)
    world.schedule.check_finished()
    assert (world.schedule.waiting, world.finishes) == (3, 0)
    world.now += 0.001
    assert world.pull() is exchange, "what is ready again goes first, within the budget"
    assert world.schedule.waiting == 2
    world.schedule.stop()
    assert world.schedule.waiting == 0


def test_it_is_not_finished_while_one_is_ready_again() -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), Sent.NOTHING)
    world.schedule.check_finished()
    world.advance(0.2)
    world.schedule.check_finished()
    assert world.finishes == 0
    world.answer(world.pull())
    assert world.finishes == 1


def test_without_keys_nothing_is_added_to_a_request() -> None:
    assert World(FakeSupply(record(1))).pull().fields == ()


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_key_stays_with_its_record(is_plain: bool) -> None:
    order = OrderOptions(ordered=not is_plain)
    world = World(
        FakeSupply(record(1), record(2)), retry=RetryOptions(idempotency_key="Idempotency-Key"), order=order
    )
    exchange = world.pull()
    key = b'"%b"' % str(uuid.uuid5(RUN_ID, "1")).encode()
    assert exchange.fields == ((b"Idempotency-Key", key),)
    world.fail(exchange, Sent.ALL)
    world.advance(1.0)
    assert world.observer.told == ["1 retried: no_answer"], "it is safe to repeat now"
    while (pulled := world.pull()) is not exchange:
        assert pulled.fields != exchange.fields
    assert exchange.fields == ((b"Idempotency-Key", key),)
