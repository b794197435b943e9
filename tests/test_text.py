from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.text import as_text, printable, without_credentials, without_surrogates


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"12345", "12345"),
        (b"123456789", "12345"),
        ("1234é".encode(), "1234"),
        ("123é5".encode(), "123é"),
        (b"\xff\xfe", "��"),
        (b"", ""),
    ],
)
def test_a_body_is_text_cut_at_the_bound(body: bytes, text: str) -> None:
    assert as_text(body, 5) == text


@given(body=st.text(), bound=st.integers(0, 20))
def test_a_cut_body_is_as_much_of_it_as_fits(body: str, bound: int) -> None:
    cut = as_text(body.encode(), bound)
    assert body.startswith(cut)
    assert len(cut.encode()) <= bound
    assert cut == body or len(body[: len(cut) + 1].encode()) > bound


def test_a_name_that_is_not_utf8_can_be_encoded() -> None:
    assert without_surrogates(os.fsdecode(b"caf\xe9.ndjson")) == "caf?.ndjson"
    assert without_surrogates("café") == "café"


def test_what_could_move_the_cursor_is_replaced() -> None:
    assert printable("a\x1b[2J\rb\x9b\u202e\n\u00e9") == "a\ufffd[2J\ufffdb\ufffd\ufffd\n\u00e9"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot read http://us:pw@api.test/: no", "cannot read ...@api.test/: no"),
        ("cannot read 'http:/us:p/w@api.test/run.json'", "cannot read '...@api.test/run.json'"),
        ("there is nothing to be done with us:p@w@api.test", "there is nothing to be done with ...@api.test"),
        ("http://token@api.test is 'http://a:b@c'", "...@api.test is '...@c'"),
        ("http://api.test:80/@me: not there", "...@me: not there"),
        ("it's --to='us:p'w@api.test'", "it's --to='...@api.test'"),
        (
            "localhost:1 refused the connection; -H @FILE, a@b",
            "localhost:1 refused the connection; -H @FILE, a@b",
        ),
    ],
)
def test_what_may_be_a_password_is_left_out(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize("word", ["a", "a:", "'", "a'", "'a:", "@'"])
def test_a_long_word_is_looked_at_once(word: str) -> None:
    # As long as the system lets an argument be; from each of its characters anew, that took 20 s.
    argument = word * (2**17 // len(word))
    began = time.process_time()
    assert without_credentials(argument) == argument
    assert time.process_time() - began < 2
