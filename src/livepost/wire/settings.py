"""SETTINGS of both sides: what we ask for, and what the peer's change (RFC 9113 section 6.5).

The peer's MAX_HEADER_LIST_SIZE is advice: a larger head is sent all the same, as over HTTP/1.1, and a server
that minds answers 431, which says better what is wrong than an error of ours would.
"""

from __future__ import annotations

from livepost.wire.flow import Uploads
from livepost.wire.frames import (
    ENABLE_PUSH,
    FRAME_BYTES,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    ConnectionFault,
    ErrorCode,
    read_settings,
    settings_frame,
)
from livepost.wire.hpack import TABLE_BYTES
from livepost.wire.request_block import RequestBlocks
from livepost.wire.response_head import HEAD_BYTES_LIMIT

_LARGEST_FRAME = (1 << 24) - 1


def our_settings(stream_window: int) -> bytes:
    """The frame to begin with: no push, and a stream's window as large as the largest answer."""
    return settings_frame(
        {
            # The default, but nginx keeps no table of its own and says so only if it hears of ours; otherwise
            # every answer would change our table, and no head mean the same twice (5 µs instead of 1).
            HEADER_TABLE_SIZE: TABLE_BYTES,
            ENABLE_PUSH: 0,
            INITIAL_WINDOW_SIZE: stream_window,
            MAX_HEADER_LIST_SIZE: HEAD_BYTES_LIMIT,
        }
    )


class PeerSettings:
    """What the peer set, applied to what depends on it."""

    __slots__ = ("_blocks", "_uploads", "are_known", "max_streams", "values")

    def __init__(self, blocks: RequestBlocks, uploads: Uploads) -> None:
        self._blocks = blocks
        self._uploads = uploads
        self.are_known = False
        """The peer has said what it wants; its first frame must be that."""
        self.max_streams = 1
        """How many streams may be open.  Until it is known, one, as a larger number may be refused."""
        self.values: dict[int, int] = {}
        """All that it set, by number, also what nothing here depends on."""

    def apply(self, payload: bytes) -> None:
        """Take a SETTINGS frame.  Raises ConnectionFault."""
        if not self.are_known:
            self.are_known = True
            self.max_streams = LARGEST_WINDOW
        for number, value in read_settings(payload):
            self._apply(number, value)
            self.values[number] = value

    def _apply(self, number: int, value: int) -> None:
        if number == HEADER_TABLE_SIZE:
            self._blocks.set_table_limit(value)
        elif number == ENABLE_PUSH and value != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server sets ENABLE_PUSH, which is ours")
        elif number == MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        elif number == INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the server sets too large a window")
            self._uploads.set_initial_window(value)
        elif number == MAX_FRAME_SIZE and not FRAME_BYTES <= value <= _LARGEST_FRAME:
            # Otherwise not made use of: larger frames save nothing, hold up other streams, and not every
            # server takes them as soon as it should.
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server sets an impossible frame size")
