from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepost.runs.numbers import NumberSet

numbers = st.integers(0, 20_000) | st.integers(0, 2**62)


@given(added=st.sets(numbers), asked=st.sets(numbers))
def test_it_holds_what_was_added_and_nothing_else(added: set[int], asked: set[int]) -> None:
    found = NumberSet()
    for number in added:
        found.add(number)
    assert all(number in found for number in added)
    assert {number for number in asked if number in found} == added & asked


def test_it_takes_little_more_than_a_bit_each() -> None:
    found = NumberSet()
    for number in range(100_000):
        found.add(number)
    assert sum(map(len, found._pages.values())) <= 100_000 // 8 + 1024
    assert 100_001 not in found
