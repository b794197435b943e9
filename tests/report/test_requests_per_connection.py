from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepost.report.requests_per_connection import RequestsPerConnection


def recorded(*requests: int) -> RequestsPerConnection:
    connections = RequestsPerConnection()
    for number in requests:
        connections.record(number)
    return connections


def figures(connections: RequestsPerConnection) -> tuple[int, int, int]:
    return connections.least, connections.median, connections.most


def test_without_connections_all_are_zero() -> None:
    assert figures(recorded()) == (0, 0, 0)


def test_one_connection_is_all_three() -> None:
    assert figures(recorded(1000)) == (1000, 1000, 1000)


def test_a_connection_that_carried_nothing_counts() -> None:
    assert figures(recorded(0, 1000, 1000)) == (0, 1000, 1000)


def test_of_an_even_number_the_median_is_one_that_occurred() -> None:
    assert recorded(1000, 1, 1000, 1).median == 1
    assert recorded(1000, 1, 1000, 1, 1000).median == 1000


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=100))
def test_they_are_those_of_the_sorted_list(requests: list[int]) -> None:
    ordered = sorted(requests)
    assert figures(recorded(*requests)) == (ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1])


def test_memory_grows_with_different_numbers_only() -> None:
    connections = RequestsPerConnection()
    for _ in range(10_000):
        for number in (999, 1000):
            connections.record(number)
    assert len(connections._connections) == 2
