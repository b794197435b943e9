from __future__ import annotations

import pytest
from schedule_world import HEAD, RUN_ID, FakeSupply, record, rejection

from livepost.delivery.idempotency import IdempotencyKeys
from livepost.delivery.intake import Intake
from livepost.delivery.order import Order
from livepost.model import Record, Rejection
from livepost.policy import OrderOptions

ORDERED = OrderOptions(ordered=True)
BY_KEY = OrderOptions(order_key="/key")
NOW = 100.0


def intake(*items: Record | Rejection, order: OrderOptions | None = None, ended: bool = True) -> Intake:
    made = None if order is None else Order.of(order)
    return Intake(FakeSupply(*items, ended=ended), HEAD, made, None)


def keyed(number: int, key: int) -> Record:
    return Record(number, b'{"key": %d}' % key, "-", number)


def taken(made: Intake, limit: int) -> list[int]:
    return [exchange.record.number for exchange in made.take(limit, NOW, None)]


def test_without_an_order_records_go_as_they_come() -> None:
    made = intake(record(1), rejection(2), record(3), record(4))
    assert (made.waiting, made.is_empty, made.is_ordered) == (4, False, False)
    (first, third) = made.take(2, NOW, None)
    assert (first.record, first.body, first.head) == (record(1), b"1", HEAD)
    assert (first.attempts, first.sent_at, first.fields) == (1, NOW, ())
    assert third.record.number == 3
    assert list(made.refused) == [rejection(2)]
    assert (made.read, made.sent, made.waiting) == (3, 2, 1)
    assert taken(made, 9) == [4]
    assert made.is_empty


def test_none_are_taken_where_none_are_asked_for() -> None:
    made = intake(rejection(1), record(2))
    assert taken(made, 0) == []
    assert (made.read, list(made.refused)) == (0, [])


@pytest.mark.parametrize("order", [None, ORDERED, BY_KEY])
def test_what_is_taken_is_marked_as_in_flight(order: OrderOptions | None) -> None:
    marks = bytearray(4)
    made = intake(rejection(1), record(2), record(3), order=order)
    made.take(1, NOW, memoryview(marks))
    assert marks == b"\0\0F\0"


def test_what_was_in_flight_when_an_earlier_process_ended_is_in_doubt_from_the_start() -> None:
    marks = bytearray(b"\0F\0")
    (first, second) = intake(record(1), record(2)).take(2, NOW, memoryview(marks))
    assert (first.has_doubt, second.has_doubt) == (True, False)


@pytest.mark.parametrize("order", [None, ORDERED])
def test_each_request_carries_the_key_of_its_record(order: OrderOptions | None) -> None:
    keys = IdempotencyKeys(RUN_ID, "X-Key", quoted=False)
    made = Intake(FakeSupply(record(7)), HEAD, Order.of(order or OrderOptions()), keys)
    (exchange,) = made.take(1, NOW, None)
    assert exchange.fields == (keys.field(7),)


def test_with_an_order_only_turns_are_waiting() -> None:
    made = intake(keyed(1, 1), keyed(2, 1), rejection(3), keyed(4, 2), order=BY_KEY)
    made.look_ahead()
    assert (made.waiting, made.read, list(made.refused)) == (2, 4, [rejection(3)])
    assert taken(made, 9) == [1, 4]
    assert (made.waiting, made.is_empty, made.sent) == (0, False, 2)
    made.pass_turn(keyed(1, 1), delivered=True)
    assert made.waiting == 1
    assert taken(made, 9) == [2]
    made.pass_turn(keyed(2, 1), delivered=True)
    made.pass_turn(keyed(4, 2), delivered=True)
    assert made.is_empty


def test_whoever_has_waited_longest_goes_before_those_looked_at_ahead() -> None:
    made = intake(keyed(1, 1), keyed(2, 1), keyed(3, 2), keyed(4, 3), order=BY_KEY)
    assert taken(made, 1) == [1]
    made.pass_turn(keyed(1, 1), delivered=True)
    assert taken(made, 9) == [2, 3, 4]


def test_whoever_is_behind_a_failure_is_refused() -> None:
    made = intake(keyed(1, 1), keyed(2, 1), order=BY_KEY, ended=False)
    assert taken(made, 9) == [1]
    made.pass_turn(keyed(1, 1), delivered=False)
    assert list(made.refused) == [keyed(2, 1)]
    made._supply.items.append(keyed(3, 1))  # type: ignore[attr-defined]
    made.look_ahead()
    assert list(made.refused) == [keyed(2, 1), keyed(3, 1)]


def test_only_a_few_turns_are_known_ahead() -> None:
    made = intake(*(keyed(number, number) for number in range(1, 1000)), order=BY_KEY)
    made.look_ahead()
    assert (made.waiting, made.read) == (256, 256)
    assert taken(made, 300) == list(range(1, 301)), "and more where they are asked for"


def test_an_end_without_an_order_passes_nothing_on() -> None:
    made = intake(record(1))
    made.look_ahead()
    made.pass_turn(record(1), delivered=False)
    assert (made.waiting, made.read, list(made.refused)) == (1, 0, [])


@pytest.mark.parametrize("order", [None, BY_KEY])
def test_rejections_that_come_first_need_no_connection(order: OrderOptions | None) -> None:
    made = intake(rejection(1), rejection(2), record(3), rejection(4), order=order)
    made.pass_over_unfit()
    assert (made.read, list(made.refused)) == (2, [rejection(1), rejection(2)])


def test_all_can_be_given_up() -> None:
    records = [keyed(1, 1), keyed(2, 1), keyed(3, 2)]
    made = intake(*records, order=BY_KEY, ended=False)
    assert taken(made, 1) == [1]
    late = keyed(4, 9)
    made._supply.items += [rejection(5), late]  # type: ignore[attr-defined]
    assert list(made.drain()) == [keyed(3, 2), keyed(2, 1), rejection(5), late]
    assert (made.read, made.waiting) == (5, 0)
    assert list(made.drain()) == []
