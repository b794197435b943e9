"""The server's own log: the truth that a delivery is compared with."""

from __future__ import annotations

import hashlib
import os
from types import TracebackType

import msgspec

from livepost.errors import ConfigurationError, OutputError


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of the log: a request and what became of it; names and order are its schema."""

    time: float
    """Seconds since 1970."""
    record: int | str | None
    """See `record_of`; None if the body was not read."""
    key: str | None
    """The value of Idempotency-Key, quotes included; None if there was none."""
    connection: int
    request_on_connection: int
    processed: bool
    """The server acted on the record, this time."""
    replayed: bool
    """It was answered with the first answer to the same Idempotency-Key."""
    fault: str | None
    status: int | None
    """Of the answer, even if only a part of it, or nothing because the client left, was sent."""


class _Identified(msgspec.Struct, gc=False):
    id: int | str | None = None


_decode = msgspec.json.Decoder(_Identified).decode
_encode = msgspec.json.Encoder().encode


def record_of(body: bytes) -> int | str:
    """Which record this is: `id` if the body is a JSON object with one (a number or text), else a digest."""
    try:
        given = _decode(body).id
    except (msgspec.DecodeError, RecursionError):
        given = None
    return f"blake2b:{hashlib.blake2b(body, digest_size=16).hexdigest()}" if given is None else given


class RecordLog:
    """Appends entries to a file, each in one write, and each is with the kernel when `write` returns.

    So the lines survive the death of this process and of the client, though not of the machine.  A
    new file is for its owner only.  Several servers may append to one file.  Close it at the end.

    Raises ConfigurationError if the file cannot be opened; `write` raises OutputError.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"the log cannot be written to {path!r}: {error.strerror}", "give another path"
            ) from error
        except ValueError:
            raise ConfigurationError(
                "the path of the log contains a NUL character", "give another path"
            ) from None

    def write(self, entry: Entry) -> None:
        line = _encode(entry) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._failure(error.strerror) from error
        if written < len(line):
            raise self._failure("the disk took only a part of a line")

    def close(self) -> None:
        """Closing twice does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, reason: str | None) -> OutputError:
        return OutputError(
            f"the log cannot be written to {self._path!r}: {reason}", "make room, or give another path"
        )
