from __future__ import annotations

import pytest
from schedule_world import DOUBT, FakeRecorder, FakeSupply, World, record

from livepost.model import Sent
from livepost.policy import OutcomeOptions, PaceOptions
from livepost.wire.machine import Failed

FOLLOWING = OutcomeOptions(location=True)


def test_a_redirect_within_the_server_is_followed_at_once_and_is_no_retry() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(*map(record, range(1, 9))), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 307, (b"location", b"/new?x=1"))
    assert recorder.text == ""
    assert world.observer.told == ["1 retried: status_307"]
    assert world.pull() is exchange, "before what is fresh, and no budget is asked"
    assert recorder.text == "F"
    assert (exchange.head.method, exchange.head.target, exchange.body) == (b"POST", b"/new?x=1", b"1")
    assert (exchange.attempts, exchange.tries) == (2, 0)
    world.fail(exchange, Sent.NOTHING)
    world.advance(1.0)
    assert world.schedule.pull(2, world.now)[0] is exchange
    assert exchange.head.target == b"/new?x=1", "it is tried again where it was led"
    world.answer(exchange)
    assert world.observer.told[1:] == ["1 retried: not_sent", "1 delivered: status 201 201"]


def test_a_redirect_to_another_server_goes_over_connections_of_its_own() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1), record(2)), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 308, (b"location", b"http://other.test:8080/api"))
    (lane,) = world.lanes.values()
    assert lane.waiting == 1
    assert world.reminders == [pytest.approx(100.001)], "so that its connections are made"
    assert world.schedule.waiting == 1, "the fresh one"
    assert world.pull_numbers(9) == [2]
    assert lane.pull(9, world.now) == [exchange]
    assert (lane.waiting, exchange.attempts, exchange.sent_at) == (0, 2, world.now)
    assert (exchange.head.authority, exchange.head.target) == (b"other.test:8080", b"/api")
    assert recorder.text == "FF"
    lane.settle([Failed(exchange, Sent.NOTHING, "reset")], world.now)
    world.advance(1.0)
    assert lane.waiting == 1
    world.schedule.stop()
    assert lane.waiting == 0
    assert lane.pull(9, world.now) == []


def test_lanes_heed_the_same_brake_and_rate() -> None:
    world = World(
        FakeSupply(*map(record, range(1, 9)), ended=False), outcome=FOLLOWING, pace=PaceOptions(rate="20/s")
    )
    first, second = world.schedule.pull(2, world.now)
    for exchange in (first, second):
        world.answer(exchange, 307, (b"location", b"http://other.test/"))
    (lane,) = world.lanes.values()
    assert lane.waiting == 0, "the burst of two is used up"
    world.advance(0.05)
    assert lane.waiting == 1
    assert lane.pull(2, world.now) == [first]
    world.answer(first, 503)
    world.advance(0.2)
    assert lane.waiting == world.schedule.waiting == 0
    world.advance(0.3)
    assert lane.waiting == world.schedule.waiting == 1
    assert lane.pull(2, world.now) == [second]
    assert lane.waiting == world.schedule.waiting == 0, "one probe for both"


def test_a_record_that_was_processed_before_its_redirect_is_never_rejected() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1)), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 303, (b"location", b"/result"))
    assert recorder.text == "F"
    assert world.pull() is exchange
    assert (exchange.head.method, exchange.body) == (b"GET", b"")
    world.answer(exchange, 404)
    assert world.observer.told[1:] == [f"1 in_doubt: status 404, {DOUBT} 404"]


@pytest.mark.parametrize(
    ("status", "location", "reason"),
    [
        (307, b"/", "the redirects go round in a circle"),
        (302, b"/new", "the redirect would turn the POST into a GET without the record"),
        (301, b"/new", "the redirect would turn the POST into a GET without the record"),
        (308, b"ftp://a", "the redirect's address cannot be understood"),
    ],
)
def test_a_redirect_that_cannot_be_followed_rejects(status: int, location: bytes, reason: str) -> None:
    world = World(FakeSupply(record(1)), outcome=FOLLOWING)
    world.answer(world.pull(), status, (b"location", location))
    assert world.observer.told == [f"1 rejected: status {status}: {reason} {status}"]
    assert world.finishes == 1
