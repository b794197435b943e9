"""Heads of answers, and which of their blocks are remembered; what is malformed is in the hostile tests."""

from __future__ import annotations

import hpack
import pytest

from livepost.wire.frames import ConnectionFault
from livepost.wire.hpack import encode_value
from livepost.wire.response_block import BlockHead, BlockReader
from livepost.wire.response_head import ProtocolError

OK_FIELDS = [(b":status", b"200"), (b"server", b"x"), (b"content-length", b"29")]
HEAD = BlockHead(200, ((b"server", b"x"), (b"content-length", b"29")), 29, True)


def block(*fields: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"\0" + encode_value(name) + encode_value(value) for name, value in fields)


def test_a_block_is_known_while_the_table_stays() -> None:
    reader, encoder = BlockReader(16_384), hpack.Encoder()
    first, second = encoder.encode(OK_FIELDS), encoder.encode(OK_FIELDS)
    assert reader.read_head(first) == HEAD
    assert reader.known == {}
    assert reader.read_head(second) == HEAD
    assert reader.known == {second: HEAD}
    # A new date shifts the numbers of all that was said before.
    third = encoder.encode([*OK_FIELDS, (b"date", b"now")])
    assert reader.read_head(third).fields[-1] == (b"date", b"now")
    assert reader.known == {}
    assert reader.read_head(encoder.encode(OK_FIELDS)) == HEAD


@pytest.mark.parametrize("skip", [BlockReader.skip, BlockReader.read_trailers])
def test_blocks_that_are_no_heads_change_the_table_too(skip: object) -> None:
    reader = BlockReader(16_384)
    reader.read_head(b"\x88")
    assert reader.known == {b"\x88": BlockHead(200, (), -1, True)}
    assert callable(skip)
    skip(reader, b"\x40\x01a\x01b")
    assert reader.known == {}
    assert reader.read_head(b"\x88\xbe").fields == ((b"a", b"b"),)


def test_a_malformed_head_changes_the_table_too() -> None:
    reader = BlockReader(16_384)
    reader.read_head(b"\x88")
    with pytest.raises(ProtocolError):
        reader.read_head(b"\x40\x01a\x01b")
    assert reader.known == {}
    assert reader.read_head(b"\x88\xbe").fields == ((b"a", b"b"),)


def test_without_a_table_the_same_literals_are_known() -> None:
    reader = BlockReader(16_384)
    # As nginx has it: the table is given up first, and every field to be added to it.
    fields = b"\x5c\x0229\x76\x01x"
    assert reader.read_head(b"\x20\x88" + fields).length == 29
    assert reader.read_head(b"\x88" + fields).length == 29
    # The first one did something.
    assert list(reader.known) == [b"\x88" + fields]


def test_what_is_known_is_bounded() -> None:
    reader = BlockReader(16_384)
    for number in range(1_000):
        reader.read_head(block((b":status", b"200"), (b"x", b"%d" % number)))
    assert len(reader.known) <= 64
    assert len(reader._sound) <= 256
    size = len(reader.known)
    reader.read_head(block((b":status", b"200"), (b"x", b"y" * 2_048)))
    assert len(reader.known) == size


@pytest.mark.parametrize(
    ("longest", "status", "length", "is_plain"),
    [
        (16_384, 200, b"16384", True),
        (16_384, 200, b"16385", False),
        (16_384, 200, None, True),
        (16_384, 404, b"0", True),
        (16_384, 103, None, False),
        (10, 200, b"10", True),
        (10, 200, b"11", False),
        (10, 200, None, False),
        (10, 204, None, True),
    ],
)
def test_which_heads_are_plain(longest: int, status: int, length: bytes | None, is_plain: bool) -> None:
    reader = BlockReader(longest)
    fields = () if length is None else ((b"content-length", length),)
    head = reader.read_head(block((b":status", b"%d" % status), *fields))
    assert reader.is_plain(head) is is_plain
    assert len(reader.known) == is_plain


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ((), -1),
        (((b"content-length", b"0"),), 0),
        (((b"content-length", b"7"), (b"content-length", b"7")), 7),
        (((b"content-length", b"7, 7 ,7"),), 7),
        (((b"content-length", b"9" * 18),), 10**18 - 1),
    ],
)
def test_lengths(fields: tuple[tuple[bytes, bytes], ...], length: int) -> None:
    assert BlockReader(16_384).read_head(block((b":status", b"200"), *fields)).length == length


def test_a_block_that_cannot_be_decoded_ends_the_connection() -> None:
    for read in (BlockReader.read_head, BlockReader.read_trailers, BlockReader.skip):
        with pytest.raises(ConnectionFault):
            read(BlockReader(16_384), b"\x80")
