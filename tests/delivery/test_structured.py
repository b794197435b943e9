from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.structured import parse_list


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b'"default";r=50;t=30', [(b'"default"', {b"r": b"50", b"t": b"30"})]),
        (b'"a"; r=1 ;t=2 ,  "b";r=3', [(b'"a"', {b"r": b"1", b"t": b"2"}), (b'"b"', {b"r": b"3"})]),
        (b'"a, b;r=9";r=1', [(b'"a, b;r=9"', {b"r": b"1"})]),
        (rb'"a\"b";r=1', [(rb'"a\"b"', {b"r": b"1"})]),
        (b"token;flag;r=1;r=2", [(b"token", {b"flag": b"?1", b"r": b"2"})]),
        (b'"a";pk=:cHNzdA==:;w=1.5', [(b'"a"', {b"pk": b":cHNzdA==:", b"w": b"1.5"})]),
        (b"1, -2.5, ?0, @1700000000", [(b"1", {}), (b"-2.5", {}), (b"?0", {}), (b"@1700000000", {})]),
    ],
)
def test_lists(value: bytes, members: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    assert parse_list(value) == members


@pytest.mark.parametrize(
    "value",
    [
        b",",
        b'"a",',
        b'"a" "b"',
        b'"a";',
        b'"a";R=1',
        b'"a";r=',
        b'"a";r=1x',
        b'"a',
        b'"a";r=1 x',
        b"(1 2)",
        b"limit=100, remaining=50",
        b"\xff",
    ],
)
def test_one_malformed_member_makes_it_no_list(value: bytes) -> None:
    assert parse_list(value) == []


@given(st.binary(max_size=40) | st.text('"a;=,r1t ?:@*\\-.', max_size=40).map(str.encode))
def test_anything_is_read_or_refused(value: bytes) -> None:
    for item, parameters in parse_list(value):
        assert item
        assert all(key and text for key, text in parameters.items())


def test_a_long_field_takes_no_longer_than_its_length() -> None:
    assert parse_list(b'"a"' + b";r=1" * 15_000 + b"!") == []
    assert parse_list(b" " * 60_000 + b'"a"' + b" " * 60_000 + b"!") == []
    assert len(parse_list(b",".join([b'"a";r=1'] * 8_000))) == 8_000
