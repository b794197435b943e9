"""A terminal that a command draws on."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from types import TracebackType

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?[34][0-8][0-9;]*m")


class Terminal:
    """Hand `descriptor` to the command, and call `started` when it has it."""

    def __init__(self, columns: int) -> None:
        self._ours, self.descriptor = pty.openpty()
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._shown = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.started()
        os.close(self._ours)

    def started(self) -> None:
        """Close our copy of the command's side, so that its end can be seen."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def wait_for(self, words: str) -> None:
        """Until this was drawn; fails if the command ends first."""
        while words not in self.shown:
            assert self._read(), f"the command ended without showing {words!r}: {self.shown!r}"

    def wait_for_end(self) -> None:
        while self._read():
            pass

    @property
    def shown(self) -> str:
        """Everything drawn so far."""
        return self._shown.decode()

    @property
    def lines(self) -> list[str]:
        """The same without control sequences, each line as it was drawn."""
        return [line for line in re.split("[\r\n]+", _CONTROL.sub("", self.shown)) if line]

    @property
    def is_coloured(self) -> bool:
        return _COLOUR.search(self.shown) is not None

    @property
    def moves_cursor(self) -> bool:
        return _CONTROL.search(self.shown) is not None

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65_536)
        except OSError:
            # Nobody has the other side any more.
            return False
        self._shown += data
        return bool(data)
