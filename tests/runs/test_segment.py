from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.model import Record, Rejection
from livepost.runs.segment import Segment, SegmentReader, encode_batch, encode_end

Item = Record | Rejection


def read(path: Path, first: int = 1) -> tuple[list[Item], SegmentReader]:
    reader = SegmentReader(Segment(path, first))
    return list(reader.records()), reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "000000000001.segment"


BATCH: list[Item] = [
    Record(1, b'{"name":"John"}', "-", 1),
    Rejection(2, "-", 3, "invalid JSON"),
    Record(3, b'{\r\n"a":\n1}', "-", 4),
]


def test_people_can_read_it() -> None:
    assert encode_batch(BATCH[:2]) + encode_end(2) == (
        b'{"n":1,"source":"-","line":1,"bytes":15}\n'
        b'{"name":"John"}\n'
        b'{"n":2,"source":"-","line":3,"reason":"invalid JSON"}\n'
        b'{"end":2}\n'
    )


@st.composite
def batches(draw: st.DrawFn) -> list[Item]:
    bodies = draw(
        st.lists(
            st.binary() | st.sampled_from([b'{"n":1,"source":"-","line":1,"bytes":1}\n1', b'{"end":1}\n'])
        )
    )
    items: list[Item] = []
    for number, body in enumerate(bodies, 17):
        if draw(st.booleans()):
            items.append(Record(number, body, draw(st.text()), draw(st.integers(1, 2**40))))
        else:
            items.append(Rejection(number, draw(st.text()), number, draw(st.text())))
    return items


@given(items=batches(), ended=st.booleans())
@settings(deadline=None)
def test_every_byte_comes_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[Item], ended: bool
) -> None:
    path = tmp_path_factory.mktemp("spool") / "000000000017.segment"
    path.write_bytes(encode_batch(items) + (encode_end(16 + len(items)) if ended else b""))
    found, reader = read(path, 17)
    assert found == items
    assert (reader.last_number, reader.is_complete) == (16 + len(items), ended)


@given(cut=st.integers(0, 200))
@settings(deadline=None)
def test_a_torn_segment_gives_its_whole_records(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("spool") / "000000000001.segment"
    whole = encode_batch(BATCH) + encode_end(3)
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    found, reader = read(path)
    ends = [len(encode_batch(BATCH[:count])) for count in range(4)]
    assert found == BATCH[: max(count for count in range(4) if ends[count] <= cut)]
    assert not reader.is_complete


def test_a_torn_segment_filled_with_zeros_gives_its_whole_records(path: Path) -> None:
    path.write_bytes(encode_batch(BATCH[:1]) + bytes(5000))
    found, reader = read(path)
    assert (found, reader.is_complete) == (BATCH[:1], False)


@pytest.mark.parametrize(
    "tail",
    [b'{"n":3,"source":"-","line":3,"bytes":1}\n1\n', b'{"end":3}\n', b'{"end":1}x\n', b"\xff\n", b"[]\n"],
)
def test_what_does_not_follow_ends_the_reading(path: Path, tail: bytes) -> None:
    path.write_bytes(encode_batch(BATCH[:1]) + tail + encode_batch(BATCH[1:]))
    found, reader = read(path)
    assert (found, reader.is_complete) == (BATCH[:1], False)


def test_a_size_beyond_the_file_is_no_record(path: Path) -> None:
    path.write_bytes(b'{"n":1,"source":"-","line":1,"bytes":99}\n{}\n')
    assert read(path)[0] == []
    path.write_bytes(b'{"n":1,"source":"-","line":1,"bytes":-1}\n{}\n')
    assert read(path)[0] == []


def test_names_that_are_not_utf8_are_kept_as_far_as_they_can_be_shown(path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    path.write_bytes(encode_batch([Record(1, b"1", name, 1), Rejection(2, name, 2, name)]))
    assert read(path)[0] == [Record(1, b"1", "caf?", 1), Rejection(2, "caf?", 2, "caf?")]
