from __future__ import annotations

import json
import tracemalloc
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livepost.records.validate import defect, have_none

TOKENS = [
    *(rb'[ ] { } , : " \ \\ \n \u \ud800 \udc00 \\ud800 \uD83D\uDE00 \ud8 \x \/'.split()),
    *(b"- + . e E 0 1 12 1e9 1E400 0.5 true false null tru NaN Infinity -Infinity a \x7f".split()),
    *(b" ", b"\n", b"\t", b"\r", b"\x0c", b"\x00", b"\x1f", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *("é".encode(), "€".encode(), "😀".encode(), b'""', b'"a":', b'{"a":1}', b"[]"),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly_json(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(values), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + draw(st.sampled_from(TOKENS)) + text[position + draw(st.integers(0, 2)) :]
    return text


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


def is_json(text: bytes) -> bool:
    decoder = json.JSONDecoder(parse_constant=refuse, parse_int=str, parse_float=str)
    try:
        decoder.decode(text.decode())
    except ValueError:
        return False
    return True


@settings(deadline=None)
@given(nearly_json() | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join) | st.binary(max_size=8))
@example(b'"\\\\ud800"')
@example(b'"\\ud8zz"')
def test_agrees_with_the_standard_library(text: bytes) -> None:
    reason = defect(text)
    assert (reason is None) == is_json(text)
    assert reason is None or "\n" not in reason


@settings(deadline=None)
@given(st.lists(nearly_json() | st.lists(st.sampled_from(TOKENS), max_size=3).map(b"".join), max_size=6))
@example([b"1", b'"\xff"'])
@example(['"é"'.encode(), b"{}"])
def test_many_are_judged_as_each_is(texts: list[bytes]) -> None:
    assert have_none(texts) <= all(defect(text) is None for text in texts)
    assert have_none([text for text in texts if is_json(text) and b"\\u" not in text])


def test_nesting_too_deep_is_a_defect_among_many() -> None:
    assert not have_none([b"1", b"[" * 100_000])


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "\\ud800"}',
        b'"\\udc00\\ud800"',
        b"1" * 5000,
        b'{"a": 1, "a": 2}',
        b" 1\t\r",
        b'"\\ud800' + b"x" * 100_000 + b'"',
        "\u2028😀".encode().join([b'"', b'"']),
    ],
)
def test_unusual_but_valid(text: bytes) -> None:
    assert defect(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"name": "John" "age": 30}', "invalid JSON: Expecting ',' delimiter at column 17"),
        (b'{"name": "John', "invalid JSON: Unterminated string starting at column 10"),
        (b'"a\x01"', "invalid JSON: Invalid control character at column 3"),
        (b"[1,\n 2,\n x]", "invalid JSON: Expecting value at line 3 column 2"),
        (b"[NaN]", "invalid JSON: NaN is not a JSON number"),
        (b"[-Infinity]", "invalid JSON: -Infinity is not a JSON number"),
        (b"", "invalid JSON: Expecting value at column 1"),
        (b'{"name": "J\xf6hn"}', "not UTF-8: byte 12 is 0xf6"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8: byte 1 is 0xff"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 2 is 0xed"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 1_000_000, "nested too deeply"),
        (b'["\\ud800", ' + b"[" * 100_000, "nested too deeply"),
        (b"[" + b" " * 100_000 + b"x]", "invalid JSON: invalid character (byte 100001)"),
        (b"[" + b" " * 100_000, "invalid JSON: Input data was truncated"),
    ],
)
def test_reason(text: bytes, reason: str) -> None:
    assert defect(text) == reason


def test_a_large_defective_record_is_not_built_in_memory() -> None:
    text = b"[" + b"[]," * 500_000
    tracemalloc.start()
    try:
        assert defect(text) is not None
        assert tracemalloc.get_traced_memory()[1] < 3 * len(text)
    finally:
        tracemalloc.stop()


def test_reference_would_notice() -> None:
    examples: list[Any] = [b"[1]", b"[1", b"NaN", b'"\xff"', b'"\\ud800"']
    assert [is_json(text) for text in examples] == [True, False, False, False, True]
