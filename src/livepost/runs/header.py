"""The first page of a `states` file: whose it is, and how far records may have been sent.

Lines of text, so that `head -3 states` shows them.  The page follows from three values, so a page that
is not exactly what its values give is damaged.  Its values stand in its first 512 bytes, which a disk
writes whole or not at all: no power cut leaves half of the old and half of the new.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

CLOSED = "closed"
PAGE_BYTES = 4096
SECTOR_BYTES = 512

_FORMAT = 1
_LEGEND = (
    "byte 4095+n of this file is record n: F in flight, D delivered, R rejected, Q in doubt, NUL unsent\n"
)
_LINES = re.compile(
    rb"livepost states ([0-9]{1,9})\n(?:run (\S{36})\nboot (\S{1,64})\nreserved ([0-9]{20})\n)?"
)


class HeaderDefect(Exception):
    """The page is not one that livepost wrote; says why in a few words."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first page says."""

    run_id: str
    boot_id: str
    """Of the machine's start during which the marks are written; CLOSED when all are on the disk."""
    reserved: int
    """No record above this number can have been sent."""

    def to_page(self) -> bytes:
        """The page as it stands in the file."""
        lines = (
            f"livepost states {_FORMAT}\n"
            f"run {self.run_id}\n"
            f"boot {self.boot_id}\n"
            f"reserved {self.reserved:020}\n"
        ).encode()
        checksum = hashlib.blake2b(lines, digest_size=8).hexdigest()
        return (lines + f"checksum {checksum}\n{_LEGEND}".encode()).ljust(PAGE_BYTES - 1) + b"\n"

    @classmethod
    def from_page(cls, page: bytes) -> Header:
        """Read what `to_page` made.  Raises HeaderDefect for anything else."""
        found = _LINES.match(page)
        if found is None:
            raise HeaderDefect("its first lines are not those of such a file")
        version, run_id, boot_id, reserved = found.groups()
        if int(version) > _FORMAT:
            raise HeaderDefect(f"a newer livepost wrote it (format {int(version)})")
        if run_id is None or not (run_id + boot_id).isascii():
            raise HeaderDefect("its first lines are not those of such a file")
        header = cls(run_id.decode(), boot_id.decode(), int(reserved))
        if header.to_page() != page:
            raise HeaderDefect("its first page is damaged")
        return header
