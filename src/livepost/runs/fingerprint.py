"""What an input file was like when its run began, to tell whether it is the same when it is resumed.

A resumed run knows its records by their numbers only, so the file must be the same to the byte.  Files up
to 1 MiB are digested whole.  Of larger ones the beginning, the end and 32 evenly spaced parts are, and
the time of the last change stands for the rest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from livepost.errors import InputChangedError, InputError

WHOLE_BYTES = 1024 * 1024
_END_BYTES = 64 * 1024
_SAMPLES = 32
_SAMPLE_BYTES = 4096
_HINT = "put back the file that the run began with, or begin a new run"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Enough of a file to know it again."""

    path: str
    """Absolute, so that a run can be resumed from another directory."""
    size: int
    """Bytes."""
    mtime_ns: int
    digest: str
    """BLAKE2b of the content or its samples, 128 bits in hexadecimal."""

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Read what is needed; None for what cannot be read twice (a pipe, a terminal, a directory).

        Raises InputError.
        """
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                status = os.fstat(file)
                digest = _digest(file, status.st_size)
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            words = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
            raise InputError(f"cannot read {path}: {words}", _HINT) from error
        return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns, digest)

    @property
    def is_whole(self) -> bool:
        """The digest covers every byte."""
        return self.size <= WHOLE_BYTES

    def difference(self, now: Fingerprint) -> str | None:
        """Say in a sentence how the file differs `now`; None if it is the same."""
        if now.size != self.size:
            return f"{self.path} has {now.size} bytes, but had {self.size} when the run began"
        if now.digest != self.digest:
            return f"{self.path} has other content than when the run began"
        if now.mtime_ns != self.mtime_ns and not self.is_whole:
            changed, was = _time(now.mtime_ns), _time(self.mtime_ns)
            return f"{self.path} was changed at {changed}, but when the run began that was {was}"
        return None


def check_unchanged(fingerprints: Iterable[Fingerprint]) -> None:
    """Make sure that every file is still the same.

    Raises InputChangedError, also when one is gone or no regular file any more, and InputError when it
    cannot be read.
    """
    for then in fingerprints:
        if not os.path.isfile(then.path):
            raise InputChangedError(f"{then.path} is not there any more", _HINT)
        now = Fingerprint.of(then.path)
        difference = "is not a file any more" if now is None else then.difference(now)
        if difference is None:
            continue
        hint = _HINT
        if now is not None and (now.size, now.digest) == (then.size, then.digest):
            hint = (
                f"if nothing but its time was changed, set that back: touch -d '{_time(then.mtime_ns)}' FILE"
            )
        raise InputChangedError(difference, hint)


def _digest(file: int, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for offset, length in _parts(size):
        # Less only if the file is being cut short; then its size tells.
        digest.update(os.pread(file, length, offset))
    return digest.hexdigest()


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is digested."""
    if size <= WHOLE_BYTES:
        yield 0, size
        return
    yield 0, _END_BYTES
    between = size - 2 * _END_BYTES - _SAMPLE_BYTES
    for sample in range(_SAMPLES):
        yield _END_BYTES + between * sample // (_SAMPLES - 1), _SAMPLE_BYTES
    yield size - _END_BYTES, _END_BYTES


def _time(nanoseconds: int) -> str:
    # Through the fraction, because a float does not hold nanoseconds and `touch` takes them.
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{fraction:09} UTC"
