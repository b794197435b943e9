"""A set of record numbers that takes little more than a bit for each."""

from __future__ import annotations

_PAGE_BITS = 13
_PAGE_BYTES = 1 << _PAGE_BITS - 3
_IN_PAGE = (1 << _PAGE_BITS) - 1


class NumberSet:
    """Numbers from 0 on.  All of a hundred million records take 14 MB, one alone takes 1 KiB."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> None:
        page = self._pages.get(number >> _PAGE_BITS)
        if page is None:
            page = self._pages[number >> _PAGE_BITS] = bytearray(_PAGE_BYTES)
        place = number & _IN_PAGE
        page[place >> 3] |= 1 << (place & 7)

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _PAGE_BITS)
        place = number & _IN_PAGE
        return page is not None and bool(page[place >> 3] >> (place & 7) & 1)
