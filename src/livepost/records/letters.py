"""Takes the records out of letters: lines that say why a record was not delivered, with the record."""

from __future__ import annotations

from livepost.letter import parse_letter
from livepost.model import Record, Rejection
from livepost.records.ndjson import NdjsonReader
from livepost.records.validate import too_long

# What may stand around the record: the answer, cut at 4 KiB, takes six times that where each byte is escaped.
_ENVELOPE_BYTES = 64 * 1024


class LetterReader:
    """Turns the bytes of one file of letters, fed in blocks of any size, into the records they hold.

    A record has the name and the line of the file that it was first read from, and a number of its own.  A
    line that is no letter, or holds no record because that never was fit to be sent, becomes a
    Rejection with the name and the line of this file.

    Call `feed` for each block, then `finish` once.
    """

    stopped = False
    """Never: behind a bad line there is always a next one."""

    def __init__(self, source: str, *, first_number: int = 1, max_record_bytes: int) -> None:
        self._lines = NdjsonReader(
            source, first_number=first_number, max_record_bytes=max_record_bytes + _ENVELOPE_BYTES
        )
        self._max_record_bytes = max_record_bytes

    @property
    def next_number(self) -> int:
        return self._lines.next_number

    def feed(self, block: bytes) -> list[Record | Rejection]:
        """Return what the lines that end in `block` hold."""
        return [self._opened(line) for line in self._lines.feed(block)]

    def finish(self) -> list[Record | Rejection]:
        """Return what a last line without a line end holds."""
        return [self._opened(line) for line in self._lines.finish()]

    def _opened(self, line: Record | Rejection) -> Record | Rejection:
        if isinstance(line, Rejection):
            return line
        letter = parse_letter(line.body)
        if letter is None:
            reason = "this line is no letter of a run"
        elif letter.body is None:
            reason = "this letter holds no record, because that was not fit to be sent"
        elif len(letter.body) > self._max_record_bytes:
            reason = too_long(self._max_record_bytes)
        else:
            # The whole line is JSON, so what follows the name is, too.
            return Record(line.number, letter.body, letter.source, letter.line)
        return Rejection(line.number, line.source, line.line, reason)
