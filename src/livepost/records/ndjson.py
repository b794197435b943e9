"""Takes newline-delimited JSON apart into records, one per line.

Blocks are cut with one `bytes.split` each; only the line that goes on in the next block is kept
back, and it is copied once however many blocks it spans.
"""

from __future__ import annotations

from io import BytesIO
from itertools import count, repeat

from livepost.model import Record, Rejection
from livepost.records.validate import BYTE_ORDER_MARK, defect, have_none, too_long

# What may still come off the ends of a line: a byte order mark and a carriage return.
_STRIPPED_BYTES = len(BYTE_ORDER_MARK) + 1


class NdjsonReader:
    """Turns the bytes of one file, fed in blocks of any size, into records.

    The result does not depend on how the input is cut into blocks.  Lines pass through as their
    exact bytes without the line end (LF or CRLF).  Lines of white space are skipped, and so is a
    byte order mark at the start.  A line that is not one JSON value in UTF-8 or is longer than
    `max_record_bytes` becomes a Rejection.  Never holds more than `max_record_bytes` and one block.

    Call `feed` for each block, then `finish` once.
    """

    stopped = False
    """Never: behind a bad line there is always a next one."""

    def __init__(self, source: str, *, first_number: int = 1, max_record_bytes: int) -> None:
        self.next_number = first_number
        self._source = source
        self._max_record_bytes = max_record_bytes
        self._lines_ended = 0
        self._begun = BytesIO()
        self._skipping = False

    def feed(self, block: bytes) -> list[Record | Rejection]:
        """Return what the lines that end in `block` hold."""
        results: list[Record | Rejection] = []
        lines = block.split(b"\n")
        rest = lines.pop()
        if lines:
            self._end_line(lines.pop(0), results)
            if b"\r" in block:
                lines = [line.removesuffix(b"\r") for line in lines]
            if max(map(len, lines), default=0) <= self._max_record_bytes and have_none(lines):
                self._add_sound(lines, results)
            else:
                self._add(lines, results)
        if rest:
            self._begin_line(rest, results)
        return results

    def finish(self) -> list[Record | Rejection]:
        """Return what a last line without a line end holds."""
        results: list[Record | Rejection] = []
        if self._begun.tell():
            self._end_line(b"", results)
        return results

    def _begin_line(self, part: bytes, results: list[Record | Rejection]) -> None:
        if self._skipping:
            return
        self._begun.write(part)
        if self._begun.tell() > self._max_record_bytes + _STRIPPED_BYTES:
            self._begun = BytesIO()
            self._skipping = True
            reason = too_long(self._max_record_bytes)
            results.append(Rejection(self.next_number, self._source, self._lines_ended + 1, reason))
            self.next_number += 1

    def _end_line(self, part: bytes, results: list[Record | Rejection]) -> None:
        if self._skipping:
            self._skipping = False
            self._lines_ended += 1
            return
        if self._begun.tell():
            self._begun.write(part)
            part = self._begun.getvalue()
            self._begun = BytesIO()
        if self._lines_ended == 0:
            part = part.removeprefix(BYTE_ORDER_MARK)
        self._add([part.removesuffix(b"\r")], results)

    def _add_sound(self, lines: list[bytes], results: list[Record | Rejection]) -> None:
        """As `_add`, for lines that all hold a record."""
        numbers, line_numbers = count(self.next_number), count(self._lines_ended + 1)
        results.extend(map(Record, numbers, lines, repeat(self._source), line_numbers))
        self.next_number += len(lines)
        self._lines_ended += len(lines)

    def _add(self, lines: list[bytes], results: list[Record | Rejection]) -> None:
        number, line_number = self.next_number, self._lines_ended
        source, max_record_bytes = self._source, self._max_record_bytes
        for line in lines:
            line_number += 1
            if len(line) > max_record_bytes:
                reason: str | None = too_long(max_record_bytes)
            elif not line or line.isspace():
                continue
            else:
                reason = defect(line)
            if reason is None:
                results.append(Record(number, line, source, line_number))
            else:
                results.append(Rejection(number, source, line_number, reason))
            number += 1
        self.next_number, self._lines_ended = number, line_number
