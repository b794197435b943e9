from __future__ import annotations

import pytest
from schedule_world import HEAD, TARGET, record

from livepost.delivery.budget import RetryBudget
from livepost.delivery.detour import Detour
from livepost.delivery.redirect import Hops
from livepost.delivery.retries import MOST_WAITING, MOST_WAITING_BYTES, Retries
from livepost.wire.message import Exchange

START = 100.0


def exchange(number: int, body: bytes = b"1") -> Exchange:
    return Exchange(HEAD, body, record(number), 1, START)


def numbers(exchanges: list[Exchange]) -> list[int]:
    return [exchange.record.number for exchange in exchanges]


@pytest.fixture
def retries() -> Retries:
    return Retries(RetryBudget(START))


def test_they_become_ready_in_the_order_of_their_time(retries: Retries) -> None:
    for number, at in ((1, 103.0), (2, 101.0), (3, 102.0), (4, 101.0)):
        retries.add(exchange(number), at)
    assert (len(retries), retries.waiting, retries.next_at) == (4, 0, 101.0)
    retries.release_due(100.9)
    assert retries.waiting == 0
    retries.release_due(102.0)
    assert (len(retries), retries.waiting, retries.next_at) == (4, 3, 103.0)
    assert numbers(retries.take(retries.ready, 2, 102.5)) == [2, 4]
    assert (len(retries), retries.waiting) == (2, 1)
    retries.release_due(110.0)
    assert retries.next_at == float("inf")
    assert numbers(retries.take(retries.ready, 9, 110.0)) == [3, 1]
    assert not retries


def test_each_take_is_another_attempt(retries: Retries) -> None:
    one = exchange(1)
    retries.add(one, START)
    retries.release_due(START)
    assert retries.take(retries.ready, 0, START) == []
    assert retries.take(retries.ready, 9, 101.5) == [one]
    assert (one.attempts, one.sent_at) == (2, 101.5)


def test_what_goes_elsewhere_waits_in_its_own_queue(retries: Retries) -> None:
    lane = retries.new_queue()
    led = exchange(1)
    led.detour = Detour(TARGET, Hops.start(TARGET, HEAD), lane)
    retries.hasten(led)
    assert (list(lane), len(retries), retries.waiting) == ([led], 1, 0)
    assert retries.take(lane, 1, START) == [led]
    retries.add(led, START + 1.0)
    retries.release_due(START + 1.0)
    assert (list(lane), retries.waiting) == ([led], 0)


def test_what_a_redirect_sends_to_the_same_server_goes_ahead_of_what_failed(retries: Retries) -> None:
    led = exchange(1)
    led.detour = Detour(TARGET, Hops.start(TARGET, HEAD), retries.ready)
    retries.hasten(led)
    assert (list(retries.prompt), list(retries.ready), retries.waiting) == ([led], [], 1)
    assert retries.take(retries.prompt, 1, START) == [led]
    retries.add(led, START)
    retries.release_due(START)
    assert list(retries.ready) == [led], "once it has failed there, it is a retry like any other"


def test_what_goes_at_once_goes_where_its_detour_leads_or_ahead_of_all(retries: Retries) -> None:
    lane = retries.new_queue()
    led, late, prompt = exchange(1), exchange(2), exchange(3)
    led.detour = Detour(TARGET, Hops.start(TARGET, HEAD), lane)
    retries.add(late, START)
    retries.release_due(START)
    retries.hasten(led)
    retries.hasten(prompt)
    assert (list(lane), list(retries.prompt), list(retries.ready)) == ([led], [prompt], [late])
    assert (len(retries), retries.waiting) == (3, 2)


def test_too_many_are_full(retries: Retries) -> None:
    for number in range(MOST_WAITING):
        assert not retries.is_full
        retries.add(exchange(number), START)
    assert retries.is_full
    retries.release_due(START)
    retries.take(retries.ready, 1, START)
    assert not retries.is_full


def test_too_large_are_full(retries: Retries) -> None:
    large = b" " * (MOST_WAITING_BYTES // 2)
    retries.add(exchange(1, large), START)
    assert not retries.is_full
    retries.add(exchange(2, large), START)
    assert retries.is_full
    retries.release_due(START)
    retries.take(retries.ready, 1, START)
    assert not retries.is_full


def test_the_budget_bounds_those_that_failed_unless_they_are_too_many(retries: Retries) -> None:
    for number in range(1, 51):
        retries.add(exchange(number), START)
    retries.release_due(START)
    assert retries.within_budget(99, START, fresh_sent=0) == 0
    assert retries.budget_at(START) == START + 0.1
    assert retries.within_budget(99, START, fresh_sent=40) == 10, "a quarter"
    assert retries.within_budget(99, START + 100.0, fresh_sent=40) == 50, "no more than there are"
    for number in range(MOST_WAITING):
        retries.add(exchange(number), START + 1.0)
    assert retries.within_budget(20, START + 100.0, fresh_sent=40) == 20


def test_all_can_be_given_up(retries: Retries) -> None:
    lane = retries.new_queue()
    led, near, ready, late, later = map(exchange, range(1, 6))
    led.detour = Detour(TARGET, Hops.start(TARGET, HEAD), lane)
    near.detour = Detour(TARGET, Hops.start(TARGET, HEAD), retries.ready)
    retries.add(later, 109.0)
    retries.add(late, 108.0)
    retries.add(ready, START)
    retries.release_due(START)
    retries.hasten(led)
    retries.hasten(near)
    assert numbers(retries.drain()) == [2, 3, 1, 4, 5]
    assert not retries
    assert (retries.waiting, list(lane), retries.next_at) == (0, [], float("inf"))
    assert retries.drain() == []
