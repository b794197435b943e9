from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.records.extent import Extent

texts = st.text(alphabet='a"\\[]{},\n é', max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=10,
)


def end_in_blocks(text: bytes, block_bytes: int) -> int | None:
    extent = Extent()
    for start in range(0, len(text), block_bytes):
        end = extent.end(text[start : start + block_bytes], 0)
        if end is not None:
            return start + end
    return None


@settings(deadline=None)
@given(values, st.sampled_from([b",", b"]", b" ", b"\n"]), st.integers(1, 9), st.booleans())
def test_ends_where_the_value_ends(value: object, behind: bytes, block_bytes: int, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert end_in_blocks(text + behind + text, block_bytes) == len(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b'{"a":"}"},', 9),
        (b'["\\"]"],', 7),
        (b'"\\\\",', 4),
        (b'{"a":[1},2],', 11),
        (b"12.5e3,", 6),
        (b"tru]", 3),
        (b'1"a"', 1),
        (b"1{}", 1),
        (b":}x,", 3),
        (b"[[[]", None),
        (b'"\\"', None),
        (b"{" + b'"k":"v",' * 300 + b'"k":"v"},', 8 * 300 + 9),
        (b'"' + b"\\n" * 300 + b'",', 602),
        (b'{"a":"' + b"\\n" * 300 + b'"},', 608),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 10_000])
def test_end(text: bytes, end: int | None, block_bytes: int) -> None:
    assert end_in_blocks(text, block_bytes) == end


@pytest.mark.parametrize(("text", "is_word"), [(b"12", True), (b"x", True), (b'"a', False), (b"[1", False)])
def test_only_a_word_may_end_with_the_text(text: bytes, is_word: bool) -> None:
    extent = Extent()
    assert extent.end(text, 0) is None
    assert extent.is_word is is_word


def test_begins_at_the_position() -> None:
    assert Extent().end(b'[1], {"a": 2}, 3', 5) == 13
