from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.retry import RetryPolicy
from livepost.errors import DialError, PermanentDialError
from livepost.model import Sent
from livepost.policy import RetryOptions

LONGEST = RetryPolicy(uniform=lambda low, high: high)
SHORTEST = RetryPolicy(uniform=lambda low, high: low)


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_the_server_cannot_have_processed_is_tried_up_to_six_times(sent: Sent) -> None:
    delays = [LONGEST.exchange_delay(attempts, sent) for attempts in range(1, 8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, None, None]


@pytest.mark.parametrize("sent", [Sent.SOME, Sent.ALL])
def test_what_may_have_been_processed_is_never_tried_again(sent: Sent) -> None:
    assert [LONGEST.exchange_delay(attempts, sent) for attempts in range(1, 8)] == [None] * 7


def test_every_way_of_being_sent_is_decided() -> None:
    repeated = {sent for sent in Sent if SHORTEST.exchange_delay(1, sent) is not None}
    assert repeated == {Sent.NOTHING, Sent.REFUSED}


def test_jitter_is_full_and_delays_are_bounded() -> None:
    assert [SHORTEST.delay(failures) for failures in (1, 5, 1000)] == [0.0, 0.0, 0.0]
    assert [LONGEST.delay(failures) for failures in (6, 7, 31, 10_000)] == [3.2, 5.0, 5.0, 5.0]


@given(st.integers(1, 10_000))
def test_a_random_delay_lies_within_its_bounds(failures: int) -> None:
    assert 0.0 <= RetryPolicy().delay(failures) <= min(5.0, 0.1 * 2.0 ** min(failures - 1, 30))


def test_a_target_that_was_never_reached_is_dialled_five_times() -> None:
    error = DialError("refused")
    delays = [LONGEST.redial_delay(error, failures, was_reached=False) for failures in range(1, 7)]
    assert delays == [0.2, 0.4, 0.8, 1.6, None, None]


def test_a_target_that_was_reached_before_is_dialled_for_about_half_a_minute() -> None:
    error = DialError("refused")
    delays = [LONGEST.redial_delay(error, failures, was_reached=True) for failures in range(1, 14)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, None, None]
    assert sum(delay for delay in delays if delay) == pytest.approx(36.2)


def test_a_redial_waits_at_least_half() -> None:
    error = DialError("refused")
    delays = [SHORTEST.redial_delay(error, failures, was_reached=True) for failures in range(1, 8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]


@pytest.mark.parametrize("was_reached", [True, False])
def test_what_will_not_change_is_not_dialled_again(was_reached: bool) -> None:
    error = PermanentDialError("no such host")
    assert LONGEST.redial_delay(error, 1, was_reached=was_reached) is None


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
