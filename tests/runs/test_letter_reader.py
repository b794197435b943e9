from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.errors import RunError
from livepost.mark import REJECTED
from livepost.model import Record
from livepost.runs.letter_reader import lettered, read_letters
from livepost.runs.letters import Letters


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejected.ndjson"


def write(path: Path, *letters: tuple[int, bytes]) -> None:
    writer = Letters(path.parent)
    for number, body in letters:
        writer.write(REJECTED, Record(number, body, "-", number), "r", attempts=1)
    writer.close()


def test_only_the_last_letter_of_each_record_is_read_in_the_order_of_the_file(path: Path) -> None:
    write(path, (5, b"1"), (3, b"2"), (5, b"3"), (9, b"4"), (3, b"5"))
    assert [(letter.number, letter.body) for letter in read_letters(path)] == [
        (5, b"3"),
        (9, b"4"),
        (3, b"5"),
    ]


def test_only_records_still_in_that_state_are_read(path: Path) -> None:
    write(path, (1, b"1"), (2, b"2"), (3, b"3"))
    assert [letter.number for letter in read_letters(path, lambda number: number != 2)] == [1, 3]


def test_letters_appended_meanwhile_are_not_read(path: Path) -> None:
    write(path, (1, b"1"), (2, b"2"))
    numbers = []
    for letter in read_letters(path):
        numbers.append(letter.number)
        write(path, (letter.number, b"9"), (7, b"9"))
    assert numbers == [1, 2]


def test_a_torn_line_is_passed_over_and_a_missing_line_end_is_not_needed(path: Path) -> None:
    write(path, (1, b'{"a":1}'), (2, b'{"a":2}'))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert [letter.number for letter in read_letters(path)] == [1, 2]
    path.write_bytes(whole[:-2])
    assert [letter.number for letter in read_letters(path)] == [1]
    assert 2 not in lettered(path)


def test_garbage_between_letters_costs_only_itself(path: Path) -> None:
    write(path, (1, b"1"), (2, b"2"))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + bytes(5000) + b"\n\n{}\n" + second)
    assert [letter.number for letter in read_letters(path)] == [1, 2]


def test_no_file_is_no_letters(path: Path) -> None:
    assert list(read_letters(path)) == []
    assert 1 not in lettered(path)


def test_what_cannot_be_read_is_an_error_for_people(path: Path) -> None:
    path.mkdir()
    with pytest.raises(RunError, match="is a directory"):
        list(read_letters(path))
    with pytest.raises(RunError, match="is a directory"):
        lettered(path)


@given(numbers=st.lists(st.integers(1, 50)))
@settings(deadline=None)
def test_the_records_with_letters_are_known(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    path = tmp_path_factory.mktemp("run") / "rejected.ndjson"
    write(path, *((number, b"1") for number in numbers))
    found = lettered(path)
    assert {number for number in range(60) if number in found} == set(numbers)


def test_many_letters_are_read_back_in_little_memory(path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from livepost.runs.letter_reader import read_letters
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(1 for _ in read_letters(Path(sys.argv[1]))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    write(path, *((number, b'"' + b"x" * 1000 + b'"') for number in range(1, 50_001)))
    shown = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    letters, more_kib = map(int, shown.stdout.split())
    assert letters == 50_000
    assert path.stat().st_size > 50_000_000
    assert more_kib < 4096
