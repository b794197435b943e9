"""Brake, budget, rate, back-off and hints working together, in simulated time, with expected ranges."""

from __future__ import annotations

import pytest
from delivery_simulation import Answer, Simulation, answer

from livepost.model import Sent, State
from livepost.policy import OrderOptions, PaceOptions, RetryOptions

SAFE = RetryOptions(at_least_once=True)
FIVE_MINUTES = 300.0


def healthy(now: float, number: int) -> Answer:
    return answer(201)


def test_a_healthy_destination_is_not_slowed() -> None:
    report = Simulation(healthy, records=16_000).run()
    assert report.states == {State.DELIVERED: 16_000}
    assert report.seconds == pytest.approx(20.0, abs=0.1), "16 at a time, 20 ms each"
    assert report.most_attempts == 1


def in_the_outage(now: float) -> bool:
    return 5.0 <= now < 5.0 + FIVE_MINUTES


OUTAGES: dict[str, Answer] = {
    "says 503": answer(503),
    "says 503 and when to come back": answer(503, (b"retry-after", b"20")),
    "says 429": answer(429),
}


@pytest.mark.parametrize("down", OUTAGES.values(), ids=OUTAGES.keys())
@pytest.mark.parametrize("seed", range(5))
def test_a_five_minute_outage_ends_with_every_record_delivered(down: Answer, seed: int) -> None:
    def server(now: float, number: int) -> Answer:
        return down if in_the_outage(now) else answer(201)

    report = Simulation(server, records=20_000, seed=seed).run()
    assert report.states == {State.DELIVERED: 20_000}
    # Those under way when it began, and the probes.
    assert report.sent_between(5.0, 5.0 + FIVE_MINUTES) <= 16 + 30
    assert report.sent_between(5.1, 5.0 + FIVE_MINUTES) >= 8
    # 25 s of work, the outage, and half a minute at most to notice its end.
    assert 25.0 + FIVE_MINUTES <= report.seconds <= 25.0 + FIVE_MINUTES + 32.0
    assert report.most_attempts <= 30


@pytest.mark.parametrize("seed", range(5))
def test_so_does_an_outage_in_which_no_connection_can_be_made(seed: int) -> None:
    report = Simulation(healthy, records=20_000, is_up=lambda now: not in_the_outage(now), seed=seed).run()
    assert report.states == {State.DELIVERED: 20_000}
    assert report.sent_between(5.0, 5.0 + FIVE_MINUTES) <= 16
    assert 25.0 + FIVE_MINUTES <= report.seconds <= 25.0 + FIVE_MINUTES + 32.0
    assert report.most_attempts == 2
    assert report.dials <= 16 + 30 + 16, "at first, one at a time in the outage, and again"


@pytest.mark.parametrize("seed", range(5))
def test_a_gateway_without_its_backend_puts_few_records_in_doubt(seed: int) -> None:
    def server(now: float, number: int) -> Answer:
        return answer(502) if in_the_outage(now) else answer(201)

    report = Simulation(server, records=20_000, seed=seed).run()
    assert report.states[State.IN_DOUBT] + report.states[State.DELIVERED] == 20_000
    assert 16 <= report.states[State.IN_DOUBT] <= 16 + 30
    safe = Simulation(server, records=20_000, seed=seed, retry=SAFE).run()
    assert safe.states == {State.DELIVERED: 20_000}


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_break_in_an_outage_put_few_records_in_doubt(seed: int) -> None:
    def server(now: float, number: int) -> Answer:
        return Sent.ALL if 5.0 <= now < 65.0 else answer(201)

    report = Simulation(server, records=20_000, seed=seed).run()
    assert 16 <= report.states[State.IN_DOUBT] <= 16 + 20


def test_an_outage_that_never_ends_is_given_up_in_time() -> None:
    def server(now: float, number: int) -> Answer:
        return answer(503) if now >= 5.0 else answer(201)

    report = Simulation(server, records=20_000, pace=PaceOptions(give_up_after=600.0)).run()
    assert str(report.error) == "the server has taken nothing for 600 s: status 503"
    assert report.seconds == pytest.approx(605.0, abs=0.1)
    assert report.states[State.DELIVERED] == pytest.approx(4000, abs=20)
    assert report.states[State.UNSENT] == 20_000 - report.states[State.DELIVERED]


def test_a_server_that_is_down_from_the_start_is_given_up_soon() -> None:
    report = Simulation(lambda now, number: answer(503), records=1000).run()
    assert str(report.error) == "the server took nothing within 5 s: status 503"
    assert report.seconds == pytest.approx(5.0, abs=0.1)
    assert report.states == {State.UNSENT: 1000}
    assert len(report.sent_at) <= 16 + 10


class Limited:
    """Takes so many requests a window of so many seconds, and answers 429 beyond; tells what is asked."""

    def __init__(self, limit: int, window: float, *, tells: str = "") -> None:
        self.limit = limit
        self.window = window
        self.tells = tells
        self.began = 0.0
        self.used = 0

    def __call__(self, now: float, number: int) -> Answer:
        if now >= self.began + self.window:
            self.began += (now - self.began) // self.window * self.window
            self.used = 0
        self.used += 1
        left = max(0, self.limit - self.used)
        reset = int(self.began + self.window - now) + 1
        fields = []
        if self.tells == "draft":
            fields = [
                (b"ratelimit-policy", b'"w";q=%d;w=%d' % (self.limit, self.window)),
                (b"ratelimit", b'"w";r=%d;t=%d' % (left, reset)),
            ]
        elif self.tells == "triple":
            fields = [
                (b"x-ratelimit-limit", b"%d" % self.limit),
                (b"x-ratelimit-remaining", b"%d" % left),
                (b"x-ratelimit-reset", b"%d" % (1_700_000_000 + now + reset)),
            ]
        if self.used <= self.limit:
            return answer(201, *fields)
        if self.tells == "retry-after":
            fields = [(b"retry-after", b"%d" % reset)]
        return answer(429, *fields)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tells", ["", "retry-after", "draft", "triple"])
def test_a_storm_of_429_loses_nothing(tells: str, seed: int) -> None:
    report = Simulation(Limited(100, 10.0, tells=tells), records=2000, seed=seed).run()
    assert report.states == {State.DELIVERED: 2000}
    assert report.seconds >= 180.0, "twenty windows"
    assert report.seconds <= 260.0


@pytest.mark.parametrize("tells", ["draft", "triple"])
def test_a_server_that_tells_what_is_left_hardly_has_to_refuse(tells: str) -> None:
    told = Simulation(Limited(100, 10.0, tells=tells), records=2000).run()
    untold = Simulation(Limited(100, 10.0), records=2000).run()
    assert told.answers["status_429"] <= 40
    assert untold.answers["status_429"] >= 3 * told.answers["status_429"]


def test_a_quota_that_is_large_enough_slows_nobody() -> None:
    report = Simulation(Limited(5000, 3600.0, tells="draft"), records=2000).run()
    assert report.states == {State.DELIVERED: 2000}
    assert report.seconds == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_retries_are_at_most_a_fifth_while_the_destination_answers(seed: int) -> None:
    def server(now: float, number: int) -> Answer:
        # Half of all fail, but never five in a row for long.
        return answer(500) if int(now * 1e6) % 2 and number % 3 else answer(201)

    report = Simulation(server, records=20_000, retry=SAFE, seed=seed).run()
    assert sum(report.states.values()) == 20_000
    fresh, retries = report.fresh_while_fresh, report.retries_while_fresh
    assert retries <= fresh / 4 + 10 * report.seconds
    assert retries > 0


def test_a_rate_is_kept_through_an_outage() -> None:
    def server(now: float, number: int) -> Answer:
        return answer(503) if 2.0 <= now < 12.0 else answer(201)

    report = Simulation(server, records=2000, pace=PaceOptions(rate="100/s")).run()
    assert report.states == {State.DELIVERED: 2000}
    for second in range(int(report.seconds)):
        assert report.sent_between(second, second + 1) <= 111
    assert report.seconds == pytest.approx(30.0, abs=12.0)


@pytest.mark.parametrize(("latency", "at_once"), [(0.01, 1), (1.0, 10)])
def test_a_rate_takes_as_many_connections_as_it_needs(latency: float, at_once: int) -> None:
    report = Simulation(healthy, records=100, pace=PaceOptions(rate="10/s"), latency=latency).run()
    assert report.seconds == pytest.approx(99 / 10 + latency, abs=0.1)
    assert report.most_at_once == pytest.approx(at_once, abs=1)
    assert report.dials == pytest.approx(at_once, abs=1)
    assert report.wakes <= 2 * 100 + 20, "one for each, not a tight loop"


def test_records_in_strict_order_take_one_connection_and_stay_in_order_through_an_outage() -> None:
    report = Simulation(
        healthy,
        records=500,
        is_up=lambda now: not 2.0 <= now < 12.0,
        order=OrderOptions(ordered=True),
    ).run()
    assert report.delivered == list(range(1, 501))
    assert report.most_at_once == 1
    assert report.seconds == pytest.approx(20.0, abs=5.0)


def test_keys_are_kept_in_order_and_served_at_the_same_time() -> None:
    keys = 8

    def server(now: float, number: int) -> Answer:
        return answer(503) if 2.0 <= now < 4.0 or (number % 100 == 1 and int(now * 50) % 2) else answer(201)

    report = Simulation(
        server,
        records=4000,
        body_of=lambda number: b'{"key": %d}' % (number % keys),
        order=OrderOptions(order_key="/key"),
    ).run()
    assert report.states == {State.DELIVERED: 4000}
    for key in range(keys):
        numbers = [number for number in report.delivered if number % keys == key]
        assert numbers == sorted(numbers)
    assert report.most_at_once == keys
    assert report.dials == keys, "no connection that none of them could use"


def test_a_record_that_brings_the_destination_down_each_time_ends_and_the_others_are_delivered() -> None:
    def server(now: float, number: int) -> Answer:
        return answer(503) if number == 7 else answer(201)

    report = Simulation(server, records=40_000).run()
    assert report.states == {State.DELIVERED: 39_999, State.REJECTED: 1}
    assert 11 <= report.most_attempts <= 15
    assert 50.0 <= report.seconds <= 60.0


@pytest.mark.parametrize("seed", range(5))
def test_nor_does_it_keep_the_run_from_its_end_when_it_is_alone(seed: int) -> None:
    def server(now: float, number: int) -> Answer:
        return answer(503) if number == 7 else answer(201)

    report = Simulation(server, records=4000, seed=seed).run()
    assert report.states == {State.DELIVERED: 3999, State.REJECTED: 1}
    assert report.seconds <= 200.0


def test_a_record_the_server_never_answers_ends_in_doubt_after_its_tries() -> None:
    def server(now: float, number: int) -> Answer:
        return Sent.ALL if number == 7 else answer(201)

    report = Simulation(server, records=200_000, retry=SAFE).run()
    assert report.states == {State.DELIVERED: 199_999, State.IN_DOUBT: 1}
    assert report.most_attempts == 11
