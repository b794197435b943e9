r"""The `states` file: one byte per record, written by storing into memory.

    0                4096
    │ header, 1 page │ one mark per record: record n at 4095 + n …  │ zero bytes, ready to be used │

**A crash of the process.**  The marks are a shared mapping of the file, so what was stored is the
kernel's at once and survives `kill -9`: the records marked in flight are exactly those that may have
been processed without anybody knowing.

**A power cut** loses what the kernel had not yet written to the disk: a record that was sent may bear an
older mark, or none.  Therefore no record is sent before the header says durably that records up to its
number may have been sent.  The header also names the boot of the machine, or says that the run was closed
in order; if that boot was another one, every record up to there without a mark counts as in flight.
Other marks only ever become more final, so that an older one promises less; where a final mark is taken
back, `release` makes that durable first.

**A full disk.**  Storing into a page that the disk has no room for ends the process (SIGBUS).  So the
file has no holes: room is allocated, and its lack noticed, before records are handed over.  A file
system that writes every change to a new place (btrfs, ZFS) can break that promise.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from livepost.clock import Clock, monotonic
from livepost.errors import RunError
from livepost.mark import FINAL_MARKS, IN_FLIGHT, UNSENT, Mark
from livepost.runs.disk import open_private, reading, starting, sync_directory, writing
from livepost.runs.header import CLOSED, PAGE_BYTES, SECTOR_BYTES, Header, HeaderDefect
from livepost.runs.marks import Counts, count, first_defect, first_marked, ranges

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN_BOOT = "unknown"
_GROWTH_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024
# Each step costs one fdatasync (0.1 to 10 ms), and after a power cut at most one step of records that were
# never sent is in doubt.  So steps grow while they are used up within a second, and shrink again.
_STEP_SECONDS = 1.0
_FIRST_STEP = 256
_LONGEST_STEP = 64 * 1024
_DAMAGED_HINT = "restore it from a copy, or begin a new run with the records that are not delivered"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What an earlier process left behind.  All of it is marked in flight now."""

    in_flight: int = 0
    """Records that were in flight for certain."""
    unknown: int = 0
    """Records that may have been, since the machine was restarted meanwhile and marks may be lost."""
    restarted: bool = False


class States:
    """The marks of one run, for the process that works on it.

    `marks[n] = DELIVERED` is all that it takes to mark record n (45 ns); the values are those of
    `livepost.runs.marks`.  Always write `states.marks[n]` anew: the object behind `marks` is replaced as
    the file grows.  A mark stored in an older one is not lost, but it has no room for later records.

    One thread calls `reserve` before it hands records over to the one that marks them.  Everything
    that writes raises OutputError when the disk is full or broken; what is marked stays marked.
    """

    def __init__(self, path: Path, file: int, header: Header, boot_id: str, clock: Clock) -> None:
        self.path = path
        self.recovery = Recovery()
        self._file = file
        self._header = header
        self._boot_id = boot_id
        self._clock = clock
        self._step = 0
        self._reserved_at = -_STEP_SECONDS
        self._capacity = 0
        self.marks = memoryview(bytearray())

    @classmethod
    def create(cls, path: Path, run_id: str, *, boot_id: str | None = None, clock: Clock = monotonic) -> Self:
        """Make an empty file for a run.  Raises ConfigurationError."""
        boot_id = boot_id or current_boot_id()
        with starting(path.parent):
            file = open_private(path, os.O_RDWR | os.O_TRUNC)
            try:
                states = cls(path, file, Header(run_id, boot_id, 0), boot_id, clock)
                os.pwrite(file, states._header.to_page(), 0)
                states._grow(1)
                os.fsync(file)
                sync_directory(path.parent)
            except BaseException:
                os.close(file)
                raise
        return states

    @classmethod
    def open(
        cls,
        path: Path,
        run_id: str,
        *,
        last_number: int | None = None,
        boot_id: str | None = None,
        clock: Clock = monotonic,
    ) -> Self:
        """Take up the file of an earlier process; `recovery` says what that left in flight.

        `last_number` is the last record that there is, if that is known.  Raises RunError if the file
        is damaged, cut short or of another run, or a later record had been handed over; nothing is
        changed then.
        """
        boot_id = boot_id or current_boot_id()
        with reading(path):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            header = check(path, file, run_id)
            states = cls(path, file, header, boot_id, clock)
            with writing(path.parent):
                if last_number is not None:
                    states._forget_after(last_number, bytes((UNSENT,)))
                states._recover()
                states._map(_allocated(file))
        except BaseException:
            os.close(file)
            raise
        return states

    @property
    def reserved(self) -> int:
        """No record above this number can have been sent, and none up to it will find the disk full."""
        return self._header.reserved

    def reserve(self, last_number: int) -> None:
        """Get ready for records up to this one to be sent and marked; returns at once if all is ready."""
        if last_number <= self._header.reserved:
            return
        now = self._clock()
        if now - self._reserved_at < _STEP_SECONDS:
            self._step = min(max(2 * self._step, _FIRST_STEP), _LONGEST_STEP)
        else:
            self._step //= 2
        self._reserved_at = now
        with writing(self.path.parent):
            self._grow(last_number + self._step)
            self._write_header(last_number + self._step)

    def end_at(self, last_number: int) -> None:
        """Take note that no record follows this one.

        Raises RunError if one bears a final mark: then this is not the input that the run began with.
        """
        with writing(self.path.parent):
            # In flight are also those that a power cut may have put there (`recovery`).
            self._forget_after(last_number, bytes((UNSENT, IN_FLIGHT)))

    def release(self, numbers: Iterable[int], *, may_be_processed: bool = False) -> None:
        """Take back the final marks of these records, durably, so that they can be sent again.

        Those that `may_be_processed` are in flight from now on: whatever keeps them from being sent, the
        doubt stays.
        """
        mark = IN_FLIGHT if may_be_processed else UNSENT
        for number in numbers:
            self.marks[number] = mark
        self.sync()

    def is_settled(self, first: int, last: int) -> bool:
        """Every record from `first` to `last` has its final mark."""
        marks = bytes(self.marks[first : last + 1])
        return len(marks) == last - first + 1 and not marks.translate(None, FINAL_MARKS)

    def counts(self) -> Counts:
        """Count the marks by reading the file."""
        return count(_chunks(self._file, 1, self._header.reserved))

    def ranges(self, mark: Mark) -> Iterator[range]:
        """Yield the numbers of the records with this mark, in order, in ranges; holds 256 KiB at a time."""
        return ranges(_chunks(self._file, 1, self._header.reserved), mark)

    def sync(self) -> None:
        """Make the marks durable; leaves the interpreter to other threads meanwhile."""
        with writing(self.path.parent):
            os.fdatasync(self._file)

    def close(self) -> None:
        """Make the marks durable and let go of the file; nothing can be marked any more."""
        if self._file < 0:
            return
        self.marks = memoryview(bytearray())
        self._capacity = 0
        try:
            with writing(self.path.parent):
                os.fdatasync(self._file)
                self._write_header(self.reserved, CLOSED)
        finally:
            file, self._file = self._file, -1
            os.close(file)

    def _recover(self) -> None:
        reserved = self._header.reserved
        in_flight = count(_chunks(self._file, 1, reserved)).in_flight
        then = self._header.boot_id
        restarted = then != CLOSED and (then != self._boot_id or then == _UNKNOWN_BOOT)
        unknown = 0
        if restarted:
            for first, chunk in _chunks(self._file, 1, reserved):
                if lost := chunk.count(UNSENT):
                    unknown += lost
                    _write_at(self._file, chunk.replace(b"\0", bytes((IN_FLIGHT,))), PAGE_BYTES - 1 + first)
            # First the marks, then the boot they hold for: if the power fails in between, this is done again.
            os.fdatasync(self._file)
        if then != self._boot_id:
            self._write_header(reserved, self._boot_id)
        self.recovery = Recovery(in_flight, unknown, restarted)

    def _forget_after(self, last_number: int, allowed: bytes) -> None:
        """Take back the reservation for records that do not exist, and bear none but these marks."""
        if last_number >= self._header.reserved:
            return
        for first, chunk in _chunks(self._file, last_number + 1, self._header.reserved):
            if beyond := chunk.translate(None, allowed):
                number = first + chunk.index(beyond[:1])
                raise RunError(
                    f"the input ends after {last_number} records, but record {number} had been dealt with",
                    "put back the input, or its copy in the run directory, as the run had read it",
                )
            if chunk.strip(b"\0"):
                _write_at(self._file, bytes(len(chunk)), PAGE_BYTES - 1 + first)
        # Before the header: a mark above what it has reserved is damage.
        os.fdatasync(self._file)
        self._write_header(last_number)

    def _write_header(self, reserved: int, boot_id: str | None = None) -> None:
        header = Header(self._header.run_id, boot_id or self._header.boot_id, reserved)
        _write_at(self._file, header.to_page()[:SECTOR_BYTES], 0)
        # Not mmap.flush, which keeps all other threads waiting.
        os.fdatasync(self._file)
        self._header = header

    def _grow(self, last_number: int) -> None:
        if last_number <= self._capacity:
            return
        old = PAGE_BYTES + self._capacity
        new = PAGE_BYTES + -(-last_number // _GROWTH_BYTES) * _GROWTH_BYTES
        _allocate(self._file, old, new - old)
        self._map(new)

    def _map(self, size: int) -> None:
        # The old mapping is of the same pages and lives for as long as somebody holds it.
        self.marks = memoryview(mmap.mmap(self._file, size))[PAGE_BYTES - 1 :]
        self._capacity = size - PAGE_BYTES


def current_boot_id() -> str:
    """A name for the time since the machine was started; `unknown` where the system has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or _UNKNOWN_BOOT
    except (OSError, UnicodeDecodeError):
        return _UNKNOWN_BOOT


def read_counts(path: Path, run_id: str) -> Counts:
    """Count the marks of a run that another process may be working on.  Raises RunError."""
    with reading(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = _read_header(path, file, run_id)
            return count(_chunks(file, 1, header.reserved))
        finally:
            os.close(file)


@contextmanager
def reading_marks(path: Path, run_id: str) -> Iterator[Callable[[int], int]]:
    """Within, ask for the mark of a record of a run that nobody works on.  Raises RunError."""
    with reading(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            reserved = _read_header(path, file, run_id).reserved

            def mark_of(number: int) -> int:
                mark = os.pread(file, 1, PAGE_BYTES - 1 + number) if number <= reserved else b""
                return mark[0] if mark else UNSENT

            yield mark_of
        finally:
            os.close(file)


def check(path: Path, file: int, run_id: str) -> Header:
    """Read everything and return the header.  Raises RunError if anything is not as it must be."""
    with reading(path):
        header = _read_header(path, file, run_id)
        room = os.fstat(file).st_size - PAGE_BYTES
        number = first_defect(_chunks(file, 1, header.reserved))
        if number is not None:
            raise _damaged(path, f"what it holds for record {number} has no meaning")
        number = first_marked(_chunks(file, header.reserved + 1, room))
        if number is not None:
            raise _damaged(path, f"record {number} bears a mark, but none above {header.reserved} was sent")
    return header


def _read_header(path: Path, file: int, run_id: str) -> Header:
    for attempt in range(5):
        page = os.pread(file, PAGE_BYTES, 0)
        if len(page) < PAGE_BYTES:
            raise _damaged(path, f"it is cut short: it has {len(page)} bytes")
        try:
            header = Header.from_page(page)
        except HeaderDefect as defect:
            # The process that works on the run may be writing it just now.
            if attempt == 4:
                raise _damaged(path, str(defect)) from None
        else:
            if header.run_id != run_id:
                raise _damaged(path, f"it belongs to another run ({header.run_id})")
            # Room is made before it is reserved.
            room = os.fstat(file).st_size - PAGE_BYTES
            if room < header.reserved:
                raise _damaged(path, f"it is cut short: it has room for {room} records of {header.reserved}")
            return header
    raise AssertionError("unreachable")


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{str(path)!r} cannot be used: {why}", _DAMAGED_HINT)


def _chunks(file: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    while first <= last:
        chunk = os.pread(file, min(_CHUNK_BYTES, last - first + 1), PAGE_BYTES - 1 + first)
        if not chunk:
            return
        yield first, chunk
        first += len(chunk)


def _write_at(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _allocate(file: int, offset: int, size: int) -> None:
    try:
        os.posix_fallocate(file, offset, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # Some C libraries leave the rest to the caller where the file system cannot allocate.
        _write_at(file, bytes(size), offset)


def _allocated(file: int) -> int:
    """The size of the file, after filling the holes that copying it may have made."""
    size = os.fstat(file).st_size
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    return size
