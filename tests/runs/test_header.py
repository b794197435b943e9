from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.runs.header import CLOSED, PAGE_BYTES, SECTOR_BYTES, Header, HeaderDefect

RUN = "0b8f1c5e-8a52-4c0e-9d6e-0a8f6a3f1b11"
BOOT = "e73d414e-1159-436f-b927-71e07cc34d71"


@given(reserved=st.integers(0, 2**62), boot_id=st.sampled_from([BOOT, CLOSED, "unknown"]))
def test_a_page_gives_back_what_it_was_made_of(reserved: int, boot_id: str) -> None:
    header = Header(RUN, boot_id, reserved)
    page = header.to_page()
    assert len(page) == PAGE_BYTES
    assert Header.from_page(page) == header


def test_the_page_can_be_read_by_people() -> None:
    lines = Header(RUN, BOOT, 1234).to_page().decode("ascii").splitlines()
    assert lines[:4] == ["livepost states 1", f"run {RUN}", f"boot {BOOT}", "reserved 00000000000000001234"]
    assert "R rejected" in lines[5]


def test_what_changes_is_written_by_the_disk_at_once() -> None:
    first, second = Header(RUN, BOOT, 1).to_page(), Header(RUN, BOOT, 2**62).to_page()
    assert first[SECTOR_BYTES:] == second[SECTOR_BYTES:]


@given(place=st.integers(0, PAGE_BYTES - 1), bits=st.integers(1, 255))
def test_a_change_of_any_byte_is_found(place: int, bits: int) -> None:
    page = bytearray(Header(RUN, BOOT, 1234).to_page())
    page[place] ^= bits
    with pytest.raises(HeaderDefect):
        Header.from_page(bytes(page))


@given(size=st.integers(0, PAGE_BYTES - 1))
def test_a_page_that_is_cut_short_is_found(size: int) -> None:
    page = Header(RUN, BOOT, 1234).to_page()
    for cut in (page[:size], page[:size].ljust(PAGE_BYTES, b"\0")):
        with pytest.raises(HeaderDefect):
            Header.from_page(cut)


def test_a_newer_format_is_called_so_whatever_it_holds() -> None:
    with pytest.raises(HeaderDefect, match="a newer livepost wrote it \\(format 2\\)"):
        Header.from_page(b"livepost states 2\nsomething else\n".ljust(PAGE_BYTES))
