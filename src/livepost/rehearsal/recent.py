"""Remembers which records were there, in bounded memory."""

from __future__ import annotations

import mmap

RECORDS_REMEMBERED = 2**20
"""At least so many of the last records are remembered, and at most twice as many."""

_SLOTS_PER_RECORD = 2


class RecentRecords:
    """A set of 64-bit fingerprints that forgets the oldest.

    Two tables with open addressing, 16 MiB each for a million records (a `set` of as many numbers
    takes 70 MiB), of which a short run touches little.  When the newer is full the older is dropped.
    Two different records are taken for one with a probability of n²/2⁶⁵: for two million, one in
    eight million.
    """

    def __init__(self, records: int = RECORDS_REMEMBERED) -> None:
        self._capacity = records
        self._slots = _SLOTS_PER_RECORD * records
        self._newer = self._table()
        self._older = self._table()
        self._count = 0

    def add(self, fingerprint: int) -> bool:
        """Remember it; True if it is remembered already."""
        value = fingerprint & 0xFFFF_FFFF_FFFF_FFFF or 1  # 0 is an empty slot
        if self._find(self._older, value) is None:
            return True
        slot = self._find(self._newer, value)
        if slot is None:
            return True
        self._newer[slot] = value
        self._count += 1
        if self._count == self._capacity:
            self._older, self._newer = self._newer, self._table()
            self._count = 0
        return False

    def _table(self) -> memoryview:
        return memoryview(mmap.mmap(-1, 8 * self._slots)).cast("Q")  # zeroes

    def _find(self, table: memoryview, value: int) -> int | None:
        """The empty slot where it belongs; None if it is there."""
        slot = value % self._slots
        while (held := table[slot]) != value:
            if held == 0:
                return slot
            slot = (slot + 1) % self._slots
        return None
