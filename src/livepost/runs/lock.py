"""Who works on a run directory: one process at a time, until it ends in whatever way."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from livepost.errors import RunError
from livepost.runs.disk import open_private

_TRIES = 10
_PAUSE_SECONDS = 0.01


class RunLock:
    """Held from `acquire` to `release`, or until the process is gone (flock).

    The file holds the number of the process, for people; it stays when the lock goes.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Take the lock.  Raises RunError if another process has it, OSError if there can be no lock."""
        file = open_private(path, os.O_RDWR)
        try:
            # Another file by now: a start that failed has taken this one away.
            if not _try_for_a_moment(file) or not os.path.samestat(os.fstat(file), os.stat(path)):
                raise RunError(
                    f"the run {str(path.parent)!r} is being worked on by {_holder(file)}",
                    "wait until that has ended, or end it; livepost show tells how far it is",
                )
            # Only for people: where the disk is full, something that matters will tell.
            with suppress(OSError):
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(file)
            raise
        return cls(file)

    def release(self) -> None:
        """Let others have it.  Releasing twice does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def is_locked(path: Path) -> bool:
    """Some process holds the lock now.  Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _try_for_a_moment(file: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Whoever only looks (`is_locked`) holds it for some microseconds.
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def _holder(file: int) -> str:
    number = os.pread(file, 20, 0).strip()
    return f"process {number.decode()}" if number.isdigit() else "another process"
