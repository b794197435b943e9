from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.json_pointer import JsonPointer, canonical
from livepost.errors import ConfigurationError

RFC_6901 = b"""{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
 "i\\\\j": 5, "k\\"l": 6, " ": 7, "m~n": 8}"""


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/foo", b'["bar","baz"]'),
        ("/foo/0", b'"bar"'),
        ("/", b"0"),
        ("/a~1b", b"1e0"),
        ("/c%d", b"2e0"),
        ("/e^f", b"3e0"),
        ("/g|h", b"4e0"),
        ("/i\\j", b"5e0"),
        ('/k"l', b"6e0"),
        ("/ ", b"7e0"),
        ("/m~0n", b"8e0"),
    ],
)
def test_the_examples_of_the_rfc(pointer: str, value: bytes) -> None:
    assert JsonPointer(pointer).find(RFC_6901) == value


@pytest.mark.parametrize(
    ("pointer", "document"),
    [
        ("/a", b"{}"),
        ("/a", b"[1]"),
        ("/a/b", b'{"a":1}'),
        ("/a/b", b'{"a":"b"}'),
        ("/2", b"[0,1]"),
        ("/-", b"[0,1]"),
        ("/01", b"[0,1]"),
        ("/-1", b"[0,1]"),
        ("/9999999999999999999999", b"[0,1]"),
        ("/a", b""),
        ("/a", b'{"a":'),
        ("/a", b"\xff"),
        ("/a/0", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_what_is_missing_is_none(pointer: str, document: bytes) -> None:
    assert JsonPointer(pointer).find(document) is None


def test_null_is_a_value() -> None:
    assert JsonPointer("/a").find(b'{"a": null}') == b"null"
    assert JsonPointer("/a").find(b'{"a": "null"}') == b'"null"'


def test_the_last_of_two_members_of_one_name_counts() -> None:
    assert JsonPointer("/a").find(b'{"a":1,"a":2}') == b"2e0"


def test_the_empty_pointer_is_the_whole_record() -> None:
    assert JsonPointer("").find(b' {"b":[1,{}],"a":null} ') == b'{"a":null,"b":[1e0,{}]}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"1.0"),
        (b"1", b"10e-1"),
        (b"1", b"0.1E+1"),
        (b"100", b"1e2"),
        (b"0", b"-0.0e7"),
        (b"-1.50", b"-15E-1"),
        (b'"A"', b'"\\u0041"'),
        ('"é"'.encode(), b'"\\u00e9"'),
        (b'"/"', b'"\\/"'),
        (b'{"a":1,"b":[2]}', b'{ "b" : [ 2.0 ], "a" : 1 }'),
        (b"1e99999999999999999999999", b"1e99999999999999999999999"),
    ],
)
def test_these_are_the_same(one: bytes, other: bytes) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b'"1"'),
        (b"1", b"-1"),
        (b"1", b"10"),
        (b"true", b'"true"'),
        (b"0", b"false"),
        (b"null", b"false"),
        (b"9007199254740993", b"9007199254740992"),
        (b"0.1", b"0.10000000000000001"),
        (b"[1,2]", b"[2,1]"),
        (b"[[1],2]", b"[1,[2]]"),
        (b'"a"', b'"A"'),
        (b"{}", b"[]"),
    ],
)
def test_these_are_not(one: bytes, other: bytes) -> None:
    assert canonical(one) != canonical(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON)
def test_two_values_are_the_same_if_they_are_as_json(one: Any, other: Any) -> None:
    def plain(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    spelled = canonical(json.dumps(one, indent=1, ensure_ascii=True).encode())
    assert spelled == canonical(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode())
    assert (spelled == canonical(json.dumps(other).encode())) is (plain(one) == plain(other))
    assert canonical(spelled) == spelled


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_are_compared_by_value(one: Decimal, other: Decimal) -> None:
    assert (canonical(str(one).encode()) == canonical(str(other).encode())) is (one == other)


@given(st.lists(st.text(max_size=5), max_size=4), JSON)
def test_what_is_put_at_a_pointer_is_found_there(path: list[str], value: Any) -> None:
    document = value
    for name in reversed(path):
        document = {name: document, "other" + name: 1}
    pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)
    found = JsonPointer(pointer).find(json.dumps(document).encode())
    assert found == canonical(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("id", "begin it with a slash: /id"),
        ("user.id", "begin it with a slash: /user/id"),
        ("us:p.w@api", "begin it with a slash: ...@api"),
        ("/a~b", "write ~ within a name as ~0, and / as ~1"),
        ("/a~", "write ~ within a name as ~0, and / as ~1"),
    ],
)
def test_what_is_no_pointer_is_refused(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no JSON pointer$") as caught:
        JsonPointer(text)
    assert caught.value.hint == hint
