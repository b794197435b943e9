from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.budget import RetryBudget


def test_four_fresh_records_earn_one_retry() -> None:
    budget = RetryBudget(0.0, always_per_second=0.001)
    assert budget.allow(0.0, 9, fresh=3) == 0
    assert budget.allow(0.0, 9, fresh=4) == 1
    assert budget.allow(0.0, 9, fresh=4) == 0
    assert budget.allow(0.0, 9, fresh=44) == 9
    assert budget.allow(0.0, 9, fresh=44) == 1


def test_what_is_saved_is_bounded() -> None:
    budget = RetryBudget(0.0)
    assert budget.allow(0.0, 1_000_000, fresh=1_000_000) == 100
    assert budget.allow(3600.0, 1_000_000, fresh=1_000_000) == 100


def test_ten_a_second_are_always_allowed() -> None:
    budget = RetryBudget(50.0)
    assert budget.allow(50.0, 5, fresh=0) == 0
    assert budget.next_at(50.0) == pytest.approx(50.1)
    assert budget.allow(50.0999, 5, fresh=0) == 0
    assert budget.next_at(50.0999) == pytest.approx(50.1)
    assert budget.next_at(50.2) == 50.2
    assert budget.next_at(50.0999 + 0.00005) == pytest.approx(50.1)
    assert budget.allow(51.0, 20, fresh=0) == 10
    assert budget.next_at(51.0) == pytest.approx(51.1)


def test_what_was_not_sent_is_given_back() -> None:
    budget = RetryBudget(0.0)
    assert budget.allow(0.0, 3, fresh=12) == 3
    budget.give_back(2)
    assert budget.next_at(7.0) == 7.0
    assert budget.allow(0.0, 3, fresh=12) == 2


@given(
    st.lists(
        st.tuples(st.floats(0.0, 2.0), st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=60
    )
)
def test_retries_are_at_most_a_fifth_of_the_traffic_or_ten_a_second(
    steps: list[tuple[float, int, int]],
) -> None:
    budget = RetryBudget(0.0)
    now, fresh, retries = 0.0, 0, 0
    for seconds, more, wanted in steps:
        now += seconds
        fresh += more
        granted = budget.allow(now, wanted, fresh)
        assert 0 <= granted <= wanted
        retries += granted
        assert retries <= fresh / 4 + now * 10 + 1e-6
        assert now <= budget.next_at(now) <= now + 0.1 + 1e-9
