"""Files of a run directory: for the owner only, durable when asked, their errors in words for people.

Whatever the umask, a file is made with mode 0600 and a directory with 0700: records and answers may
hold personal data.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livepost.errors import ConfigurationError, OutputError, RunError

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_FULL = "make room there, then continue it with livepost resume"
_START_HINTS = {
    errno.ENOENT: "create the directory it is in, or give another path",
    errno.ENOTDIR: "part of the path is a file, give another path",
    errno.EEXIST: "that is a file, give another path",
    errno.EACCES: "give --run a directory that you may write, or switch it off with --no-run",
    errno.EPERM: "give --run a directory that belongs to you, or switch it off with --no-run",
    errno.EROFS: "give --run a path on a file system that can be written, or switch it off with --no-run",
    errno.ENOSPC: "make room, or give --run a path on another disk",
    errno.EDQUOT: "make room, or give --run a path on another disk",
}
_WRITE_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), then continue it with livepost resume",
}
_READ_HINTS = {
    errno.ENOENT: "list the runs with livepost runs",
    errno.ENOTDIR: "give the path of a run directory",
    errno.EACCES: "check its permissions",
}


@contextmanager
def starting(directory: Path) -> Iterator[None]:
    """Turn an OSError into a ConfigurationError: the run directory cannot be made, nothing was sent."""
    try:
        yield
    except OSError as error:
        hint = _START_HINTS.get(error.errno or 0, "give --run another path, or switch it off with --no-run")
        raise ConfigurationError(
            f"the run directory {str(directory)!r} cannot be made: {_words(error)}", hint
        ) from error


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError: the run cannot go on, and can be resumed."""
    try:
        yield
    except OSError as error:
        hint = _WRITE_HINTS.get(error.errno or 0, "check the disk, then continue it with livepost resume")
        raise OutputError(
            f"the run directory {str(directory)!r} cannot be written any further: {_words(error)}", hint
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError into a RunError: a file of a run directory cannot be read."""
    try:
        yield
    except OSError as error:
        hint = _READ_HINTS.get(error.errno or 0, "check the disk it is on")
        raise RunError(f"cannot read {str(path)!r}: {_words(error)}", hint) from error


def open_private(path: Path, flags: int) -> int:
    """Open with these flags, and O_CREAT; a file that this makes is its owner's only."""
    file = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            os.fchmod(file, _FILE_MODE)
    except OSError:
        os.close(file)
        raise
    return file


def make_private(directory: Path) -> None:
    """Make the directory, or take it if it exists, and shut others out."""
    directory.mkdir(_DIRECTORY_MODE, exist_ok=True)
    directory.chmod(_DIRECTORY_MODE)


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write to the end; on an error some of it may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content so that a crash at any moment leaves the old or the new, whole and durable."""
    new = path.with_name(path.name + ".new")
    file = open_private(new, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make what the directory lists durable."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_file(path: Path) -> None:
    """Make a file's content durable, also what was written through another descriptor."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
