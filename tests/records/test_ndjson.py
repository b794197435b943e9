from __future__ import annotations

import time
import tracemalloc
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.model import Record, Rejection
from livepost.records.ndjson import NdjsonReader
from livepost.records.validate import defect, too_long

BOM = b"\xef\xbb\xbf"
LIMIT = 24
FRAGMENTS = [
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b" ",
        b"\t",
        BOM,
        b'{"a":1}',
        b"[1, 2]",
        b'"\xc3\xa9"',
        b'"\xff"',
        b"7",
        b'{"a"',
    ),
    *(
        b"x" * (LIMIT - 1),
        b"1" * LIMIT,
        b"1" * (LIMIT + 1),
        b" " * LIMIT,
        b'"' + b"y" * LIMIT + b'"',
        b"z" * 100,
    ),
]


def read(data: bytes, cuts: list[int], limit: int = LIMIT) -> list[Record | Rejection]:
    reader = NdjsonReader("f", max_record_bytes=limit)
    results = []
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        results += reader.feed(data[start:end])
    results += reader.finish()
    assert reader.next_number == len(results) + 1
    return results


def expected(data: bytes, limit: int = LIMIT) -> list[Record | Rejection]:
    """The same from the whole file at once."""
    results: list[Record | Rejection] = []
    for line_number, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1):
        body = line.removesuffix(b"\r")
        if len(body) > limit:
            results.append(Rejection(len(results) + 1, "f", line_number, too_long(limit)))
        elif body.strip():
            reason = defect(body)
            if reason is None:
                results.append(Record(len(results) + 1, body, "f", line_number))
            else:
                results.append(Rejection(len(results) + 1, "f", line_number, reason))
    return results


def test_each_line_is_a_record_with_its_exact_bytes() -> None:
    data = b'{"name": "John",  "age": 30}\n{"b":1,"b":2.50}\r\n "x" \n'
    assert read(data, [], limit=100) == [
        Record(1, b'{"name": "John",  "age": 30}', "f", 1),
        Record(2, b'{"b":1,"b":2.50}', "f", 2),
        Record(3, b' "x" ', "f", 3),
    ]


def test_a_bad_line_costs_that_line_only() -> None:
    data = b'1\n\n{"a":\n \t\r\n"\xff"\n' + b"2" * 30 + b"\n3"
    assert read(data, []) == [
        Record(1, b"1", "f", 1),
        Rejection(2, "f", 3, "invalid JSON: Expecting value at column 6"),
        Rejection(3, "f", 5, "not UTF-8: byte 2 is 0xff"),
        Rejection(4, "f", 6, "longer than 24 bytes (--max-record-bytes)"),
        Record(5, b"3", "f", 7),
    ]


def test_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert read(BOM + b"1\n2", []) == [Record(1, b"1", "f", 1), Record(2, b"2", "f", 2)]
    assert read(BOM, []) == []
    assert [type(result) for result in read(b"1\n" + BOM + b"2", [])] == [Record, Rejection]


def test_numbers_go_on_from_the_file_before() -> None:
    reader = NdjsonReader("g", first_number=41, max_record_bytes=10)
    assert reader.feed(b"1\n?\n") == [
        Record(41, b"1", "g", 1),
        Rejection(42, "g", 2, "invalid JSON: Expecting value at column 1"),
    ]
    assert reader.next_number == 43


def test_a_line_is_given_as_soon_as_it_ends() -> None:
    reader = NdjsonReader("f", max_record_bytes=10)
    assert reader.feed(b"1\n2") == [Record(1, b"1", "f", 1)]
    assert reader.feed(b"\n") == [Record(2, b"2", "f", 2)]
    assert reader.finish() == []


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_limit_is_exact(excess: int, line_end: bytes, mark: bytes) -> None:
    data = mark + b"1" * (LIMIT + excess) + line_end
    for cuts in ([], list(range(len(data)))):
        assert [type(result) for result in read(data, cuts)] == [Rejection if excess else Record]


@pytest.mark.parametrize("data", [BOM + b'{"a":1}\r\n\r\n?\n"\xc3\xa9"', b"1\n" + b"x" * 31 + b"\r\n2\n"])
def test_every_split_in_three(data: bytes) -> None:
    for cuts in combinations(range(len(data) + 1), 2):
        assert read(data, list(cuts)) == expected(data)


@settings(deadline=None)
@given(st.data(), st.lists(st.sampled_from(FRAGMENTS), max_size=14))
def test_any_split_gives_what_the_whole_file_gives(data: st.DataObject, fragments: list[bytes]) -> None:
    content = b"".join(fragments)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=8) | st.just(list(range(len(content)))))
    assert read(content, cuts) == expected(content)


def test_a_long_line_is_not_kept() -> None:
    reader = NdjsonReader("f", max_record_bytes=64 * 1024)
    block = b"x" * 4096
    tracemalloc.start()
    try:
        results = [result for _ in range(2000) for result in reader.feed(block)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert results == [Rejection(1, "f", 1, too_long(64 * 1024))]
    assert peak < 200_000
    assert reader.feed(b"\n1\n") == [Record(2, b"1", "f", 2)]


def test_a_long_line_in_small_blocks_takes_linear_time() -> None:
    size = 1_600_000
    reader = NdjsonReader("f", max_record_bytes=size + 2)
    began = time.process_time()
    for _ in range(size // 16):
        reader.feed(b"1" * 16)
    assert reader.feed(b"\n") == [Record(1, b"1" * size, "f", 1)]
    # 0.1 s; copying the line for each block would take 80 000 MB of copying.
    assert time.process_time() - began < 4
