from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.report.wording import counted, decimal, duration, packed, size, wrapped


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 records"), (1, "1 record"), (2, "2 records"), (1234567, "1,234,567 records")]
)
def test_counted(number: int, text: str) -> None:
    assert counted(number, "record") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00001234, "0.0000123"),
        (0.2133, "0.213"),
        (0.9996, "1"),
        (1.0, "1"),
        (1.5, "1.5"),
        (9.996, "10"),
        (12.34, "12.3"),
        (99.96, "100"),
        (100, "100"),
        (4687.5, "4,688"),
        (142857.14, "142,857"),
        (-1.25, "-1.25"),
    ],
)
def test_decimal(value: float, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0000012, "0.0012 ms"),
        (0.00041, "0.41 ms"),
        (0.25, "250 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1 s"),
        (2.1, "2.1 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7530, "2 h 5 min"),
        (3600 * 1234, "1,234 h 0 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (68_123_456, "68.1 MB"),
        (2 * 10**12, "2 TB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


def test_packed_breaks_between_items() -> None:
    assert packed(["p50 1 ms", "p90 2 ms", "max 3 ms"], 20) == ["p50 1 ms, p90 2 ms,", "max 3 ms"]
    assert packed(["p50 1 ms", "p90 2 ms", "max 3 ms"], 18) == ["p50 1 ms,", "p90 2 ms, max 3 ms"]
    assert packed(["one"], 20) == ["one"]
    assert packed([], 20) == []


def test_packed_breaks_an_item_that_is_too_long_for_any_line() -> None:
    assert packed(["a", "no-one breaks at a hyphen"], 13) == ["a,", "no-one breaks", "at a hyphen"]


def test_a_number_is_kept_with_its_unit() -> None:
    text = "at least 1 handshake in 2 min 30 s (TCP in 0.36 ms)"
    assert wrapped(text, 18) == ["at least", "1 handshake in", "2 min 30 s (TCP in", "0.36 ms)"]
    assert wrapped("used again after 1 h 59 min", 18) == ["used again after", "1 h 59 min"]
    assert wrapped("13 connections", 8) == ["13 conne", "ctions"]


@given(st.lists(st.text("ab c", min_size=1, max_size=30).map(str.strip).filter(bool)), st.integers(8, 60))
def test_packed_loses_nothing_and_keeps_to_the_width(items: list[str], width: int) -> None:
    lines = packed(items, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "").replace(",", "") == "".join(items).replace(" ", "")
