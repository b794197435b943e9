"""HTTP/2 frames: their numbers, and those that we send as bytes (RFC 9113 sections 4, 6 and 7).

+-----------------------------------------------+
|                 Length (24)                   |
+---------------+---------------+---------------+
|   Type (8)    |   Flags (8)   |
+-+-------------+---------------+-------------------------------+
|R|                 Stream Identifier (31)                      |
+=+=============================================================+
|                   Frame Payload (0...)                      ...
"""

from __future__ import annotations

import enum
import struct

FRAME_HEAD_BYTES = 9

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says before its first frame (section 3.4)."""

FRAME_BYTES = 16_384
"""The largest payload that everybody takes, and the largest that we send or take."""

LARGEST_WINDOW = (1 << 31) - 1
LARGEST_STREAM = (1 << 31) - 1
DEFAULT_WINDOW = 65_535

# Plain numbers: comparing with a member of an IntEnum costs three times as much.
DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PUSH_PROMISE = 5
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6


class ErrorCode(enum.IntEnum):
    """Why a stream or connection ended (section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """The peer broke the protocol such that nothing more on the connection can be believed.

    `code` is what to tell it; the text says what happened.
    """

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


unpack_frame_head = struct.Struct(">IBI").unpack_from
"""Length and type in one number (length << 8 | type), flags, reserved bit and stream."""

_FRAME_HEAD = struct.Struct(">IBI")
_SETTING = struct.Struct(">HI")

SETTING_BYTES = _SETTING.size


def frame_head(kind: int, length: int, flags: int = 0, stream_id: int = 0) -> bytes:
    """The nine bytes before a payload."""
    return _FRAME_HEAD.pack(length << 8 | kind, flags, stream_id)


def settings_frame(settings: dict[int, int]) -> bytes:
    """SETTINGS with these values by number."""
    payload = b"".join([_SETTING.pack(number, value) for number, value in settings.items()])
    return frame_head(SETTINGS, len(payload)) + payload


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Numbers and values in the order in which they are to be applied.  Raises ConnectionFault."""
    if len(payload) % SETTING_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame ends inside a setting")
    return list(_SETTING.iter_unpack(payload))


SETTINGS_ACK = frame_head(SETTINGS, 0, ACK)


def ping_frame(data: bytes, flags: int = 0) -> bytes:
    """PING with these 8 bytes."""
    return frame_head(PING, 8, flags) + data


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame_head(WINDOW_UPDATE, 4, 0, stream_id) + increment.to_bytes(4, "big")


def rst_stream_frame(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame_head(RST_STREAM, 4, 0, stream_id) + code.to_bytes(4, "big")


def goaway_frame(code: ErrorCode, text: str = "") -> bytes:
    """GOAWAY from a client that took no stream from its server."""
    debug = text.encode("ascii", "replace")
    return frame_head(GOAWAY, 8 + len(debug)) + bytes(4) + code.to_bytes(4, "big") + debug


def header_frames(stream_id: int, block: bytes, *, ends_stream: bool) -> bytes:
    """HEADERS, and CONTINUATION as far as the block is larger than a frame."""
    flags = END_STREAM if ends_stream else 0
    kind = HEADERS
    frames = b""
    while len(block) > FRAME_BYTES:
        frames += frame_head(kind, FRAME_BYTES, flags, stream_id) + block[:FRAME_BYTES]
        block = block[FRAME_BYTES:]
        kind, flags = CONTINUATION, 0
    return frames + frame_head(kind, len(block), flags | END_HEADERS, stream_id) + block


def code_name(code: int) -> str:
    """An error code in words; servers may send numbers of their own."""
    return ErrorCode(code).name if code in ErrorCode.__members__.values() else f"error {code:#x}"


def check_size(payload: bytes, size: int) -> None:
    """Raise ConnectionFault unless the payload has its only possible size."""
    if len(payload) != size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "the server sent a frame of the wrong size")


def without_padding(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding (section 6.1).  Raises ConnectionFault."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame does not say how much")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame has more padding than payload")
    return payload[1 : len(payload) - padding]
