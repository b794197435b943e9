"""The schedule gives no more than the brake and the rate allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from schedule_world import LONGEST, FakeObserver, FakeSupply, World, record

from livepost.delivery.retry import RetryPolicy
from livepost.errors import DestinationError
from livepost.model import Sent, State
from livepost.policy import PaceOptions
from livepost.wire.message import Exchange


def test_a_brake_pauses_everything_and_reopens_with_one_probe() -> None:
    world = World(FakeSupply(*map(record, range(1, 10)), ended=False))
    exchanges = world.schedule.pull(4, world.now)
    world.answer(exchanges[0], 503)
    assert world.schedule.waiting == 0
    world.pull_nothing()
    assert world.until_waiting() == pytest.approx(0.5)
    assert world.schedule.waiting == 1, "one probe"
    probe = world.pull()
    assert probe.record.number == 5, "not the record that has failed"
    assert world.schedule.waiting == 0
    world.pull_nothing()
    world.answer(probe)
    assert world.schedule.waiting == 2, "two once it has worked"
    assert world.reminders == [pytest.approx(world.now + 0.001)], "for connections that wait without work"
    more = world.schedule.pull(4, world.now)
    assert [exchange.record.number for exchange in more] == [6, 7]
    world.answer(more[0])
    assert world.schedule.waiting == 2


def test_a_record_that_has_failed_probes_only_if_there_is_no_other() -> None:
    world = World(FakeSupply(record(1), record(2), ended=False))
    first, second = world.pull(), world.pull()
    world.answer(first, 503)
    world.answer(second, 201)
    world.until_waiting()
    assert world.pull() is first


def test_refusals_during_an_outage_wait_for_the_brake() -> None:
    world = World(FakeSupply(record(1), record(2)))
    first, second = world.pull(), world.pull()
    world.answer(first, 503)
    world.fail(second, Sent.REFUSED)
    world.pull_nothing()
    assert world.until_waiting() > 0.25


def test_an_outage_uses_up_no_tries() -> None:
    world = World(
        FakeSupply(record(1)),
        RetryPolicy(attempts_per_record=3, uniform=lambda low, high: high),
        pace=PaceOptions(start_timeout=None),
    )
    for _ in range(50):
        world.answer(world.pull(), 503)
        world.until_waiting()
    exchange = world.pull()
    assert (exchange.attempts, exchange.tries) == (51, 1)
    world.answer(exchange)
    assert world.observer.states == {State.DELIVERED: 1}


def test_the_end_of_patience_ends_the_run() -> None:
    world = World(FakeSupply(*map(record, range(1, 10))), pace=PaceOptions(give_up_after=10.0))
    world.answer(world.pull())
    while not world.errors:
        if world.schedule.waiting:
            world.answer(world.pull(), 503)
        else:
            world.until_reminded()
    assert world.now == pytest.approx(110.0, abs=0.01)
    assert str(world.errors[0]) == "the server has taken nothing for 10 s: status 503"
    assert "--give-up-after" in world.errors[0].hint
    assert isinstance(world.errors[0], DestinationError)
    assert world.finishes == 1
    assert world.observer.states == {State.DELIVERED: 1, State.UNSENT: 8}


def test_a_dial_that_failed_pauses_all_and_says_when_the_next_may_be() -> None:
    world = World(FakeSupply(record(1)))
    assert world.schedule.waiting == 1
    assert world.schedule.dial_failed(world.now) == pytest.approx(0.5)
    assert world.schedule.waiting == 0
    assert world.until_reminded() == pytest.approx(0.5)
    assert world.schedule.waiting == 1
    assert world.schedule.dial_failed(world.now) == pytest.approx(1.0), "that dial was the probe"
    world.until_reminded()
    world.answer(world.pull())
    assert world.finishes == 1


def test_dials_that_fail_too_long_are_given_up() -> None:
    world = World(FakeSupply(record(1)), pace=PaceOptions(start_timeout=3.0))
    delays = []
    while (delay := world.schedule.dial_failed(world.now)) is not None:
        delays.append(delay)
        world.advance(delay)
    assert delays == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(1.5)]
    assert world.errors == [], "whoever dials knows why, and says so"


def test_retry_after_slows_the_whole_destination() -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    world.answer(world.pull(), 503, (b"retry-after", b"20"))
    assert world.until_waiting() == pytest.approx(22.0), "as asked, and up to a tenth more"
    assert world.pull_numbers(4) == [2]


@pytest.mark.parametrize("status", [201, 404])
def test_a_quota_that_is_used_up_is_a_pause(status: int) -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    world.answer(world.pull(), status, (b"ratelimit", b'"a";r=0;t=30'))
    assert world.schedule.waiting == 0
    assert world.until_reminded() == pytest.approx(33.0)
    assert world.pull_numbers(4) == [2]


def test_a_quota_slows_the_requests_while_it_lasts() -> None:
    world = World(FakeSupply(*map(record, range(1, 100))))
    quota = (b"ratelimit-policy", b'"a";q=20;w=10'), (b"ratelimit", b'"a";r=5;t=10')
    world.answer(world.pull(), 201, *quota)
    numbers = []
    for _ in range(4):
        assert world.until_waiting() == pytest.approx(2.0)
        numbers += world.pull_numbers(9)
    assert numbers == [2, 3, 4, 5]
    assert world.until_waiting() == pytest.approx(2.0)
    assert len(world.pull_numbers(9)) == 9, "the ten seconds are over"


def test_a_rate_is_kept_and_the_requests_are_evenly_spread() -> None:
    world = World(FakeSupply(*map(record, range(1, 1000))), pace=PaceOptions(rate="50/s"))
    pulled = [(world.now, len(world.schedule.pull(100, world.now)))]
    while world.now < 110.0:
        world.until_reminded()
        pulled.append((world.now, len(world.schedule.pull(100, world.now))))
    assert pulled[0] == (100.0, 5), "a burst of a tenth of a second"
    assert {count for _, count in pulled[1:]} == {1}
    assert sum(count for _, count in pulled) == pytest.approx(505, abs=1)


def test_a_rate_that_nothing_waits_for_wakes_nobody() -> None:
    world = World(FakeSupply(record(1), ended=False), pace=PaceOptions(rate="2/s"))
    world.answer(world.pull())
    assert world.reminders == [pytest.approx(100.5)], "that there is a token again"
    world.until_reminded()
    world.pull_nothing()
    assert world.reminders == []
    world.now += 60.0
    world.arrive(record(2))
    assert world.schedule.waiting == 1
    assert world.pull().record.number == 2


def test_after_the_end_there_are_no_reminders() -> None:
    world = World(FakeSupply(record(1)), pace=PaceOptions(rate="2/s"))
    world.answer(world.pull())
    assert world.finishes == 1
    world.schedule.release_due(world.now)
    world.reminders.clear()
    world.schedule.release_due(world.now + 0.1)
    world.pull_nothing()
    assert world.reminders == []


def test_the_order_is_slot_then_rate_then_attempt_then_release_then_wait() -> None:
    """Whoever waits to be tried again holds no slot and no token; a rate is asked only with a slot."""
    log: list[str] = []
    world = World(
        FakeSupply(record(1), record(2)),
        LONGEST,
        FakeObserver(lambda: log.append("attempt ended")),
        pace=PaceOptions(rate="1/s"),
    )
    allow = world.policies.gate.allow
    add = world.policies.retries.add

    def allowing(now: float, wanted: int) -> int:
        granted = allow(now, wanted)
        log.append(f"slot free, rate asked: {granted} of {wanted}")
        return granted

    def adding(exchange: Exchange, at: float) -> None:
        log.append("waits")
        add(exchange, at)

    world.schedule._gate = SpiedGate(world.policies.gate, allowing)  # type: ignore[assignment]
    world.schedule._retries = SpiedRetries(world.policies.retries, adding)  # type: ignore[assignment]
    exchange = world.pull()
    log.append(f"attempt {exchange.attempts} of {exchange.record.number}")
    world.postpone(exchange)
    in_flight = world.schedule._in_flight
    log.append(f"released: {in_flight} in flight")
    world.pull_nothing()
    world.advance(1.0)
    log.append(f"attempt of {world.pull().record.number}")
    assert log == [
        "slot free, rate asked: 1 of 1",
        "attempt 1 of 1",
        "attempt ended",
        "waits",
        "released: 0 in flight",
        "slot free, rate asked: 0 of 1",
        "slot free, rate asked: 1 of 1",
        "attempt of 1",
    ]


class Spied:
    """Passes everything on but one call."""

    def __init__(self, spied: Any, call: Callable[..., Any]) -> None:
        self._spied = spied
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spied, name)

    def __len__(self) -> int:
        return len(self._spied)


class SpiedGate(Spied):
    def allow(self, now: float, wanted: int) -> int:
        return int(self._call(now, wanted))


class SpiedRetries(Spied):
    def add(self, exchange: Exchange, at: float) -> None:
        self._call(exchange, at)
