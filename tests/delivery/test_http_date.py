from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.http_date import parse_http_date

IN_1994 = 784_111_777.0


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_are_read(value: bytes) -> None:
    assert parse_http_date(value, 2000) == IN_1994


@pytest.mark.parametrize(
    ("year", "this_year", "expected"),
    [
        (b"94", 1994, 1994),
        (b"94", 2026, 1994),
        (b"26", 2026, 2026),
        (b"76", 2026, 2076),
        (b"77", 2026, 1977),
        (b"01", 1999, 2001),
        (b"99", 2001, 1999),
    ],
)
def test_a_year_of_two_digits_is_at_most_50_years_ahead(year: bytes, this_year: int, expected: int) -> None:
    seconds = parse_http_date(b"Sunday, 06-Nov-%b 08:49:37 GMT" % year, this_year)
    assert seconds is not None
    assert datetime.fromtimestamp(seconds, UTC).year == expected


def test_a_leap_second_is_read() -> None:
    assert parse_http_date(b"Sat, 31 Dec 2016 23:59:60 GMT", 2026) == 1_483_228_799.0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"120",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nix 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun Nov    08:49:37 1994",
        b"2026-11-22T16:00:00Z",
    ],
)
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse_http_date(value, 2026) is None


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
)
def test_every_moment_is_read_back(moment: datetime) -> None:
    value = format_datetime(moment, usegmt=True).encode()
    assert parse_http_date(value, 2026) == moment.replace(microsecond=0).timestamp()
