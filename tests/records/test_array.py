from __future__ import annotations

import json
import time
import tracemalloc
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.model import Record, Rejection
from livepost.records.array import JsonReader
from livepost.records.validate import defect, too_long

BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"
LIMIT = 24
CUT = "invalid JSON: the file ends in the middle of this record"
OPEN = "invalid JSON: the file ends before its array does"
BEHIND = "not read from here on: the JSON value has ended before"
HINT = "; looks like one record per line: use --input-format ndjson"
NO_COMMA = "invalid JSON: no comma before this value"

FRAGMENTS = [
    *(
        b"[",
        b"]",
        b",",
        b"{",
        b"}",
        b":",
        b'"',
        b"\\",
        b" ",
        b"\n",
        b"1",
        b"tru",
        b"null",
        b'"a"',
        b'"\xff"',
        BOM,
    ),
    *(b'{"a":1}', b'{"b":[1,"]\\""]}', b"[[],[2]]", b'"' + b"x" * LIMIT + b'"', b"1" * LIMIT, b" " * 30),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)


def read(data: bytes, cuts: list[int], limit: int = LIMIT) -> list[Record | Rejection]:
    reader = JsonReader("f", max_record_bytes=limit)
    results = []
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        results += reader.feed(data[start:end])
    results += reader.finish()
    assert reader.stopped
    assert reader.next_number == len(results) + 1
    return results


class WholeFile:
    """The same, simply, with the whole document at hand."""

    def __init__(self, data: bytes, limit: int) -> None:
        self.text = data.removeprefix(BOM)
        self.limit = limit
        self.results: list[Record | Rejection] = []

    def reject(self, position: int, reason: str) -> None:
        line = self.text.count(b"\n", 0, position) + 1
        self.results.append(Rejection(len(self.results) + 1, "f", line, reason))

    def take(self, start: int, end: int, reason: str | None = None) -> None:
        body = self.text[start:end]
        reason = too_long(self.limit) if len(body) > self.limit else defect(body) or reason
        if reason:
            self.reject(start, reason)
        else:
            line = self.text.count(b"\n", 0, start) + 1
            self.results.append(Record(len(self.results) + 1, body, "f", line))

    def space(self, position: int) -> int:
        while position < len(self.text) and self.text[position] in SPACE:
            position += 1
        return position

    def string(self, position: int) -> int | None:
        position += 1
        while position < len(self.text):
            if self.text[position] == ord('"'):
                return position + 1
            position += 2 if self.text[position] == ord("\\") else 1
        return None

    def value(self, position: int) -> int | None:
        text = self.text
        if text[position] == ord('"'):
            return self.string(position)
        if text[position] not in b"[{":
            position += 1
            while position < len(text) and text[position] not in SPACE + b',[]{"':
                position += 1
            return position if position < len(text) else None
        depth = 0
        while position < len(text):
            if text[position] == ord('"'):
                end = self.string(position)
                if end is None:
                    return None
                position = end
                continue
            depth += (text[position] in b"[{") - (text[position] in b"]}")
            position += 1
            if depth == 0:
                return position
        return None

    def read(self) -> list[Record | Rejection]:
        position = self.space(0)
        if position == len(self.text):
            return []
        if self.text[position] != ord("["):
            end = self.value(position)
            if end is None and self.text[position] in b'{"':
                self.reject(position, CUT)
                return self.results
            end = len(self.text) if end is None else end
            self.take(position, end)
        else:
            end = self.array(position + 1)
        if end is not None and self.space(end) < len(self.text):
            behind = self.space(end)
            self.reject(behind, BEHIND + (HINT if b"\n" in self.text[end:behind] else ""))
        return self.results

    def array(self, position: int) -> int | None:
        before = "["
        while (position := self.space(position)) < len(self.text):
            byte = self.text[position : position + 1]
            if byte == b"]":
                if before == ",":
                    self.reject(position, "invalid JSON: no value after the last comma")
                return position + 1
            if byte == b",":
                if before != "value":
                    self.reject(position, "invalid JSON: no value before this comma")
                before = ","
                position += 1
                continue
            end = self.value(position)
            if end is None:
                self.reject(position, CUT)
                return None
            self.take(position, end, NO_COMMA if before == "value" else None)
            before = "value"
            position = end
        self.reject(position, OPEN)
        return None


def expected(data: bytes, limit: int = LIMIT) -> list[Record | Rejection]:
    return WholeFile(data, limit).read()


def test_elements_pass_through_as_their_exact_bytes() -> None:
    data = b'[\n  {"name": "John",  "age": 3.0},\n  {"b":1,\n   "b":2}\n, [ ] ,"x",\n-0]\n'
    assert read(data, [], limit=100) == [
        Record(1, b'{"name": "John",  "age": 3.0}', "f", 2),
        Record(2, b'{"b":1,\n   "b":2}', "f", 3),
        Record(3, b"[ ]", "f", 5),
        Record(4, b'"x"', "f", 5),
        Record(5, b"-0", "f", 6),
    ]


@pytest.mark.parametrize("document", [b'{"a": [1]}', b'"a"', b"12", b"true", b'\n {"a": 1} \n'])
def test_a_document_without_an_array_is_one_record(document: bytes) -> None:
    line = document[:1].count(b"\n") + 1
    assert read(document, []) == [Record(1, document.strip(), "f", line)]
    assert read(BOM + document, list(range(len(document) + 3))) == [Record(1, document.strip(), "f", line)]


@pytest.mark.parametrize("document", [b"", b" \n", BOM, b"[]", b" [ \n ] \n", BOM + b"[]"])
def test_nothing_in_it(document: bytes) -> None:
    assert read(document, []) == []
    assert read(document, list(range(len(document)))) == []


@pytest.mark.parametrize(
    ("document", "results"),
    [
        (b"[1, tru, 3]", [b"1", "invalid JSON: Expecting value at column 1", b"3"]),
        (b'["\xff", 2]', ["not UTF-8: byte 2 is 0xff", b"2"]),
        (b'[1, {"a":[2}], 3]', [b"1", "invalid JSON: Expecting ',' delimiter at column 8", b"3"]),
        (b'["' + b"x" * 23 + b'", 2]', [too_long(24), b"2"]),
        (b"[1 2, 3]", [b"1", NO_COMMA, b"3"]),
        (b"[1, , 3]", [b"1", "invalid JSON: no value before this comma", b"3"]),
        (b"[, 2]", ["invalid JSON: no value before this comma", b"2"]),
        (b"[1, 2,]", [b"1", b"2", "invalid JSON: no value after the last comma"]),
        (b"[1, 2", [b"1", CUT]),
        (b"[1, 2 ", [b"1", b"2", OPEN]),
        (b"[1, 2, ", [b"1", b"2", OPEN]),
        (b"[", [OPEN]),
        (b'[1, {"a": 2}, {"a":', [b"1", b'{"a": 2}', CUT]),
        (b'[1, "a', [b"1", CUT]),
        (b'{"a":', [CUT]),
        (b"\xef\xbb", ["not UTF-8: byte 1 is 0xef"]),
        (b"nul", ["invalid JSON: Expecting value at column 1"]),
        (b"]", ["invalid JSON: Expecting value at column 1"]),
        (b"[1] 2, 3", [b"1", BEHIND]),
        (b'{"a":1}{"a":2}', [b'{"a":1}', BEHIND]),
        (b'{"a":1}\n{"a":2}\n{"a":3}\n', [b'{"a":1}', BEHIND + HINT]),
        (b"[1]\n[2]\n", [b"1", BEHIND + HINT]),
    ],
)
def test_what_is_wrong_costs_no_more_than_it_must(document: bytes, results: list[bytes | str]) -> None:
    for cuts in ([], list(range(len(document)))):
        found = read(document, cuts)
        assert [result.body if isinstance(result, Record) else result.reason for result in found] == results


def test_a_rejection_names_the_line_on_which_it_starts() -> None:
    assert read(b'[1,\n\n {"a"\n :},\n2', []) == [
        Record(1, b"1", "f", 1),
        Rejection(2, "f", 3, "invalid JSON: Expecting value at line 2 column 3"),
        Rejection(3, "f", 5, CUT),
    ]


def test_numbers_go_on_from_the_file_before() -> None:
    reader = JsonReader("g", first_number=41, max_record_bytes=10)
    assert reader.feed(b"[1,2") == [Record(41, b"1", "g", 1)]
    assert (reader.next_number, reader.stopped) == (42, False)
    assert reader.feed(b"]x") == [Record(42, b"2", "g", 1), Rejection(43, "g", 1, BEHIND)]
    assert reader.stopped
    assert reader.feed(b"[3]") == []
    assert reader.finish() == []


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize(
    "around", [(b"[", b"]"), (b"[", b" \n,1]"), (b"", b""), (BOM, b"\n"), (b"[1, ", b",1]")]
)
def test_limit_is_exact(excess: int, around: tuple[bytes, bytes]) -> None:
    data = around[0] + b"1" * (LIMIT + excess) + around[1]
    for cuts in ([], list(range(len(data)))):
        assert sum(isinstance(result, Rejection) for result in read(data, cuts)) == excess


@pytest.mark.parametrize(
    "data", [BOM + b'[{"a":"]\\""},\n [1 ] ,tru ]', b'{"a":1}\n{"a":2}', b'[1,2 3,"\\\\",,]x']
)
def test_every_split_in_three(data: bytes) -> None:
    for cuts in combinations(range(len(data) + 1), 2):
        assert read(data, list(cuts)) == expected(data)


@settings(deadline=None)
@given(st.data(), st.booleans(), st.lists(st.sampled_from(FRAGMENTS), max_size=14))
def test_any_split_gives_what_the_whole_file_gives(
    data: st.DataObject, array: bool, parts: list[bytes]
) -> None:
    content = b"[" * array + b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=8) | st.just(list(range(len(content)))))
    assert read(content, cuts) == expected(content)


@settings(deadline=None)
@given(st.lists(values, max_size=6), st.sampled_from([None, 0, 2]), st.booleans(), st.integers(1, 40))
def test_any_valid_array(elements: list[object], indent: int | None, escaped: bool, block_bytes: int) -> None:
    document = json.dumps(elements, indent=indent, ensure_ascii=escaped).encode()
    results = read(document, list(range(0, len(document), block_bytes)), limit=10_000)
    bodies = [result.body for result in results if isinstance(result, Record)]
    assert [json.loads(body) for body in bodies] == elements
    position = 0
    for result, body in zip(results, bodies, strict=True):
        position = document.index(body, position)
        assert result.line == document.count(b"\n", 0, position) + 1
        position += len(body)


def peak_bytes(blocks: list[bytes], limit: int) -> tuple[int, int]:
    """Peak of the memory used, and how many results there were."""
    reader = JsonReader("f", max_record_bytes=limit)
    count = 0
    tracemalloc.start()
    try:
        for block in blocks:
            count += len(reader.feed(block))
        return tracemalloc.get_traced_memory()[1], count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("filling", [b"x", b"\\n", b" [", b'"a"'])
def test_a_long_element_is_not_kept(filling: bytes) -> None:
    block = (filling * 4096)[:4096]
    peak, count = peak_bytes([b'[["', *[block] * 1000], limit=64 * 1024)
    assert count == 0
    assert peak < 200_000


def test_memory_does_not_grow_with_the_array() -> None:
    block = b'{"name": "John", "age": 30},\n' * 100
    few, few_count = peak_bytes([b"[", *[block] * 10], limit=1000)
    many, many_count = peak_bytes([b"[", *[block] * 120], limit=1000)
    assert (few_count, many_count) == (1000, 12_000)
    assert many < few + 10_000


@pytest.mark.parametrize("filling", [b"1" * 16, b"\\n" * 8, b'","' * 5 + b" ", b"[" * 8 + b"]" * 8])
def test_a_long_element_in_small_blocks_takes_linear_time(filling: bytes) -> None:
    reader = JsonReader("f", max_record_bytes=600_000)
    began = time.process_time()
    reader.feed(b'[["' if filling[:1] != b"[" else b"[[")
    for _ in range(30_000):
        reader.feed(filling)
    # 0.1 s; looking at the element again for each block would be 7 000 MB to look at.
    assert time.process_time() - began < 3
    assert len(reader.finish()) == 1
