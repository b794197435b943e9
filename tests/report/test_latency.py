from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.report.latency import LatencyHistogram

HOURS = 36 * 3600.0


def recorded(*seconds: float) -> LatencyHistogram:
    histogram = LatencyHistogram()
    middle = len(seconds) // 2
    histogram.record(seconds[:middle])
    histogram.record(seconds[middle:])
    return histogram


def test_nothing_recorded_is_zero() -> None:
    histogram = LatencyHistogram()
    assert histogram.count == 0
    assert histogram.max == 0.0
    assert [histogram.percentile(p) for p in (0, 50, 99.9, 100)] == [0.0] * 4


@pytest.mark.parametrize("seconds", [1e-6, 3.3e-4, 0.25, 1.0, 59.9, HOURS])
def test_one_value_is_every_percentile_exactly(seconds: float) -> None:
    histogram = recorded(seconds)
    assert {histogram.percentile(p) for p in (0, 1, 50, 100)} == {seconds * 1e3}


def test_nearest_rank_of_one_to_a_hundred_milliseconds() -> None:
    histogram = recorded(*(n / 1e3 for n in range(1, 101)))
    assert histogram.count == 100
    assert histogram.percentile(50) == pytest.approx(50, rel=1 / 256)
    assert histogram.percentile(90) == pytest.approx(90, rel=1 / 256)
    assert histogram.percentile(99) == pytest.approx(99, rel=1 / 256)
    assert histogram.percentile(99.1) == 100
    assert histogram.percentile(0) == pytest.approx(1, rel=1 / 256)


@given(
    st.lists(st.floats(1e-6, HOURS), min_size=1, max_size=200),
    st.sampled_from([0, 1, 25, 50, 75, 90, 99, 99.9, 100]),
)
def test_percentiles_are_those_of_the_sorted_list(values: list[float], p: float) -> None:
    exact = sorted(values)[max(1, math.ceil(p * len(values) / 100)) - 1] * 1e3
    # A hair above 1/256, because a value is rounded to a 32-bit float before it finds its bucket.
    assert recorded(*values).percentile(p) == pytest.approx(exact, rel=1 / 255)


@given(st.lists(st.floats(1e-6, HOURS), min_size=1, max_size=200))
def test_the_maximum_is_exact_and_no_percentile_is_above_it(values: list[float]) -> None:
    histogram = recorded(*values)
    assert histogram.max == max(values) * 1e3
    ladder = [histogram.percentile(p) for p in (0, 10, 50, 99, 100)]
    assert ladder == sorted(ladder)
    assert ladder[-1] == histogram.max


@pytest.mark.parametrize("seconds", [0.0, -0.0, -1.0, math.nan, -math.inf])
def test_what_is_no_duration_counts_as_zero(seconds: float) -> None:
    histogram = recorded(0.5, seconds)
    assert histogram.count == 2
    assert histogram.percentile(50) == pytest.approx(0.0, abs=1e-9)
    assert histogram.max == 500.0


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    histogram = LatencyHistogram()
    values = [1e-6 * 1.001**n for n in range(20_000)]
    histogram.record(values)
    before = len(histogram._counts)
    histogram.record(values)
    assert histogram.count == 40_000
    assert len(histogram._counts) == before < 128 * 30


@pytest.mark.parametrize("p", [-0.1, 100.1, math.nan])
def test_a_percentile_beyond_0_to_100_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        recorded(1.0).percentile(p)


def test_the_sum_is_exact() -> None:
    histogram = LatencyHistogram()
    histogram.record((0.25, 0.5))
    histogram.record((-1.0, 2.0))
    assert histogram.total_seconds == 2.75
