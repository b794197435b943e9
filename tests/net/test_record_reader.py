from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from livepost.net.record_reader import MOST_RECORDS, RecordReader


def reading(*results: bytes | OSError) -> Callable[[int], bytes]:
    """Gives these, one after the other; then there is nothing yet."""
    left = list(results)

    def read(size: int) -> bytes:
        assert size == 100
        result = left.pop(0) if left else ssl.SSLWantReadError()
        if isinstance(result, OSError):
            raise result
        return result

    return read


def test_all_records_that_have_come_are_read_at_once() -> None:
    reader = RecordReader(reading(b"one", b"two", b"three"))
    assert (reader(100), reader.is_over) == (b"onetwothree", False)
    with pytest.raises(ssl.SSLWantReadError):
        reader(100)


def test_the_end_comes_after_what_was_read_before_it() -> None:
    reader = RecordReader(reading(b"one", b"two", b""))
    assert (reader(100), reader.is_over) == (b"onetwo", True)
    assert [reader(100), reader(100)] == [b"", b""]


def test_an_end_alone_is_an_end() -> None:
    reader = RecordReader(reading(b""))
    # Nothing was kept back.
    assert (reader(100), reader.is_over) == (b"", False)


def test_an_error_comes_after_what_was_read_before_it() -> None:
    reader = RecordReader(reading(b"one", ConnectionResetError("reset")))
    assert (reader(100), reader.is_over) == (b"one", True)
    with pytest.raises(ConnectionResetError, match="reset"):
        reader(100)


def test_an_error_alone_is_raised() -> None:
    with pytest.raises(ssl.SSLEOFError):
        RecordReader(reading(ssl.SSLEOFError()))(100)


def test_others_have_a_turn_in_between() -> None:
    reader = RecordReader(reading(*[b"x"] * (2 * MOST_RECORDS)))
    first = len(reader(100))
    assert MOST_RECORDS <= first <= MOST_RECORDS + 1
    assert first + len(reader(100)) == 2 * MOST_RECORDS
