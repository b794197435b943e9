"""One file of the spool: records as they were read, one behind the other.

    {"n":17,"source":"-","line":17,"bytes":15}
    {"name":"John"}
    {"n":18,"source":"-","line":19,"reason":"invalid JSON: Expecting value at column 1"}

A line of JSON says what follows: so many bytes and a line end, whatever these bytes are, so that they come
back exactly.  What was not fit to send has a reason and no bytes.  A last line of `{"end":18}` says that the
segment is whole and ends with that record; only the one that was written last may be without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import msgspec

from livepost.model import Record, Rejection
from livepost.runs.disk import reading
from livepost.text import without_surrogates


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The line before a record; the names and their order are its schema."""

    n: int
    source: str
    line: int
    bytes: int | None = None
    reason: str | None = None


class End(msgspec.Struct, frozen=True):
    """The line after the last record of a segment."""

    end: int


_MOST_END_BYTES = 64

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_decode_end = msgspec.json.Decoder(End).decode


@dataclass(slots=True)
class Segment:
    """Which records a file holds.  Numbers within are in order and without a gap."""

    path: Path
    first: int
    last: int | None = None
    """One less than `first` if there is none; None while that is not known."""


def encode_batch(batch: list[Record | Rejection]) -> bytes:
    """The bytes to be appended for these records."""
    parts: list[bytes] = []
    for item in batch:
        if isinstance(item, Record):
            parts += (
                _head(Entry(item.number, item.source, item.line, len(item.body))),
                b"\n",
                item.body,
                b"\n",
            )
        else:
            parts += (_head(Entry(item.number, item.source, item.line, None, item.reason)), b"\n")
    return b"".join(parts)


def encode_end(last_number: int) -> bytes:
    """The bytes to be appended behind the last record."""
    return _encode(End(last_number)) + b"\n"


class SegmentReader:
    """Reads a segment from its start to its end, or to where a crash has torn it.

    Call `records` once, to the end; then the other attributes hold.  Raises RunError.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.last_number = segment.first - 1
        self.is_complete = False
        """It was closed in order, and is whole."""
        self.is_damaged = False
        """It was closed in order, and is not whole any more: that was no crash."""
        self._has_read_all = False

    def records(self) -> Iterator[Record | Rejection]:
        """Yield what was appended, exactly."""
        with reading(self._segment.path), self._segment.path.open("rb") as file:
            while (item := self._next(file)) is not None:
                self.last_number = item.number
                yield item
            self.is_damaged = not (self.is_complete or self._has_read_all) and _has_end(file)

    def _next(self, file: BufferedReader) -> Record | Rejection | None:
        line = file.readline()
        if not line.endswith(b"\n"):
            self._has_read_all = not line
            return None
        try:
            entry = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._take_end(line)
            return None
        if entry.n != self.last_number + 1:
            return None
        if entry.bytes is None:
            return Rejection(entry.n, entry.source, entry.line, entry.reason or "")
        body = file.read(entry.bytes + 1)
        if len(body) != entry.bytes + 1 or not body.endswith(b"\n"):
            return None
        return Record(entry.n, body[:-1], entry.source, entry.line)

    def _take_end(self, line: bytes) -> None:
        try:
            end = _decode_end(line).end
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        self.is_complete = end == self.last_number


def _has_end(file: BufferedReader) -> bool:
    """The last line is one that ends a segment."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_END_BYTES))
    try:
        _decode_end(file.read().splitlines()[-1])
    except (IndexError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _head(entry: Entry) -> bytes:
    try:
        return _encode(entry)
    except UnicodeEncodeError:
        clean = Entry(
            entry.n,
            without_surrogates(entry.source),
            entry.line,
            entry.bytes,
            None if entry.reason is None else without_surrogates(entry.reason),
        )
        return _encode(clean)
