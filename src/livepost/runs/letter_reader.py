"""Reads letters back, so that their records can be sent again.

Also takes what a person made of such a file with an editor or `jq`: other spacing, changed records, and
lines taken out.  Lines that are no letters are passed over, and so is a last line that a crash has torn.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import msgspec

from livepost.runs.disk import reading
from livepost.runs.numbers import NumberSet

# A quotation mark inside a string is escaped, so in front of the record's own text this is found nowhere
# but at the name.  What follows may be nested deeper than a parser takes, and is not parsed.
_RECORD = re.compile(rb',\s*"record"\s*:\s*')
_LETTER = re.compile(rb'\{\s*"n"\s*:\s*[0-9]+\s*,\s*"source"\s*:')


class StoredLetter(msgspec.Struct, frozen=True, gc=False):
    """What sending a record again needs of its letter."""

    number: int
    source: str
    line: int
    body: bytes | None
    """None for what was never fit to be sent."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    n: Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
    source: str
    line: int
    reason: str


_decode_head = msgspec.json.Decoder(_Head).decode


def is_letter(line: bytes) -> bool:
    """Whether a line of some NDJSON file is a letter, and not simply a record."""
    return parse_letter(line) is not None


def parse_letter(line: bytes) -> StoredLetter | None:
    """Read one line; None if it is no letter."""
    if not _LETTER.match(line):
        return None
    text = line.strip()
    found = _RECORD.search(text)
    body = None
    if found is not None:
        if not text.endswith(b"}"):
            return None
        body = text[found.end() : -1].rstrip()
        text = text[: found.start()] + b"}"
    try:
        head = _decode_head(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if body == b"" else StoredLetter(head.n, head.source, head.line, body)


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is a letter to its last character, not the torn beginning of one."""
    letter = parse_letter(line)
    if letter is None or letter.body is None:
        return letter is not None
    # Where a record is torn, what is left of it has a bracket open: it never is a value of its own.
    try:
        json.loads(letter.body)
    except (ValueError, RecursionError):
        return False
    return True


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
