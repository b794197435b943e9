"""Blocks that are remembered, and the table that changes in between, against another decoder."""

from __future__ import annotations

import hpack
from hypothesis import example, given
from hypothesis import strategies as st

from livepost.wire.frames import ConnectionFault
from livepost.wire.response_block import BlockReader

OK = b"\x88"
TO_0, TO_60, TO_4096 = b"\x20", b"\x3f\x1d", b"\x3f\xe1\x1f"
ADDED = b"\x40\x01a\x01b"
ADDED_TOO = b"\x40\x01c\x01d"
# The entries that were added last, and before.
NEWEST, SECOND = b"\xbe", b"\xbf"

blocks = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"", b"", b"", TO_0, TO_60, TO_4096, TO_0 + TO_4096]),
    st.just(OK),
    st.lists(st.sampled_from([ADDED, ADDED_TOO, NEWEST, SECOND]), max_size=2).map(b"".join),
)


@given(st.lists(blocks, min_size=2, max_size=12))
@example([TO_4096 + OK, TO_0 + OK, TO_4096 + OK, OK + ADDED, OK + NEWEST])
@example([OK + ADDED, OK + NEWEST, TO_0 + TO_4096 + OK, OK + NEWEST])
def test_a_block_that_is_known_means_what_it_would_mean_anew(blocks: list[bytes]) -> None:
    reader, theirs = BlockReader(16_384), hpack.Decoder()
    for block in blocks:
        try:
            expected = list(theirs.decode(block, raw=True))
        except hpack.HPACKError:
            expected = None
        # As the loop over frames does.
        head = reader.known.get(block)
        if head is None:
            try:
                head = reader.read_head(block)
            except ConnectionFault:
                assert expected is None
                return
        assert expected is not None
        assert head.fields == tuple((bytes(name), bytes(value)) for name, value in expected[1:])


def test_a_size_that_changes_nothing_is_remembered() -> None:
    reader = BlockReader(16_384)
    reader.read_head(TO_4096 + OK)
    assert set(reader.known) == {TO_4096 + OK}
    reader.read_head(TO_60 + OK)
    assert reader.known == {}
    reader.read_head(TO_60 + OK)
    assert set(reader.known) == {TO_60 + OK}
