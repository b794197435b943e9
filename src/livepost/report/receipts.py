"""Receipts: what became of each record, one line of JSON each."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from contextlib import suppress

import msgspec

from livepost.errors import ConfigurationError, OutputError
from livepost.model import Outcome, Record, Rejection, State
from livepost.text import as_text, without_surrogates
from livepost.wire.message import Exchange, Response

STDOUT = "-"
_BUFFER_BYTES = 64 * 1024
_DELIVERED = State.DELIVERED

_OPEN_HINTS = {
    errno.ENOENT: "create its directory, or give another path",
    errno.ENOTDIR: "part of the path is a file, give another path",
    errno.EISDIR: "that is a directory, give the path of a file",
    errno.EACCES: "give the path of a file that you may write",
    errno.EROFS: "give a path on a file system that can be written",
}
_WRITE_HINTS = {
    errno.EPIPE: "the program that was reading them has ended",
    errno.ENOSPC: "make room, or give a path on another disk",
    errno.EDQUOT: "make room, or give a path on another disk",
}


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """One line of the file; the names and their order are its schema."""

    n: int
    outcome: State
    status: int | None
    """Of the last answer; None if none came."""
    ms: float | None
    """From handing the request to its connection until the end of the answer, or the failure."""
    attempts: int
    connection: int | None
    """Which connection of the run made the last attempt; None if the record did not end with one."""
    reused: bool
    """That connection had carried a request before."""
    body: str | None
    """Of the last answer, as text, cut at the bound; None if none came."""
    reason: str | None
    """Why it was not delivered; None if it was."""
    source: str
    line: int


class Receipts:
    """Writes a `Receipt` for every record, whatever becomes of it, in the order in which they end.

    A delivery observer.  Lines are gathered until there are 64 KiB of them: call `flush` to see
    them earlier, and `close` at the end.  After a crash the last lines may be missing.

    A path of `-` is standard output.  A file is created for its owner only (mode 0600), because answers
    may hold personal data; one that exists is emptied by the first `flush`, or `close`: not by a run that
    never began.  Where it `continues`, the lines there stay, but for the last if a crash cut it off.

    Raises ConfigurationError if the file cannot be opened.  Every method raises OutputError when
    writing fails (disk full, reader gone), once: from then on receipts are dropped, so that the run
    can be ended in order.
    """

    def __init__(self, path: str, *, continues: bool = False, body_bytes: int = 4096) -> None:
        self._name = "standard output" if path == STDOUT else repr(path)
        self._body_bytes = body_bytes
        self._file: int | None = _stdout() if path == STDOUT else _open(path)
        self._owns_file = path != STDOUT
        self._is_to_be_prepared = self._owns_file
        self._continued = path if continues else None
        self._buffer = bytearray()
        self._encode_into = msgspec.json.Encoder().encode_into
        self._attempts_of_retried: dict[int, int] = {}
        """By record number: a record left unsent no longer brings its exchange along."""

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        """Write the receipt of a record whose last attempt ended."""
        record: Record = exchange.record
        if self._attempts_of_retried:
            self._attempts_of_retried.pop(record.number, None)
        self._write(
            Receipt(
                record.number,
                outcome.state,
                None if response is None else response.status,
                int(seconds * 1e6 + 0.5) / 1e3,
                exchange.attempts,
                exchange.connection or None,
                exchange.request_on_connection > 1,
                None if response is None else as_text(response.body, self._body_bytes),
                None if outcome.state is _DELIVERED and response and response.complete else outcome.reason,
                record.source,
                record.line,
            )
        )

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """Write nothing: the record's receipt comes when it is final."""
        self._attempts_of_retried[exchange.record.number] = exchange.attempts

    def rejected(self, rejection: Rejection) -> None:
        """Write the receipt of a record that was never fit to send."""
        self._never_answered(
            State.REJECTED, rejection.number, 0, rejection.reason, rejection.source, rejection.line
        )

    def left(self, record: Record, outcome: Outcome) -> None:
        """Write the receipt of a record for which no (further) attempt was made."""
        attempts = self._attempts_of_retried.pop(record.number, 0)
        self._never_answered(
            outcome.state, record.number, attempts, outcome.reason, record.source, record.line
        )

    def flush(self) -> None:
        """Give the lines gathered so far to the operating system."""
        lines, self._buffer = self._buffer, bytearray()
        if self._file is None:
            return
        try:
            if self._is_to_be_prepared:
                self._is_to_be_prepared = False
                _prepare(self._file, self._continued)
            _write_all(self._file, lines)
        except OSError as error:
            with suppress(OSError):
                self._let_go()
            raise self._failure(error) from error

    def close(self) -> None:
        """Flush and close the file, also when flushing fails.  Closing twice does nothing."""
        self.flush()
        try:
            self._let_go()
        except OSError as error:
            raise self._failure(error) from error

    def _never_answered(
        self, state: State, number: int, attempts: int, reason: str, source: str, line: int
    ) -> None:
        self._write(Receipt(number, state, None, None, attempts, None, False, None, reason, source, line))

    def _write(self, receipt: Receipt) -> None:
        buffer = self._buffer
        start = len(buffer)
        try:
            self._encode_into(receipt, buffer, start)
        except UnicodeEncodeError:
            self._encode_into(_encodable(receipt), buffer, start)
        buffer += b"\n"
        if len(buffer) >= _BUFFER_BYTES:
            self.flush()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None and self._owns_file:
            os.close(file)

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"the receipts cannot be written to {self._name}: {error.strerror}",
            _WRITE_HINTS.get(error.errno or 0, "give another path"),
        )


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = _OPEN_HINTS.get(error.errno or 0, "give another path")
        raise ConfigurationError(
            f"the receipts cannot be written to {path!r}: {error.strerror}", hint
        ) from error
    except ValueError:
        raise ConfigurationError(
            "the path for the receipts contains a NUL character", "give another path"
        ) from None


def _stdout() -> int:
    """The descriptor of standard output; not simply 1, which may by now be something else."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
            return sys.stdout.fileno()
    except (OSError, ValueError):
        pass
    raise ConfigurationError("standard output is closed", "give the receipts the path of a file")


def _prepare(file: int, continued: str | None) -> None:
    """Cut off what is not to stay, and go to the end; `continued` is the path if its lines are to stay."""
    # A pipe or a device cannot be cut, and has no need to be.
    if stat.S_ISREG(os.fstat(file).st_mode):
        os.ftruncate(file, 0 if continued is None else _end_of_last_line(continued))
        os.lseek(file, 0, os.SEEK_END)


def _end_of_last_line(path: str) -> int:
    with open(path, "rb") as lines:
        end = lines.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BUFFER_BYTES)
            lines.seek(start)
            found = lines.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _write_all(file: int, data: bytearray) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            # Standard output is shared, and another process may have made it non-blocking.
            select.select((), (file,), ())


def _encodable(receipt: Receipt) -> Receipt:
    return msgspec.structs.replace(
        receipt,
        source=without_surrogates(receipt.source),
        reason=None if receipt.reason is None else without_surrogates(receipt.reason),
    )
