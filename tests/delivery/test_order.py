from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from livepost.delivery.order import Admission, Order
from livepost.errors import ConfigurationError
from livepost.model import Record
from livepost.policy import OrderOptions

GO, HELD, STOPPED = Admission.GO, Admission.HELD, Admission.STOPPED


def record(number: int, key: str = "a") -> Record:
    return Record(number, b'{"key":"%b","n":%d}' % (key.encode(), number), "-", number)


def by_key(on_key_failure: str = "stop") -> Order:
    order = Order.of(OrderOptions(order_key="/key", on_key_failure=on_key_failure))
    assert order is not None
    return order


def test_by_default_there_is_no_order() -> None:
    assert Order.of(OrderOptions()) is None


def test_a_pointer_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no JSON pointer"):
        Order.of(OrderOptions(order_key="key"))


def test_records_of_one_key_go_one_after_the_other() -> None:
    order = by_key()
    first, second, third = record(1), record(2), record(3)
    assert [order.admit(each) for each in (first, second, third)] == [GO, HELD, HELD]
    assert (order.held, order.open_keys) == (2, 1)
    assert order.release(first) is second
    assert order.release(second) is third
    assert order.release(third) is None
    assert (order.held, order.open_keys) == (0, 0)
    assert order.admit(record(4)) is GO


def test_different_keys_go_at_once() -> None:
    order = by_key()
    assert [order.admit(record(number, chr(96 + number))) for number in range(1, 20)] == [GO] * 19
    assert order.open_keys == 19


def test_a_strict_order_is_one_key_for_all() -> None:
    order = Order.of(OrderOptions(ordered=True))
    assert order is not None
    assert [order.admit(record(1, "a")), order.admit(record(2, "b"))] == [GO, HELD]
    assert order.release(record(1, "a")) == record(2, "b")


def test_what_an_earlier_process_did_not_deliver_stops_its_key_if_failures_do() -> None:
    for on_key_failure, admission in (("stop", STOPPED), ("skip", GO)):
        order = by_key(on_key_failure)
        order.ended_before(record(1, "a"))
        order.ended_before(record(2, "long" * 20))
        order.ended_before(Record(3, b'{"other":1}', "-", 3))
        assert [order.admit(record(4, "a")), order.admit(record(5, "long" * 20))] == [admission] * 2
        assert [order.admit(record(6, "b")), order.admit(Record(7, b"{}", "-", 7))] == [GO, GO]


def test_a_record_without_a_key_waits_for_nobody() -> None:
    order = by_key()
    records = [Record(number, b'{"other":1}', "-", number) for number in (1, 2)]
    assert [order.admit(each) for each in records] == [GO, GO]
    assert [order.release(records[0]), order.failed(records[1])] == [None, (None, [])]
    assert (order.without_key, order.held, order.open_keys) == (2, 0, 0)


def test_keys_of_any_length_are_told_apart() -> None:
    order = by_key()
    keys = ["k" * 1000, "k" * 999 + "l", "k" * 13, "k" * 14, ""]
    assert [order.admit(record(number, key)) for number, key in enumerate(keys)] == [GO] * 5
    assert order.admit(record(9, keys[1])) is HELD
    assert order.release(record(1, keys[1])) == record(9, keys[1])


def test_a_failure_stops_its_key_and_no_other() -> None:
    order = by_key("stop")
    records = [record(1), record(2), record(3, "b"), record(4)]
    assert [order.admit(each) for each in records] == [GO, HELD, GO, HELD]
    assert order.failed(records[0]) == (None, [records[1], records[3]])
    assert order.held == 0
    assert order.admit(record(5)) is STOPPED
    assert order.admit(record(6, "b")) is HELD
    assert order.release(records[2]) == record(6, "b")


def test_a_failure_is_skipped_where_the_user_wants_it() -> None:
    order = by_key("skip")
    records = [record(1), record(2)]
    assert [order.admit(each) for each in records] == [GO, HELD]
    assert order.failed(records[0]) == (records[1], [])
    assert order.failed(records[1]) == (None, [])
    assert order.admit(record(3)) is GO


def test_it_is_full_by_number_or_by_size() -> None:
    order = Order(lambda body: b"key", stops=True, most_held=3, most_held_bytes=100)
    small = [Record(number, b"x" * 10, "-", number) for number in range(5)]
    for each in small[:3]:
        order.admit(each)
    assert not order.is_full
    order.admit(small[3])
    assert order.is_full
    order.release(small[0])
    assert not order.is_full
    order.release(small[1])
    order.admit(Record(8, b"x" * 89, "-", 8))
    assert not order.is_full
    order.release(small[2])
    order.admit(Record(9, b"x" * 11, "-", 9))
    assert (order.held, order.is_full) == (2, True), "by size"
    order.failed(small[3])
    assert not order.is_full


def test_all_that_is_held_can_be_given_up() -> None:
    order = by_key()
    for number, key in [(1, "a"), (2, "b"), (3, "b"), (4, "a"), (5, "a")]:
        order.admit(record(number, key))
    assert [each.number for each in order.drain()] == [4, 5, 3]
    assert order.held == 0
    assert order.release(record(1)) is None
    assert list(order.drain()) == []


class OrderedDelivery(RuleBasedStateMachine):
    """Whatever the order in which records end, each key's are under way one at a time, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.order = by_key("stop")
        self.number = 0
        self.under_way: dict[str, Record] = {}
        self.waiting: dict[str, list[Record]] = {}
        self.stopped: set[str] = set()

    @rule(key=st.sampled_from("abc"))
    def admit(self, key: str) -> None:
        self.number += 1
        new = record(self.number, key)
        admission = self.order.admit(new)
        if key in self.stopped:
            assert admission is STOPPED
        elif key in self.under_way:
            assert admission is HELD
            self.waiting.setdefault(key, []).append(new)
        else:
            assert admission is GO
            self.under_way[key] = new

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        following = self.order.release(self.under_way.pop(key))
        waiting = self.waiting.get(key)
        assert following == (waiting.pop(0) if waiting else None)
        if following is not None:
            self.under_way[key] = following

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        assert self.order.failed(self.under_way.pop(key)) == (None, self.waiting.pop(key, []))
        self.stopped.add(key)

    @invariant()
    def only_open_keys_are_remembered(self) -> None:
        assert self.order.open_keys == len(self.under_way)
        assert self.order.held == sum(map(len, self.waiting.values()))


OrderedDelivery.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestOrderedDelivery = OrderedDelivery.TestCase
