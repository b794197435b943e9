from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.net.keepalive_hint import KeepAliveHint, read_keepalive_hint


def read(*values: bytes) -> tuple[float | None, int | None]:
    fields = ((b"date", b"today"), *((b"keep-alive", value) for value in values), (b"content-length", b"2"))
    hint = read_keepalive_hint(fields)
    return hint.timeout_seconds, hint.requests_left


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"timeout=5, max=100", (5.0, 100)),
        (b"timeout=65", (65.0, None)),
        (b"max=3", (None, 3)),
        (b"max=99,timeout=15", (15.0, 99)),
        (b"Timeout = 5 ,\tMAX=7", (5.0, 7)),
        (b'timeout="20"', (20.0, None)),
        (b"timeout=0", (0.0, None)),
        (b"timeout=5, extension, other=1", (5.0, None)),
        (b"timeout=999999999", (3600.0, None)),
    ],
)
def test_what_servers_say(value: bytes, said: tuple[float | None, int | None]) -> None:
    assert read(value) == said


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b",",
            b"=",
            b"timeout",
            b"timeout=",
            b"timeout=-5",
            b"timeout=5.5",
            b"timeout=5s",
            b"timeout=+5",
        ),
        *(
            b"timeout=0x10",
            b'timeout="5',
            b'timeout=5"',
            b"timeout=1234567890",
            b"timeout=\xb2",
            b"xtimeout=5",
        ),
        *(b"timeout=5;max=7", b"timeout 5", b"max=0", b"max=", b"max=-1", b"timeout=5 max=7", b"300"),
        b"timeout=5," + 300 * b" ",
    ],
)
def test_what_cannot_be_understood_is_ignored(value: bytes) -> None:
    assert read(value) == (None, None)


def test_one_parameter_that_is_garbage_does_not_spoil_the_other() -> None:
    assert read(b"timeout=soon, max=12") == (None, 12)
    assert read(b"timeout=12, max=many") == (12.0, None)


def test_of_what_is_said_twice_the_smaller_counts() -> None:
    assert read(b"timeout=5, timeout=3, max=7, max=9") == (3.0, 7)
    assert read(b"timeout=5, max=100", b"timeout=60, max=20") == (5.0, 20)


def test_an_answer_without_the_field_says_nothing() -> None:
    assert read() == (None, None)
    assert read_keepalive_hint(()) == KeepAliveHint()


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_no_bytes_break_it(values: list[bytes]) -> None:
    timeout, requests = read(*values)
    assert timeout is None or 0 <= timeout <= 3600
    assert requests is None or requests >= 1
