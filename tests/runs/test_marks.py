from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.mark import ALL_MARKS, FINAL_MARKS, Mark
from livepost.runs.marks import Counts, count, first_defect, first_marked, ranges


def in_chunks(marks: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(marks), size):
        yield start + 1, marks[start : start + size]


any_marks = st.lists(st.sampled_from(ALL_MARKS)).map(bytes)
any_size = st.integers(1, 5)


def test_marks_are_letters_and_no_mark_is_a_zero_byte() -> None:
    assert ALL_MARKS == b"\0FDRQ"
    assert FINAL_MARKS == b"DRQ"


@given(marks=any_marks, size=any_size)
def test_counting_does_not_depend_on_the_chunks(marks: bytes, size: int) -> None:
    found = count(in_chunks(marks, size))
    assert found == Counts(*(marks.count(letter) for letter in b"FDRQ"))
    assert found.marked == len(marks) - marks.count(0)


@given(marks=any_marks, size=any_size, mark=st.sampled_from(Mark))
def test_ranges_hold_exactly_the_records_with_the_mark(marks: bytes, size: int, mark: Mark) -> None:
    found = list(ranges(in_chunks(marks, size), mark))
    assert [number for part in found for number in part] == [
        n for n, byte in enumerate(marks, 1) if byte == mark
    ]
    assert all(found)


def test_neighbours_come_as_one_range() -> None:
    assert list(ranges([(1, b"DFFFD"), (6, b"F\0FF")], Mark.IN_FLIGHT)) == [
        range(2, 5),
        range(6, 7),
        range(8, 10),
    ]


@pytest.mark.parametrize(
    ("chunks", "number"),
    [
        ([(1, b"\0FDRQ")], None),
        ([(1, b"DD"), (3, b"DxD")], 4),
        ([(1, b"d")], 1),
        ([(1, b"DDx"), (4, b"y")], 3),
        ([], None),
    ],
)
def test_a_byte_that_is_no_mark_is_found(chunks: list[tuple[int, bytes]], number: int | None) -> None:
    assert first_defect(chunks) == number


@pytest.mark.parametrize(
    ("chunks", "number"), [([(5, b"\0\0"), (7, b"\0F\0")], 8), ([(5, b"\0\0")], None), ([(5, b"D")], 5)]
)
def test_a_mark_among_none_is_found(chunks: list[tuple[int, bytes]], number: int | None) -> None:
    assert first_marked(chunks) == number
