"""Reads the letters of a run back, so that their records can be sent again.

Lines that are no letters are passed over, and so is a last line that a crash has torn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from livepost.letter import StoredLetter, is_whole, parse_letter
from livepost.runs.disk import reading
from livepost.runs.numbers import NumberSet


def read_letters(path: Path, is_current: Callable[[int], bool] | None = None) -> Iterator[StoredLetter]:
    """Yield the last letter of each record for which `is_current(number)`, in the order of the file.

    Which these are is settled when the first is asked for.  Holds 17 bytes for each of them and a bit for
    each record of the run, and one line.  No such file is no letters.  Raises RunError.
    """
    with reading(path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for offset in _last_of_each(file, is_current):
                file.seek(offset)
                letter = parse_letter(file.readline())
                if letter is not None:
                    yield letter


def outdated(path: Path, is_current: Callable[[int], bool]) -> int:
    """How many letters are about records that are not as they say any more, or have a later one.

    Raises RunError.
    """
    with reading(path), path.open("rb") as file:
        current = sum(1 for _ in _last_of_each(file, is_current))
        file.seek(0)
        return sum(1 for _ in _lines(file)) - current


def lettered(path: Path) -> NumberSet:
    """The numbers of all records that have a letter in this file.  Raises RunError."""
    numbers = NumberSet()
    with reading(path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return numbers
        with file:
            for _, number in _lines(file):
                numbers.add(number)
    return numbers


def _lines(file: BufferedReader) -> Iterator[tuple[int, int]]:
    """Offset and record number of every letter."""
    offset = 0
    for line in file:
        letter = parse_letter(line)
        if letter is not None and (line.endswith(b"\n") or is_whole(line)):
            yield offset, letter.number
        offset += len(line)


def _last_of_each(file: BufferedReader, is_current: Callable[[int], bool] | None) -> Iterator[int]:
    numbers, offsets = array("Q"), array("Q")
    for offset, number in _lines(file):
        if is_current is None or is_current(number):
            numbers.append(number)
            offsets.append(offset)
    seen = NumberSet()
    is_last = bytearray(len(numbers))
    for index in range(len(numbers) - 1, -1, -1):
        if numbers[index] not in seen:
            seen.add(numbers[index])
            is_last[index] = 1
    return (offset for offset, last in zip(offsets, is_last, strict=True) if last)
