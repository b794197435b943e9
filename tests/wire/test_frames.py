"""Frames as bytes, against the section of RFC 9113 that draws each."""

from __future__ import annotations

import pytest

from livepost.wire.frames import (
    FRAME_BYTES,
    PADDED,
    ConnectionFault,
    ErrorCode,
    check_size,
    code_name,
    goaway_frame,
    header_frames,
    ping_frame,
    read_settings,
    rst_stream_frame,
    settings_frame,
    unpack_frame_head,
    window_update_frame,
    without_padding,
)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (settings_frame({}), "000000 04 00 00000000"),
        (settings_frame({2: 0, 4: 65_536}), "00000c 04 00 00000000 0002 00000000 0004 00010000"),
        (ping_frame(b"12345678", 1), "000008 06 01 00000000 3132333435363738"),
        (window_update_frame(3, 65_536), "000004 08 00 00000003 00010000"),
        (rst_stream_frame(5, ErrorCode.CANCEL), "000004 03 00 00000005 00000008"),
        (goaway_frame(ErrorCode.NO_ERROR), "000008 07 00 00000000 00000000 00000000"),
        (goaway_frame(ErrorCode.PROTOCOL_ERROR, "é"), "000009 07 00 00000000 00000000 00000001 3f"),
        (header_frames(1, b"\x82", ends_stream=True), "000001 01 05 00000001 82"),
        (header_frames(1, b"\x82", ends_stream=False), "000001 01 04 00000001 82"),
    ],
)
def test_what_we_say(made: bytes, expected: str) -> None:
    assert made == bytes.fromhex(expected)


@pytest.mark.parametrize("excess", [0, 1, FRAME_BYTES, FRAME_BYTES + 1])
def test_a_block_is_cut_where_a_frame_is_full(excess: int) -> None:
    block = bytes(index % 251 for index in range(FRAME_BYTES + excess))
    data = header_frames(7, block, ends_stream=True)
    position, read, heads = 0, b"", []
    while position < len(data):
        length_and_kind, flags, stream_id = unpack_frame_head(data, position)
        length, kind = length_and_kind >> 8, length_and_kind & 0xFF
        heads.append((kind, flags, stream_id))
        read += data[position + 9 : position + 9 + length]
        position += 9 + length
    assert read == block
    expected = [(1, 1, 7), *[(9, 0, 7)] * ((len(block) - 1) // FRAME_BYTES)]
    kind, flags, stream_id = expected[-1]
    assert heads == [*expected[:-1], (kind, flags | 4, stream_id)]


def test_settings_are_read_in_order() -> None:
    assert read_settings(bytes.fromhex("000400000001 000400000002")) == [(4, 1), (4, 2)]
    with pytest.raises(ConnectionFault) as caught:
        read_settings(bytes(7))
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("flags", "payload", "expected"),
    [
        (0, b"\5abc", b"\5abc"),
        (0, b"", b""),
        (PADDED, b"\0abc", b"abc"),
        (PADDED, b"\2abc", b"a"),
        (PADDED, b"\3abc", b""),
        (PADDED, b"\0", b""),
    ],
)
def test_padding_is_taken_off(flags: int, payload: bytes, expected: bytes) -> None:
    assert without_padding(flags, payload) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", ErrorCode.FRAME_SIZE_ERROR),
        (b"\4abc", ErrorCode.PROTOCOL_ERROR),
        (b"\1", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_padding_larger_than_the_frame(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        without_padding(PADDED, payload)
    assert caught.value.code is code


def test_sizes_and_names() -> None:
    check_size(b"1234", 4)
    with pytest.raises(ConnectionFault):
        check_size(b"123", 4)
    assert code_name(11) == "ENHANCE_YOUR_CALM"
    assert code_name(14) == "error 0xe"
