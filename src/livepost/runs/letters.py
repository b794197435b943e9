"""`rejected.ndjson` and `in-doubt.ndjson`: why a record was not delivered, with the record.

A line of JSON per record.  The record's own JSON stands at its end as it was read, with its numbers, order
and repeated names; only line breaks between its tokens become spaces.  What was never fit to be sent
has no record.

**What a crash leaves.**  A record gets its letter first and its mark right after, but letters are gathered
until there are 64 KiB of them or somebody calls `flush`; so the last marks before a crash may have no
letter.  A resumed run reads its input again: it writes a letter for every record that is marked rejected
or in doubt and is not `lettered`.  The last line may be torn; `mend` takes it away.  A record that was
tried again later has more than one letter, or one in each file: its mark says which file counts, and the
last letter there is the one (`letter_reader`).
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

from livepost.clock import WallClock, utc_now
from livepost.errors import OutputError
from livepost.letter import is_whole
from livepost.mark import IN_DOUBT, REJECTED
from livepost.model import Record, Rejection
from livepost.runs.disk import open_private, write_all, writing
from livepost.text import as_text, without_surrogates

FILE_OF = {REJECTED: "rejected.ndjson", IN_DOUBT: "in-doubt.ndjson"}
"""By mark."""

_BUFFER_BYTES = 64 * 1024
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


class Letter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line of a file; the names and their order are its schema."""

    n: int
    source: str
    line: int
    reason: str
    status: int | None
    """Of the last answer; None if none came."""
    attempts: int | None
    """None where a crash has taken the knowledge."""
    answer: str | None
    """Body of the last answer, as text, cut at the bound; None if none came."""
    time: datetime
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Last, so that it can be cut off without being parsed."""


class Letters:
    """Appends letters to the files of one run directory.  Belongs to one thread.

    A file is made with its first letter.  Every method raises OutputError when writing fails, once:
    from then on letters are dropped, so that the run can be ended in order.
    """

    def __init__(self, directory: Path, *, answer_bytes: int = 4096, now: WallClock = utc_now) -> None:
        self._directory = directory
        self._answer_bytes = answer_bytes
        self._now = now
        self._files: dict[int, int] = {}
        self._buffers = {mark: bytearray() for mark in FILE_OF}
        self._unwritten: set[int] = set()
        self._has_failed = False
        self._encode = msgspec.json.Encoder().encode

    def write(
        self,
        mark: int,
        item: Record | Rejection,
        reason: str,
        *,
        attempts: int | None,
        status: int | None = None,
        answer: bytes | None = None,
    ) -> None:
        """Gather a letter about a record; to be called before `mark`, REJECTED or IN_DOUBT, is stored."""
        # Before anything can fail: whoever asks `has_unwritten` must not believe that there is a letter.
        self._unwritten.add(item.number)
        if self._has_failed:
            return
        body = item.body if isinstance(item, Record) else None
        letter = Letter(
            n=item.number,
            source=item.source,
            line=item.line,
            reason=reason,
            status=status,
            attempts=attempts,
            answer=None if answer is None else as_text(answer, self._answer_bytes),
            time=self._now(),
            record=msgspec.UNSET if body is None else msgspec.Raw(body.translate(_LINE_BREAKS)),
        )
        buffer = self._buffers[mark]
        buffer += self._line(letter)
        if len(buffer) >= _BUFFER_BYTES:
            self.flush()

    def has_unwritten(self, first: int, last: int) -> bool:
        """Whether a letter from `first` to `last` is not in its file yet.

        May be asked from another thread: look at the marks first, ask then.
        """
        return not self._unwritten.isdisjoint(range(first, last + 1))

    def flush(self) -> None:
        """Give the letters gathered so far to the operating system."""
        if self._has_failed:
            return
        try:
            for mark, buffer in self._buffers.items():
                if buffer:
                    with writing(self._directory):
                        write_all(self._file(mark), buffer)
                    buffer.clear()
        except OutputError:
            self._has_failed = True
            raise
        # A new one, not cleared: another thread may be looking at it.
        self._unwritten = set()

    def close(self) -> None:
        """Flush and close the files, also when flushing fails.  Closing twice does nothing."""
        try:
            self.flush()
        finally:
            self._has_failed = True
            files, self._files = self._files, {}
            with writing(self._directory):
                for file in files.values():
                    os.close(file)

    def _file(self, mark: int) -> int:
        file = self._files.get(mark)
        if file is None:
            file = open_private(self._directory / FILE_OF[mark], os.O_WRONLY | os.O_APPEND)
            self._files[mark] = file
        return file

    def _line(self, letter: Letter) -> bytes:
        try:
            return self._encode(letter) + b"\n"
        except UnicodeEncodeError:
            clean = msgspec.structs.replace(
                letter, source=without_surrogates(letter.source), reason=without_surrogates(letter.reason)
            )
            return self._encode(clean) + b"\n"


def mend(path: Path) -> None:
    """Make the file end with a whole line: end the last one, or take it away if a crash has torn it.

    Raises OutputError.
    """
    with writing(path.parent):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            size = os.fstat(file).st_size
            start = _start_of_last_line(file, size)
            if start == size:
                return
            if is_whole(os.pread(file, size - start, start)):
                os.pwrite(file, b"\n", size)
            else:
                os.ftruncate(file, start)
        finally:
            os.close(file)


def _start_of_last_line(file: int, size: int) -> int:
    """Offset behind the last line end."""
    end = size
    while end:
        start = max(0, end - _BUFFER_BYTES)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
