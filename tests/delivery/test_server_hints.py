from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.server_hints import HINT_NAMES, HintReader, Pace, ServerHint
from livepost.wire.message import Fields

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"
CAP = 600.0


def hint(status: int, *lines: str, now: float = NOW) -> ServerHint | None:
    fields = tuple(
        (name.encode(), value.encode()) for name, _, value in (line.partition(": ") for line in lines)
    )
    return HintReader(CAP, lambda: now).read(status, ((b"server", b"x"), *fields))


def pause(*lines: str, status: int = 429, now: float = NOW) -> float | None:
    found = hint(status, *lines, now=now)
    return None if found is None else found.pause_seconds


def pace(*lines: str) -> Pace | None:
    found = hint(200, *lines)
    return None if found is None else found.pace


def test_a_time_of_day_is_read_anew_where_the_answer_does_not_say_when_it_was_given() -> None:
    clock = iter((NOW, NOW + 50, NOW + 70))
    reader = HintReader(CAP, lambda: next(clock))
    fields: Fields = ((b"x-ratelimit-remaining", b"0"), (b"x-ratelimit-reset", b"%d" % (NOW + 60)))
    assert [reader.read(429, fields) for _ in range(3)] == [ServerHint(60.0), ServerHint(10.0), None]


def test_most_answers_ask_for_nothing() -> None:
    assert hint(200, "content-type: text/plain", "date: " + DATE.decode()) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("0", None),
        ("601", CAP),
        ("999999999999999999", CAP),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tuesday, 14-Nov-23 22:15:20 GMT", 120.0),
        ("Tue Nov 14 22:15:20 2023", 120.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", None),
        ("Tue, 14 Nov 2123 22:13:00 GMT", CAP),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("", None),
        ("9" * 5000, None),
        ("120, 120", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert pause(f"retry-after: {value}") == seconds


@pytest.mark.parametrize("status", [403, 413, 429, 500, 503])
def test_retry_after_counts_on_every_error(status: int) -> None:
    assert pause("retry-after: 7", status=status) == 7.0


@pytest.mark.parametrize("status", [200, 202, 301, 303])
def test_retry_after_on_a_success_or_a_redirect_slows_nobody(status: int) -> None:
    assert hint(status, "retry-after: 7") is None


def test_a_date_is_measured_by_the_servers_own_clock() -> None:
    lines = ("date: " + DATE.decode(), "retry-after: Tue, 14 Nov 2023 22:15:20 GMT")
    assert pause(*lines, now=NOW + 86_400) == 120.0
    assert pause("date: today", lines[1], now=NOW + 60) == 60.0


def test_a_quota_that_is_used_up_is_a_pause() -> None:
    assert pause('ratelimit: "default";r=0;t=30', status=200) == 30.0
    assert pause("ratelimit-remaining: 0", "ratelimit-reset: 30", status=200) == 30.0
    assert pause("x-ratelimit-remaining: 0", "x-ratelimit-reset: 99999", status=200) == CAP


def test_retry_after_wins_over_a_quota() -> None:
    assert pause("retry-after: 7", 'ratelimit: "default";r=0;t=30') == 7.0
    assert pause("retry-after: never", 'ratelimit: "default";r=0;t=30') == 30.0


def test_what_is_left_is_a_pace() -> None:
    assert pace('ratelimit: "default";r=50;t=30') == Pace(50, 30.0, 0)
    assert pace("ratelimit: default; r=50; t=30") == Pace(50, 30.0, 0)


def test_a_pace_that_would_be_a_standstill_is_bounded() -> None:
    assert pace('ratelimit: "default";r=2;t=999999999') == Pace(2, 2 * CAP, 0)
    assert pace("x-ratelimit-limit: 1", "x-ratelimit-remaining: 1", "x-ratelimit-reset: 9999") == Pace(
        1, CAP, 1
    )


def test_half_of_what_a_policy_allows_may_be_used_at_once() -> None:
    policy = 'ratelimit-policy: "hour";q=1000;w=3600'
    assert pace(policy, 'ratelimit: "hour";r=900;t=1800') == Pace(900, 1800.0, 400)
    assert pace(policy, 'ratelimit: "hour";r=500;t=1800') == Pace(500, 1800.0, 0)
    assert pace(policy, 'ratelimit: "hour";r=100;t=1800') == Pace(100, 1800.0, 0)


def test_without_a_time_the_window_of_the_policy_counts() -> None:
    policy = 'ratelimit-policy: "hour";q=1000;w=3600'
    assert pace(policy, 'ratelimit: "hour";r=100') == Pace(100, 3600.0, 0)
    assert pause(policy, 'ratelimit: "hour";r=0', status=200) == pytest.approx(3.6)
    assert hint(200, 'ratelimit: "hour";r=0') is None
    assert hint(200, 'ratelimit: "hour";r=5') is None
    assert hint(200, 'ratelimit-policy: "hour";w=3600', 'ratelimit: "hour";r=0') is None
    assert hint(200, 'ratelimit-policy: "hour";q=0;w=3600', 'ratelimit: "hour";r=0') is None
    assert hint(200, 'ratelimit: "hour";t=5') is None


def test_a_policy_alone_is_a_pace() -> None:
    assert pace('ratelimit-policy: "minute";q=120;w=60, "day";q=1000000;w=86400') == Pace(120, 60.0)
    assert hint(200, 'ratelimit-policy: "minute";q=120') is None


def test_the_strictest_of_several_counts() -> None:
    policies = 'ratelimit-policy: "second";q=10;w=1, "day";q=5000;w=86400'
    assert pace(policies, 'ratelimit: "second";r=9;t=1, "day";r=100;t=1000') == Pace(100, 1000.0, 0)
    assert hint(200, policies, 'ratelimit: "second";r=0;t=1, "day";r=100;t=1000') == ServerHint(
        1.0, Pace(100, 1000.0, 0)
    )
    assert pause('ratelimit: "a";r=0;t=1, "b";r=0;t=5', status=200) == 5.0


@pytest.mark.parametrize("unit", ["content-bytes", "concurrent-requests", "cost"])
def test_quotas_that_do_not_count_requests_are_none_of_our_business(unit: str) -> None:
    policy = f'ratelimit-policy: "p";q=5;w=60;qu="{unit}"'
    assert hint(200, policy, 'ratelimit: "p";r=0;t=30') is None
    assert hint(200, policy) is None
    assert pace('ratelimit-policy: "p";q=5;w=60;qu="requests"') == Pace(5, 60.0)


def test_a_field_given_twice_is_one_list() -> None:
    assert pause('ratelimit: "a";r=0;t=1', 'ratelimit: "b";r=0;t=5', status=200) == 5.0


def test_draft_7_is_understood() -> None:
    assert pace("ratelimit: limit=100, remaining=80, reset=50") == Pace(80, 50.0, 30)
    assert pause("ratelimit: limit=100, remaining=0, reset=50", status=200) == 50.0
    assert hint(200, "ratelimit: limit=100") is None


@pytest.mark.parametrize("prefix", ["ratelimit-", "x-ratelimit-", "x-rate-limit-"])
def test_the_older_triples_are_understood(prefix: str) -> None:
    lines = (f"{prefix}limit: 100, 100;w=60", f"{prefix}remaining: 80", f"{prefix}reset: 50")
    assert pace(*lines) == Pace(80, 50.0, 30)
    assert pace(*lines[1:]) == Pace(80, 50.0, 0)
    assert hint(200, lines[0], lines[2]) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("30", 30.0),
        ("0", None),
        ("1700000030", 30.0),
        ("1700000030.5", 30.5),
        ("1700000030000", 30.0),
        ("1699999999", None),
        ("1800000000", CAP),
        ("17000000300000000", None),
        ("-1", None),
        ("2023-11-14T22:13:50Z", None),
    ],
)
def test_the_size_of_a_reset_tells_what_it_is(reset: str, seconds: float | None) -> None:
    assert pause("x-ratelimit-remaining: 0", f"x-ratelimit-reset: {reset}", status=200) == seconds


def test_a_reset_in_time_is_measured_by_the_servers_own_clock() -> None:
    lines = ("date: " + DATE.decode(), "x-ratelimit-remaining: 0", "x-ratelimit-reset: 1700000030")
    assert pause(*lines, status=200, now=NOW - 86_400) == 30.0


@pytest.mark.parametrize("remaining", ["-1", "many", "", "1e3", "9" * 16])
def test_a_count_that_is_none_is_ignored(remaining: str) -> None:
    assert hint(200, f"x-ratelimit-remaining: {remaining}", "x-ratelimit-reset: 30") is None


def test_the_same_fields_are_read_once() -> None:
    clock_was_read = 0

    def wall_clock() -> float:
        nonlocal clock_was_read
        clock_was_read += 1
        return NOW

    reader = HintReader(CAP, wall_clock)
    fields: Fields = ((b"date", DATE), (b"retry-after", b"5"))
    first = reader.read(429, fields)
    assert reader.read(429, fields) is first
    assert clock_was_read == 1
    assert reader.read(200, fields) is None
    assert reader.read(429, fields) == first
    assert reader.read(429, ((b"server", b"x"),)) is None


@given(
    st.integers(200, 599),
    st.lists(
        st.tuples(
            st.sampled_from(sorted(HINT_NAMES | {b"date"})),
            st.binary(max_size=20)
            | st.integers(0, 10**20).map(lambda number: b"%d" % number)
            | st.text('"a;=,rtqw01. ', max_size=24).map(str.encode),
        ),
        max_size=6,
    ),
)
def test_whatever_a_server_sends_the_wait_is_bounded(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    found = HintReader(CAP, lambda: NOW).read(status, tuple(fields))
    if found is None:
        return
    assert found != ServerHint()
    assert found.pause_seconds is None or 0.0 < found.pause_seconds <= CAP
    if found.pace is not None:
        assert found.pace.requests > 0
        assert found.pace.seconds > 0.0
        assert 0 <= found.pace.at_once <= found.pace.requests
        assert found.pace.seconds / max(1, found.pace.requests - found.pace.at_once) <= CAP * 1.000001
