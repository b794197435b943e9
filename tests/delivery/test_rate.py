from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.rate import RateLimiter, parse_rate
from livepost.delivery.server_hints import Pace
from livepost.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("10/s", 10.0),
        ("0.5/s", 0.5),
        ("600/m", 10.0),
        ("3600/h", 1.0),
        ("86400/d", 1.0),
        ("10 / s", 10.0),
        ("100000/s", 100_000.0),
    ],
)
def test_rates(text: str, per_second: float) -> None:
    assert parse_rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["10", "10.", "0.5"])
def test_a_bare_number_is_refused_because_it_means_an_hour_to_curl(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rate(text)
    assert str(caught.value) == f"--rate {text} does not say per what"
    assert caught.value.hint == f"write {text}/s, or {text}/h if you mean it as curl does"


@pytest.mark.parametrize("text", ["", "/s", "10/", "10/w", "10/S", "-1/s", "1e3/s", "10/2s", "10/s\n", "٣/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a rate$") as caught:
        parse_rate(text)
    assert caught.value.hint == "write 10/s, 600/m, 1000/h or 5000/d"


@pytest.mark.parametrize("text", ["0/s", "0.0/d"])
def test_a_rate_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"would never send anything$"):
        parse_rate(text)


def sent(limiter: RateLimiter, seconds: float, start: float = 0.0, wanted: int = 10_000) -> list[float]:
    """When requests start if as many as possible are asked for, as soon as it is said."""
    times: list[float] = []
    now = start
    while now < start + seconds:
        times += [now] * limiter.allow(now, wanted)
        later = limiter.next_at(now)
        assert later > now
        now = later
    return times


def test_without_a_rate_there_is_no_need_to_ask() -> None:
    limiter = RateLimiter(0.0)
    assert limiter.is_unlimited
    assert limiter.allow(0.0, 5) == 5
    assert limiter.next_at(0.0) == 0.0


def test_a_low_rate_is_evenly_spread() -> None:
    times = sent(RateLimiter(0.0, 2.0), 10.0)
    assert times == pytest.approx([number / 2 for number in range(20)])


def test_a_high_rate_comes_in_steps_of_a_hundredth_of_a_second_at_most() -> None:
    times = sent(RateLimiter(0.0, 50_000.0), 2.0)
    assert len(times) == pytest.approx(2 * 50_000 + 5_000, rel=0.01)
    steps = sorted(set(times))
    assert len(steps) <= 201
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) < 0.0101


def test_what_is_saved_by_a_pause_is_a_tenth_of_a_second() -> None:
    limiter = RateLimiter(0.0, 1000.0)
    assert limiter.allow(0.0, 5000) == 100
    assert limiter.allow(3600.0, 5000) == 100


def test_what_may_start_now_need_not_be_waited_for() -> None:
    limiter = RateLimiter(0.0, 10.0)
    assert limiter.next_at(0.0) == 0.0
    assert limiter.allow(0.0, 1) == 1
    assert limiter.next_at(0.0) == limiter.next_at(0.05) == pytest.approx(0.1)
    assert limiter.next_at(5.0) == 5.0


def test_a_time_that_is_told_late_takes_nothing_away() -> None:
    """Of two that look at their clocks, the first may be the second to ask."""
    limiter = RateLimiter(0.0, 10.0)
    limiter.allow(0.0, 1)
    assert limiter.available(0.1) == 1
    assert limiter.available(0.02) == limiter.allow(0.02, 5) == 1
    assert limiter.next_at(0.1) == pytest.approx(0.2)


def test_what_did_not_start_is_given_back() -> None:
    limiter = RateLimiter(0.0, 1000.0)
    assert limiter.allow(0.0, 60) == 60
    limiter.give_back(20)
    assert limiter.allow(0.0, 500) == 60


@given(
    st.floats(0.01, 10_000.0),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 2000)), min_size=1, max_size=50),
)
def test_over_any_time_no_more_than_burst_and_rate_is_granted(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    limiter = RateLimiter(0.0, rate)
    burst = max(1.0, rate / 10)
    now = 0.0
    grants = []
    for seconds, wanted in steps:
        now += seconds
        granted = limiter.allow(now, wanted)
        assert 0 <= granted <= wanted
        grants.append((now, granted))
    for first in range(len(grants)):
        total = 0
        for at, granted in grants[first:]:
            total += granted
            assert total <= burst + rate * (at - grants[first][0]) + 0.001


def test_a_server_that_asks_for_less_gets_less_until_its_time_is_over() -> None:
    limiter = RateLimiter(0.0)
    limiter.follow(0.0, Pace(20, 10.0), in_flight=0)
    assert not limiter.is_unlimited
    times = sent(limiter, 10.0)
    assert times == pytest.approx([number / 2 for number in range(1, 20)])
    assert limiter.allow(10.0, 500) == 500
    assert limiter.is_unlimited


def test_a_server_does_not_raise_the_users_rate() -> None:
    limiter = RateLimiter(0.0, 2.0)
    limiter.follow(0.0, Pace(1_000_000, 10.0, 500_000), in_flight=0)
    assert len(sent(limiter, 10.0)) == 20
    assert limiter.allow(11.0, 500) == 1
    assert not limiter.is_unlimited


def test_the_first_half_of_a_quota_may_be_used_at_once() -> None:
    limiter = RateLimiter(0.0)
    limiter.follow(0.0, Pace(100, 50.0, at_once=50), in_flight=8)
    assert limiter.allow(0.0, 500) == 50
    assert limiter.allow(0.0, 500) == 0
    assert limiter.next_at(0.0) == pytest.approx(1.0)


def test_what_is_under_way_may_not_be_counted_yet() -> None:
    limiter = RateLimiter(0.0)
    limiter.follow(0.0, Pace(60, 50.0, at_once=50), in_flight=40)
    assert limiter.allow(0.0, 500) == 20
    limiter.follow(0.0, Pace(9, 1.0, at_once=4), in_flight=64)
    assert limiter.allow(0.0, 500) == 0


def test_the_same_said_again_grants_nothing_again_but_holds_longer() -> None:
    limiter = RateLimiter(0.0)
    limiter.follow(0.0, Pace(60, 50.0, at_once=30), in_flight=0)
    assert limiter.allow(0.0, 500) == 30
    limiter.follow(0.0, Pace(60, 50.0, at_once=30), in_flight=30)
    assert limiter.allow(0.0, 500) == 0
    limiter.follow(40.0, Pace(60, 50.0, at_once=30), in_flight=0)
    limiter.allow(60.0, 500)
    assert not limiter.is_unlimited


def test_answers_in_quick_succession_do_not_start_the_count_anew() -> None:
    limiter = RateLimiter(0.0)
    starts = 0
    for tenth in range(100):
        now = tenth / 10
        limiter.follow(now, Pace(20 - starts, 10.0 - now), in_flight=0)
        starts += limiter.allow(now, 5)
    assert 18 <= starts <= 20
