from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.letter import StoredLetter, is_letter, is_whole, parse_letter

LINE = (
    b'{"n":3,"source":"-","line":9,"reason":"r","status":null,"attempts":1,'
    b'"answer":"a, \\"record\\": 1","time":"t"'
)


@pytest.mark.parametrize(
    ("line", "letter"),
    [
        (LINE + b',"record":{"a":1}}', StoredLetter(3, "-", 9, b'{"a":1}')),
        (LINE + b"}", StoredLetter(3, "-", 9, None)),
        (LINE + b',"record":null}', StoredLetter(3, "-", 9, b"null")),
        (LINE + b', "record": [1, 2] }\r\n', StoredLetter(3, "-", 9, b"[1, 2]")),
        (
            b' { "n": 3, "source": "-", "line": 9, "reason": "", "record": 1 }'.lstrip(),
            StoredLetter(3, "-", 9, b"1"),
        ),
        (
            LINE + b',"record":{"record":1,"x":{"n":1,"record":2}}}',
            StoredLetter(3, "-", 9, b'{"record":1,"x":{"n":1,"record":2}}'),
        ),
        (
            LINE + b',"record":' + b"[" * 5000 + b"]" * 5000 + b"}",
            StoredLetter(3, "-", 9, b"[" * 5000 + b"]" * 5000),
        ),
        (LINE + b',"record":"\\ud800"}', StoredLetter(3, "-", 9, b'"\\ud800"')),
        (LINE + b',"record":}', None),
        (LINE + b',"record":{"a":1', None),
        (LINE, None),
        (b'{"name":"John"}', None),
        (b'{"n":1,"source":"shop"}', None),
        (b'{"n":1,"source":"shop","line":"x","reason":"r"}', None),
        (b'{"n":0,"source":"-","line":9,"reason":"r","record":1}', None),
        (b'{"n":99999999999999999999,"source":"-","line":9,"reason":"r","record":1}', None),
        (b'{"n":1,"source":"\xff","line":9,"reason":"r","record":1}', None),
        (bytes(100), None),
        (b"", None),
        (b"\n", None),
    ],
)
def test_a_line_is_a_letter_or_it_is_not(line: bytes, letter: StoredLetter | None) -> None:
    assert parse_letter(line) == letter
    assert is_letter(line) is (letter is not None)


@given(size=st.integers(0, 200))
def test_the_beginning_of_a_letter_is_never_taken_for_a_whole_one(size: int) -> None:
    for record in (b'{"a":{"b":[{}]},"c":"}"}', b'[{"a":"}"},{}]', b'"}}}"', b"1"):
        line = LINE + b',"record":' + record + b"}"
        assert is_whole(line)
        assert not is_whole(line[: min(size, len(line) - 1)])
