from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.retry import RetryPolicy
from livepost.errors import DialError, PermanentDialError
from livepost.model import Sent

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
