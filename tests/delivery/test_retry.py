from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.retry import RetryPolicy
from livepost.policy import RetryOptions

LONGEST = RetryPolicy(uniform=lambda low, high: high)
SHORTEST = RetryPolicy(uniform=lambda low, high: low)


def test_jitter_is_full_and_delays_are_bounded() -> None:
    assert [SHORTEST.delay(failures) for failures in (1, 5, 1000)] == [0.0, 0.0, 0.0]
    assert [LONGEST.delay(failures) for failures in (6, 7, 31, 10_000)] == [3.2, 5.0, 5.0, 5.0]


@given(st.integers(1, 10_000))
def test_a_random_delay_lies_within_its_bounds(failures: int) -> None:
    assert 0.0 <= RetryPolicy().delay(failures) <= min(5.0, 0.1 * 2.0 ** min(failures - 1, 30))


def test_a_redial_waits_at_least_half_of_a_time_that_grows() -> None:
    delays = range(1, 8)
    assert [LONGEST.redial_delay(failures) for failures in delays] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [SHORTEST.redial_delay(failures) for failures in delays] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]


def test_by_default_a_record_has_ten_further_tries() -> None:
    policy = RetryPolicy.of(RetryOptions(), uniform=lambda low, high: high)
    times = [policy.next_try_at(100.0, attempts, 100.0) for attempts in range(1, 12)]
    delays = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert times == [*(100.0 + delay for delay in delays), None]
    assert sum(delays) == pytest.approx(81.1)


def test_an_attempt_that_did_not_count_waits_as_after_the_first() -> None:
    assert LONGEST.next_try_at(100.0, 0, 100.0) == 100.1


def test_without_retries_nothing_is_tried_again() -> None:
    assert RetryPolicy.of(RetryOptions(retry=0)).next_try_at(100.0, 1, 100.0) is None


def test_no_try_begins_after_the_longest_time() -> None:
    policy = RetryPolicy.of(RetryOptions(retry_max_time=5.0), uniform=lambda low, high: high)
    assert policy.next_try_at(104.9, 1, 100.0) == pytest.approx(105.0)
    assert policy.next_try_at(104.91, 1, 100.0) is None
    assert policy.next_try_at(102.0, 1, 100.0, not_before=110.0) is None


def test_a_retry_after_is_a_floor_and_a_tenth_is_spread() -> None:
    assert SHORTEST.next_try_at(100.0, 1, 100.0, not_before=130.0) == 130.0
    assert LONGEST.next_try_at(100.0, 1, 100.0, not_before=130.0) == 133.0
    assert LONGEST.next_try_at(100.0, 1, 100.0, not_before=100.05) == 100.1, "back-off is later"


@given(st.integers(0, 12), st.floats(0.0, 1000.0), st.floats(0.0, 500.0))
def test_a_record_is_never_tried_before_it_may_be(attempts: int, now: float, wait: float) -> None:
    at = RetryPolicy.of(RetryOptions()).next_try_at(now, attempts, 0.0, not_before=now + wait)
    assert (at is None) is (attempts >= 11)
    if at is not None:
        assert now + wait <= at <= now + max(30.0, wait * 1.1) + 1e-6


def test_the_first_attempt_of_which_the_server_saw_nothing_is_followed_at_once() -> None:
    assert [LONGEST.next_try_at(100.0, attempts, 100.0, is_unseen=True) for attempts in (0, 1, 2, 3)] == [
        *(100.0, 100.0),
        *(100.2, 100.4),
    ]
    assert LONGEST.next_try_at(100.0, 6, 100.0, is_unseen=True) is None
    assert RetryPolicy(attempts_per_record=1).next_try_at(100.0, 1, 100.0, is_unseen=True) is None
    assert RetryPolicy(max_seconds=5.0).next_try_at(105.1, 1, 100.0, is_unseen=True) is None
    assert LONGEST.next_try_at(100.0, 1, 100.0, not_before=130.0, is_unseen=True) == 133.0
