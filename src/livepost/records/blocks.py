"""Reads a file, or standard input, in blocks."""

from __future__ import annotations

import errno
import os
import select
import stat
import zlib
from collections.abc import Generator
from io import FileIO

from livepost.errors import ConfigurationError, InputError

# As much as a pipe holds.
BLOCK_BYTES = 64 * 1024
# Every block that changes threads costs about twenty waits for the interpreter lock: for records of 200
# bytes four times as much at a time takes 4 % off all the CPU they cost.  It keeps that lock for 0.5 ms.
LARGEST_BLOCK_BYTES = 4 * BLOCK_BYTES
# Ten times as many, of one digit each, would take 16 MB more.
_ENOUGH_RECORDS = 1_500
STANDARD_INPUT = "-"

_GZIP_MAGIC = b"\x1f\x8b"
# Small, because the rest of a block is copied once for every gzip member that ends in it.
_COMPRESSED_BYTES = 32 * 1024
_HINTS = {
    errno.ENOENT: "check the name; relative names start at the working directory",
    errno.EACCES: "check its permissions",
    errno.EISDIR: "name the files in it, as in DIRECTORY/*.ndjson",
    errno.EBADF: "it is closed; redirect a file or a pipe to it",
}


def next_block_bytes(block_bytes: int, records: int) -> int:
    """How much to read next after a block of this size that held so many records."""
    wanted = block_bytes * _ENOUGH_RECORDS // max(1, records)
    return max(BLOCK_BYTES, min(wanted, LARGEST_BLOCK_BYTES))


class InputFile:
    """One file that is read once from its start; `-` is standard input.

    gzip is recognised by its first bytes, whatever the name, and decompressed on the way.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.block_bytes = BLOCK_BYTES
        """How much is read at a time; may be changed between two blocks."""
        self.bytes_read = 0
        """Taken from the file so far, before decompression."""
        self.identity: tuple[int, int] | None = None
        """The same for every name of the file; known after `check`."""

    @property
    def name(self) -> str:
        """What people call it."""
        return "standard input" if self.path == STANDARD_INPUT else self.path

    def check(self) -> int | None:
        """Make sure that it can be opened; return its size in bytes, None if only the end will tell.

        Raises ConfigurationError.  Pipes are not opened: whoever writes to one would take that, and
        the close that follows, for the reader going away.
        """
        try:
            status = os.fstat(0) if self.path == STANDARD_INPUT else os.stat(self.path)
            self.identity = status.st_dev, status.st_ino
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if self.path != STANDARD_INPUT and stat.S_ISREG(status.st_mode):
                self._open().close()
            elif self.path != STANDARD_INPUT and not os.access(self.path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (OSError, ValueError) as error:
            raise ConfigurationError(*self._explain(error)) from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield its content in blocks of at most `block_bytes`, a pipe's as soon as it is there.

        The file is open only while the generator is, so close that.  Raises InputError when the file
        cannot be read or decompressed (any further), after everything before that was yielded.
        """
        try:
            file = self._open()
        except (OSError, ValueError) as error:
            raise InputError(*self._explain(error)) from error
        with file:
            block = self._read(file)
            while block == _GZIP_MAGIC[:1] and (more := self._read(file)):
                block += more
            if block.startswith(_GZIP_MAGIC):
                yield from self._decompressed(file, block)
                return
            while block:
                yield block
                block = self._read(file)

    def _open(self) -> FileIO:
        if self.path == STANDARD_INPUT:
            return FileIO(0, closefd=False)
        return FileIO(self.path)

    def _read(self, file: FileIO, size: int | None = None) -> bytes:
        while True:
            try:
                block = os.read(file.fileno(), size or self.block_bytes)
            except BlockingIOError:
                # Standard input is in non-blocking mode if any program sharing the pipe set it so.
                select.select([file], [], [])
            except OSError as error:
                raise InputError(*self._explain(error)) from error
            else:
                self.bytes_read += len(block)
                return block

    def _decompressed(self, file: FileIO, compressed: bytes) -> Generator[bytes, None, None]:
        member = zlib.decompressobj(wbits=31)
        while True:
            limit = self.block_bytes
            try:
                plain = member.decompress(compressed, limit)
            except zlib.error as error:
                raise InputError(
                    f"{self.name} is damaged: {error}",
                    "check it with `gzip -t`, and copy or download it again",
                ) from error
            if plain:
                yield plain
            if member.eof:
                compressed = self._next_member(file, member.unused_data)
                if not compressed:
                    return
                member = zlib.decompressobj(wbits=31)
            elif len(plain) == limit:
                compressed = member.unconsumed_tail
            else:
                compressed = self._read(file, _COMPRESSED_BYTES)
                if not compressed:
                    raise InputError(
                        f"{self.name} is cut short: it ends in the middle of its gzip data",
                        "copy or download it again",
                    )

    def _next_member(self, file: FileIO, compressed: bytes) -> bytes:
        """What follows a member's end; zero bytes are padding (as tapes have it)."""
        while not (compressed := compressed.lstrip(b"\0")):
            compressed = self._read(file, _COMPRESSED_BYTES)
            if not compressed:
                return b""
        return compressed

    def _explain(self, error: OSError | ValueError) -> tuple[str, str]:
        if isinstance(error, OSError):
            what = (error.strerror or str(error)).lower()
            hint = _HINTS.get(error.errno or 0, "check the file and the disk it is on")
        else:
            what, hint = "no file can have that name", "check the name"
        return f"cannot read {self.name}: {what}", hint
