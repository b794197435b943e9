from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.config import InputOptions
from livepost.mark import IN_DOUBT, REJECTED
from livepost.model import Record, Rejection
from livepost.records.letters import LetterReader
from livepost.records.source import FileSource
from livepost.runs.letters import Letters


def letter(number: int, body: bytes, line: int = 1) -> bytes:
    return b'{"n":%d,"source":"users","line":%d,"reason":"r","record":%s}\n' % (number, line, body)


def read(*blocks: bytes, max_record_bytes: int = 1000) -> list[Record | Rejection]:
    reader = LetterReader("f", first_number=7, max_record_bytes=max_record_bytes)
    found = [item for block in blocks for item in reader.feed(block)]
    found += reader.finish()
    assert reader.next_number == 7 + len(found)
    return found


def test_a_record_is_known_by_where_it_was_first_read_and_numbered_anew() -> None:
    text = letter(30, b'{"a": 1}', 44) + b"\n" + letter(2, b"null", 3).rstrip(b"\n")
    assert read(text) == [Record(7, b'{"a": 1}', "users", 44), Record(8, b"null", "users", 3)]


def test_what_holds_no_record_is_rejected() -> None:
    text = b'{"a":1}\n{"n":1,"source":"u","line":5,"reason":"invalid JSON"}\n{\n' + letter(1, b"1")
    *rejections, record = read(text)
    assert record == Record(10, b"1", "users", 1)
    assert [rejection for rejection in rejections if isinstance(rejection, Rejection)] == [
        Rejection(7, "f", 1, "this line is no letter of a run"),
        Rejection(8, "f", 2, "this letter holds no record, because that was not fit to be sent"),
        Rejection(9, "f", 3, "invalid JSON: Expecting property name enclosed in double quotes at column 2"),
    ]


def test_the_limit_is_on_the_record_not_on_the_letter() -> None:
    fits, too_long = read(letter(1, b"1" * 20) + letter(2, b"1" * 21), max_record_bytes=20)
    assert isinstance(fits, Record)
    assert fits.body == b"1" * 20
    assert isinstance(too_long, Rejection)
    assert too_long.reason == "longer than 20 bytes (--max-record-bytes)"


@given(cut=st.integers(0, 200))
def test_blocks_may_be_cut_anywhere(cut: int) -> None:
    text = letter(1, b'{"a":1}') + letter(2, b'"x"') + letter(3, b"3")
    assert read(text[:cut], text[cut:]) == read(text)


@pytest.mark.parametrize("mark", [REJECTED, IN_DOUBT])
def test_what_a_run_wrote_gives_its_records_back(tmp_path: Path, mark: int) -> None:
    records = [Record(number, b'{"id": %d, "n": 1.10}' % number, "users", 3 * number) for number in (4, 9)]
    letters = Letters(tmp_path)
    # As long as an answer is ever kept, and longer still when it is escaped.
    for record in records:
        letters.write(mark, record, "status 422", attempts=1, status=422, answer=b"\x01" * 10_000)
    letters.close()
    (path,) = tmp_path.iterdir()
    source = FileSource([str(path)], InputOptions(input_format="letters", max_record_bytes=40))
    assert [item for batch in source.batches() for item in batch] == [
        Record(1, b'{"id": 4, "n": 1.10}', "users", 12),
        Record(2, b'{"id": 9, "n": 1.10}', "users", 27),
    ]
