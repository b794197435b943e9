from __future__ import annotations

import gzip
import os
import queue
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from livepost.config import InputOptions
from livepost.errors import ConfigurationError, InputError
from livepost.model import Record, Rejection
from livepost.records.source import FileSource, ObjectSource, Source

DEFAULTS = InputOptions()


def files(tmp_path: Path, **contents: bytes) -> list[str]:
    """Write files; `_` in a keyword stands for the dot in the name."""
    paths = []
    for keyword, content in contents.items():
        path = tmp_path / keyword.replace("_", ".")
        path.write_bytes(content)
        paths.append(str(path))
    return paths


def read(paths: list[str], options: InputOptions = DEFAULTS) -> list[Record | Rejection]:
    source: Source = FileSource(paths, options)
    batches = list(source.batches())
    assert all(batches)
    return [result for batch in batches for result in batch]


def test_numbers_run_on_and_lines_start_again(tmp_path: Path) -> None:
    a, b, c = files(tmp_path, a_ndjson=b"1\n\n?\n", b_json=b"[\n2,\n3]", c_jsonl=b"4")
    assert read([a, b, c]) == [
        Record(1, b"1", a, 1),
        Rejection(2, a, 3, "invalid JSON: Expecting value at column 1"),
        Record(3, b"2", b, 2),
        Record(4, b"3", b, 3),
        Record(5, b"4", c, 1),
    ]


@pytest.mark.parametrize(
    ("name", "input_format", "is_array"),
    [
        ("f.json", "auto", True),
        ("f.JSON", "auto", True),
        ("f.json.gz", "auto", True),
        ("f.ndjson", "auto", False),
        ("f.jsonl.gz", "auto", False),
        ("json", "auto", False),
        ("f.json", "ndjson", False),
        ("f.txt", "json", True),
    ],
)
def test_format(tmp_path: Path, name: str, input_format: str, is_array: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"[1,2]") if name.endswith(".gz") else b"[1,2]")
    results = read([str(path)], InputOptions(input_format=input_format))
    bodies = [result.body for result in results if isinstance(result, Record)]
    assert bodies == ([b"1", b"2"] if is_array else [b"[1,2]"])


def test_limit_is_that_of_the_options(tmp_path: Path) -> None:
    paths = files(tmp_path, a_ndjson=b"123\n1234\n", b_json=b"[123,1234]")
    results = read(paths, InputOptions(max_record_bytes=3))
    assert [isinstance(result, Record) for result in results] == [True, False, True, False]


def test_bytes_are_counted_as_they_are_read(tmp_path: Path) -> None:
    compressed = gzip.compress(b"2\n")
    source = FileSource(files(tmp_path, a=b"1\n", b=compressed), InputOptions())
    source.check()
    assert source.bytes_total == 2 + len(compressed)
    assert source.bytes_read == 0
    batches = source.batches()
    next(batches)
    assert source.bytes_read == 2
    next(batches)
    assert next(batches, None) is None
    assert source.bytes_read == source.bytes_total


def test_total_is_unknown_with_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = FileSource([*files(tmp_path, a=b"1\n"), str(tmp_path / "pipe")], InputOptions())
    source.check()
    assert source.bytes_total is None


def test_every_file_is_checked_before_the_run(tmp_path: Path) -> None:
    paths = files(tmp_path, a=b"1\n")
    with pytest.raises(ConfigurationError, match="missing: no such file"):
        FileSource([*paths, str(tmp_path / "missing")], InputOptions()).check()
    with pytest.raises(ConfigurationError, match="is a directory"):
        FileSource([str(tmp_path), *paths], InputOptions()).check()


def test_no_file_is_sent_twice_whatever_it_is_called(tmp_path: Path) -> None:
    (a,) = files(tmp_path, a=b"1\n")
    other, linked = tmp_path / "other", tmp_path / "linked"
    other.symlink_to(a)
    linked.hardlink_to(a)
    for name in (str(other), str(linked), f"{tmp_path}/./a"):
        with pytest.raises(ConfigurationError) as refused:
            FileSource([a, name], InputOptions()).check()
        assert str(refused.value) == f"{a} is named twice, the second time as {name}"
        assert "each of its records is sent twice" in refused.value.hint
    with pytest.raises(ConfigurationError, match=r"/a is named twice$"):
        FileSource([a, a], InputOptions()).check()
    with pytest.raises(ConfigurationError, match="standard input is named twice"):
        FileSource(["-", a, "-"], InputOptions()).check()


def test_nothing_before_an_error_is_lost(tmp_path: Path) -> None:
    cut = gzip.compress(b"2\n3\n4\n" * 100)[:-9]
    a, b, c = files(tmp_path, a=b"1\n", b=cut, c=b"5\n")
    batches = FileSource([a, b, c], InputOptions()).batches()
    found: list[Record | Rejection] = []
    with pytest.raises(InputError, match="is cut short"):
        deque(map(found.extend, batches), maxlen=0)
    assert found[:2] == [Record(1, b"1", a, 1), Record(2, b"2", b, 1)]
    assert found[-1] == Record(301, b"4", b, 300)


def test_a_file_is_not_read_on_behind_the_end_of_its_document(tmp_path: Path) -> None:
    lines = b'{"a": 1}\n' * 100_000
    a, b = files(tmp_path, a_json=lines, b_json=b"[3]")
    source = FileSource([a, b], InputOptions())
    results = [result for batch in source.batches() for result in batch]
    assert [type(result) for result in results] == [Record, Rejection, Record]
    assert results[1].line == 2
    assert results[2] == Record(3, b"3", b, 1)
    assert source.bytes_read < len(lines) / 2


def test_files_are_closed_when_the_batches_are(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    batches = FileSource(files(tmp_path, a=b"1\n" * 100_000), InputOptions()).batches()
    next(batches)
    batches.close()
    assert os.listdir("/proc/self/fd") == before


@dataclass
class User:
    name: str
    age: int


def test_objects_are_encoded() -> None:
    source: Source = ObjectSource([{"name": "Jöhn", "age": 30}, User("Lucy", 25), [1.5, None], "x"], "demo")
    assert list(source.batches()) == [
        [
            Record(1, '{"name":"Jöhn","age":30}'.encode(), "demo", 1),
            Record(2, b'{"name":"Lucy","age":25}', "demo", 2),
            Record(3, b"[1.5,null]", "demo", 3),
            Record(4, b'"x"', "demo", 4),
        ]
    ]
    assert source.bytes_total is None
    assert source.bytes_read == 25 + 24 + 10 + 3


def test_objects_that_cannot_be_sent_are_rejected() -> None:
    endless: list[object] = []
    endless.append(endless)
    objects = [object(), b'{"a": 1}', b'{"a"', "\ud800", endless, {(1, 2): 3}, 1]
    [batch] = ObjectSource(objects).batches()
    assert [(result.number, result.line, result.source) for result in batch] == [
        (number, number, "objects") for number in range(1, 8)
    ]
    assert [result.body for result in batch if isinstance(result, Record)] == [b'{"a": 1}', b"1"]
    reasons = {result.number: result.reason for result in batch if isinstance(result, Rejection)}
    assert reasons.keys() == {1, 3, 4, 5, 6}
    assert reasons[1].startswith("cannot be encoded as JSON: ")
    assert reasons[3] == "invalid JSON: Expecting ':' delimiter at column 5"
    assert reasons[5] == "cannot be encoded as JSON: nested too deeply"


def test_an_object_may_be_used_again_for_the_next() -> None:
    def objects() -> Iterator[dict[str, int]]:
        same: dict[str, int] = {}
        for number in range(1000):
            same["id"] = number
            yield same

    results = [result for batch in ObjectSource(objects()).batches() for result in batch]
    assert [result.body for result in results if isinstance(result, Record)] == [
        b'{"id":%d}' % number for number in range(1000)
    ]


def test_an_object_does_not_wait_for_the_next() -> None:
    objects: queue.Queue[int | None] = queue.Queue()
    batches = ObjectSource(iter(objects.get, None)).batches()
    for number in (1, 2):
        objects.put(number)
        assert next(batches) == [Record(number, b"%d" % number, "objects", number)]
    objects.put(None)
    assert list(batches) == []


def test_what_the_iterable_raises_is_passed_on() -> None:
    def objects() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    batches = ObjectSource(objects(), batch_records=1).batches()
    assert next(batches) == [Record(1, b"1", "objects", 1)]
    with pytest.raises(LookupError, match="no more"):
        next(batches)
