"""Takes a JSON document apart into records: the elements of its array, or its one value.

A single pass that never holds more than one element: `extent` finds where an element ends, this
reader keeps track of the commas around it, `validate` judges it.  What is wrong inside an element, or
with the comma before it, costs that element only; what is wrong with the document as a whole ends
the reading with one Rejection for everything behind it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from io import BytesIO

from livepost.model import Record, Rejection
from livepost.records.extent import Extent
from livepost.records.validate import BYTE_ORDER_MARK, defect, too_long

_OPENING, _COMMA, _CLOSING = b"[,]"

_skip_space: Callable[[bytes, int], re.Match[bytes]] = re.compile(rb"[ \t\r\n]*").match  # type: ignore[assignment]


class _Place(enum.Enum):
    """Where in the document the reader stands.

    START → VALUE → END, or START → FIRST → (ELEMENT → AFTER → NEXT →)* END; from END to OVER.
    """

    START = enum.auto()
    VALUE = enum.auto()
    """In the one value of a document that holds no array."""
    FIRST = enum.auto()
    """Behind the opening bracket."""
    ELEMENT = enum.auto()
    AFTER = enum.auto()
    """Behind an element."""
    NEXT = enum.auto()
    """Behind a comma."""
    END = enum.auto()
    OVER = enum.auto()
    """Nothing more is read."""


# Python 3.11 takes 0.2 µs to look a member up on its class.
_START, _VALUE, _FIRST, _ELEMENT, _AFTER, _NEXT, _END, _OVER = _Place


class JsonReader:
    """Turns the bytes of one JSON document, fed in blocks of any size, into records.

    The result does not depend on how the input is cut into blocks.  Each element of a top-level array
    is a record, passed through as its exact bytes; a document that is no array is one record; an
    empty array and an empty document hold none.  An element that is not one JSON value in UTF-8, is
    longer than `max_record_bytes`, or has no comma before it becomes a Rejection, and so does a comma
    with no element at it.  A document that is cut short, or goes on behind its end, ends in a
    Rejection that stands for the rest.  Never holds more than `max_record_bytes` and one block.

    Call `feed` for each block (or until `stopped`), then `finish` once.
    """

    def __init__(self, source: str, *, first_number: int = 1, max_record_bytes: int) -> None:
        self.next_number = first_number
        self._source = source
        self._max_record_bytes = max_record_bytes
        self._head: bytes | None = b""
        """What may yet become a byte order mark; None once that is decided."""
        self._place = _START
        self._line = 1
        self._ended_on = 0
        self._extent = Extent()
        self._begun = BytesIO()
        self._begun_bytes = 0
        self._begun_on = 0
        self._comma_missing = False
        self._results: list[Record | Rejection] = []

    @property
    def stopped(self) -> bool:
        """No further block can hold a record."""
        return self._place is _OVER

    def feed(self, block: bytes) -> list[Record | Rejection]:
        """Return the elements that end in `block`."""
        if self._head is not None:
            block = self._head + block
            if BYTE_ORDER_MARK.startswith(block):
                self._head = block
                return []
            self._head = None
            block = block.removeprefix(BYTE_ORDER_MARK)
        self._read(block)
        return self._take_results()

    def finish(self) -> list[Record | Rejection]:
        """Return what the end of the input settles."""
        if self._head and self._head != BYTE_ORDER_MARK:
            self._read(self._head)
        if self._place is _VALUE and self._extent.is_word:
            self._end_element(b"")
        elif self._place in (_VALUE, _ELEMENT):
            self._reject("invalid JSON: the file ends in the middle of this record", self._begun_on)
        elif self._place not in (_START, _END, _OVER):
            self._reject("invalid JSON: the file ends before its array does", self._line)
        self._place = _OVER
        return self._take_results()

    def _take_results(self) -> list[Record | Rejection]:
        results, self._results = self._results, []
        return results

    def _read(self, block: bytes) -> None:
        position, size = 0, len(block)
        while position < size:
            if self._place is _ELEMENT or self._place is _VALUE:
                end = self._extent.end(block, position)
                if end is None:
                    self._hold(block[position:])
                    return
                self._end_element(block[position:end])
                position = end
            elif self._place is _OVER:
                return
            else:
                start, position = position, _skip_space(block, position).end()
                self._line += block.count(b"\n", start, position)
                if position < size and not self._begins_element(block[position]):
                    position += 1

    def _begins_element(self, byte: int) -> bool:
        """Say whether an element begins with this byte; if not, go behind it."""
        place = self._place
        if place is _END:
            self._refuse_rest()
        elif place is _START and byte != _OPENING:
            self._begin_element(_VALUE)
            return True
        elif place is _START:
            self._place = _FIRST
        elif byte == _COMMA:
            if place is not _AFTER:
                self._reject("invalid JSON: no value before this comma", self._line)
            self._place = _NEXT
        elif byte == _CLOSING:
            if place is _NEXT:
                self._reject("invalid JSON: no value after the last comma", self._line)
            self._end_document()
        else:
            self._comma_missing = place is _AFTER
            self._begin_element(_ELEMENT)
            return True
        return False

    def _begin_element(self, place: _Place) -> None:
        self._place = place
        self._extent = Extent()
        self._begun_on = self._line

    def _hold(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        self._line += part.count(b"\n")
        if self._begun_bytes <= self._max_record_bytes:
            self._begun.write(part)

    def _end_element(self, text: bytes) -> None:
        if self._begun_bytes:
            self._hold(text)
            size, text = self._begun_bytes, self._begun.getvalue()
            self._begun, self._begun_bytes = BytesIO(), 0
        else:
            size = len(text)
            self._line += text.count(b"\n")
        if size > self._max_record_bytes:
            reason: str | None = too_long(self._max_record_bytes)
        else:
            reason = defect(text)
            if self._comma_missing:
                reason = reason or "invalid JSON: no comma before this value"
        if reason is None:
            self._results.append(Record(self.next_number, text, self._source, self._begun_on))
            self.next_number += 1
        else:
            self._reject(reason, self._begun_on)
        if self._place is _VALUE:
            self._end_document()
        else:
            self._place = _AFTER

    def _end_document(self) -> None:
        self._place = _END
        self._ended_on = self._line

    def _refuse_rest(self) -> None:
        reason = "not read from here on: the JSON value has ended before"
        if self._line > self._ended_on:
            reason += "; looks like one record per line: use --input-format ndjson"
        self._reject(reason, self._line)
        self._place = _OVER

    def _reject(self, reason: str, line: int) -> None:
        self._results.append(Rejection(self.next_number, self._source, line, reason))
        self.next_number += 1
