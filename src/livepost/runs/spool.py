"""Keeps the records of an input that cannot be read twice until nobody needs them any more.

    reading thread ── append ──▶ segment files ── all settled? ──▶ deleted
                                       └────── after a crash: `batches` ──▶ sent with their old numbers

A batch is durable before `append` returns, so a record that was handed over can always be sent again or
shown, even after a power cut.  One fdatasync per batch costs 0.1 to 10 ms; a pipe fills up meanwhile, so
that the next batch is larger.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from livepost.errors import OutputError, RunError
from livepost.model import Record, Rejection
from livepost.runs.disk import (
    make_private,
    open_private,
    reading,
    starting,
    sync_directory,
    write_all,
    writing,
)
from livepost.runs.segment import Segment, SegmentReader, encode_batch, encode_end

SEGMENT_BYTES = 8 * 1024 * 1024
_BATCH_BYTES = 64 * 1024
_BATCH_RECORDS = 500
_SUFFIX = ".segment"


class Spool:
    """The segments of one run.  Belongs to the reading thread.

    Either made new, and then appended to, or opened, and then read.  `settle` deletes what is not
    needed any more.
    """

    def __init__(
        self, directory: Path, segments: list[Segment], *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._directory = directory
        self._segments = segments
        self._segment_bytes = segment_bytes
        self._file = -1
        self._written = 0
        self.last_number: int | None = None
        """The last record that was kept; None if nothing is."""
        self.turns = 0
        """How often a segment was done with, read or written: then `settle` may find something."""
        self.bytes_total: int | None = None
        self.bytes_read = 0

    @classmethod
    def create(cls, directory: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Spool:
        """Begin with nothing.  Raises ConfigurationError."""
        with starting(directory.parent):
            make_private(directory)
            for left_over in directory.glob("*" + _SUFFIX):
                left_over.unlink()
            sync_directory(directory.parent)
        return cls(directory, [], segment_bytes=segment_bytes)

    @classmethod
    def open(cls, directory: Path) -> Spool:
        """Take up what an earlier process kept.  Raises RunError if it cannot be read.

        A batch that a crash has torn was not handed over, and is dropped.
        """
        with reading(directory):
            paths = sorted(directory.glob("*" + _SUFFIX)) if directory.is_dir() else []
            spool = cls(directory, [_segment_at(path) for path in paths])
            spool.bytes_total = sum(path.stat().st_size for path in paths)
        if spool._segments:
            reader = SegmentReader(spool._segments[-1])
            for _ in reader.records():
                pass
            if reader.is_damaged:
                raise _damaged(spool._segments[-1], reader.last_number)
            spool.last_number = reader.last_number
        return spool

    @property
    def segments(self) -> int:
        """How many files there are now."""
        return len(self._segments)

    def append(self, batch: list[Record | Rejection]) -> None:
        """Keep these records; when this returns they are on the disk.

        Raises OutputError when that fails: then nothing of the batch is kept, and it must not be sent.
        """
        try:
            with writing(self._directory.parent):
                if self._file < 0 or self._written >= self._segment_bytes:
                    self._begin_segment(batch[0].number)
                self._write(encode_batch(batch))
        except OutputError as error:
            place = f"record {batch[0].number} (line {batch[0].line})"
            raise OutputError(
                str(error), f"{error.hint}; the input from {place} on was not kept, send it as another run"
            ) from error
        self._segments[-1].last = self.last_number = batch[-1].number

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield what was kept, with gaps where segments were deleted.

        Raises RunError where a segment other than the last is not whole.  Segments may be settled meanwhile.
        """
        segments = list(self._segments)
        for segment in segments:
            reader = SegmentReader(segment)
            yield from in_batches(reader.records())
            if not reader.is_complete and segment is not segments[-1]:
                raise _damaged(segment, reader.last_number, "; what was kept before it has been taken")
            segment.last = reader.last_number
            self.turns += 1
            with reading(segment.path):
                self.bytes_read += segment.path.stat().st_size

    def settle(self, is_settled: Callable[[int, int], bool], before_deletion: Callable[[], None]) -> None:
        """Delete every segment for whose first and last number `is_settled` holds.

        The last one stays until all the others are gone and it was closed.  `before_deletion` is called
        once, if there is something to delete: it makes durable what the segments are given up for.
        Raises OutputError.
        """
        done = [
            segment
            for segment in self._segments
            if segment.last is not None and is_settled(segment.first, segment.last)
        ]
        if self._file >= 0 or len(done) < len(self._segments):
            # The last one says how far the input was taken, and may be the one that is being written.
            done = [segment for segment in done if segment is not self._segments[-1]]
        if not done:
            return
        before_deletion()
        with writing(self._directory.parent):
            for segment in done:
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)

    def close(self) -> None:
        """End the segment that is being written, so that it can be settled, too.  Raises OutputError."""
        with writing(self._directory.parent):
            self._end_segment()

    def _end_segment(self) -> None:
        if self._file < 0:
            return
        try:
            if self.last_number is not None:
                self._write(encode_end(self.last_number))
        finally:
            file, self._file = self._file, -1
            os.close(file)
        self.turns += 1

    def _begin_segment(self, first_number: int) -> None:
        self._end_segment()
        path = self._directory / f"{first_number:012}{_SUFFIX}"
        self._file = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
        self._written = 0
        self._segments.append(Segment(path, first_number, first_number - 1))
        sync_directory(self._directory)

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError:
            # A torn batch would be dropped when read; without it the records before end cleanly.
            os.ftruncate(self._file, self._written)
            raise
        self._written += len(data)


def in_batches(items: Iterable[Record | Rejection]) -> Iterator[list[Record | Rejection]]:
    """Cut by number and by bytes, as what is kept may be large."""
    batch: list[Record | Rejection] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.body) if isinstance(item, Record) else 0
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_RECORDS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _damaged(segment: Segment, last_number: int, also: str = "") -> RunError:
    return RunError(
        f"{str(segment.path)!r} is damaged behind record {last_number}", f"restore it from a copy{also}"
    )


def _segment_at(path: Path) -> Segment:
    name = path.name.removesuffix(_SUFFIX)
    if not name.isdecimal():
        raise RunError(f"{str(path)!r} is no segment of a run's input", "take that file away")
    return Segment(path, int(name))
