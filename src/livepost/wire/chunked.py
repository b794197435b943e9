"""The chunked transfer coding, read incrementally (RFC 9112 section 7.1)."""

from __future__ import annotations

import re

from livepost.wire.message import Fields
from livepost.wire.response_head import HEAD_BYTES_LIMIT, ProtocolError, read_fields

CHUNK_LINE_BYTES_LIMIT = 4_096

# Extensions are skipped, not understood; a bare CR or LF inside them is not let through.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class ChunkedReader:
    """Takes the bytes after a head, keeps the body, and knows when it is over.

    `feed` as bytes come.  Once `is_complete`, `trailers` and `rest` (bytes that belong to nobody)
    are set.
    """

    __slots__ = ("_buffer", "_in_trailers", "_left", "_searched", "body", "is_complete", "rest", "trailers")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0
        """Bytes of the current chunk still to come, with the CR LF behind it; 0 between chunks."""
        self._in_trailers = False
        self._searched = 0
        """Where to go on looking for the end of the trailers."""
        self.body = bytearray()
        self.is_complete = False
        self.trailers: Fields = ()
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Take more bytes.  Raises ProtocolError; what came before it stays in `body`."""
        buffer = self._buffer
        buffer += data
        position = 0
        while not self._in_trailers and position < len(buffer):
            consumed = self._read_chunk_part(position) if self._left else self._read_size_line(position)
            if consumed == 0:
                break
            position += consumed
        del buffer[:position]
        if self._in_trailers:
            self._read_trailers()

    def _read_size_line(self, position: int) -> int:
        end = self._buffer.find(b"\r\n", position, position + CHUNK_LINE_BYTES_LIMIT)
        if end < 0:
            if len(self._buffer) - position >= CHUNK_LINE_BYTES_LIMIT:
                raise ProtocolError("a chunk's size line is too long")
            return 0
        line = _SIZE_LINE.fullmatch(self._buffer, position, end)
        if line is None:
            raise ProtocolError(
                f"malformed chunk size {bytes(self._buffer[position : min(end, position + 24)])!r}"
            )
        size = int(line[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True
        return end + 2 - position

    def _read_chunk_part(self, position: int) -> int:
        buffer = self._buffer
        if self._left > 2:
            taken = min(self._left - 2, len(buffer) - position)
            self.body += memoryview(buffer)[position : position + taken]
            self._left -= taken
            return taken
        # Only the CR LF behind the chunk is left.
        if len(buffer) - position < 2:
            return 0
        if buffer[position : position + 2] != b"\r\n":
            raise ProtocolError("a chunk is longer than it says")
        self._left = 0
        return 2

    def _read_trailers(self) -> None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            end = 2
        else:
            end = buffer.find(b"\r\n\r\n", self._searched, HEAD_BYTES_LIMIT) + 4
            if end == 3:
                if len(buffer) >= HEAD_BYTES_LIMIT:
                    raise ProtocolError("trailers are too long")
                self._searched = max(0, len(buffer) - 3)
                return
            self.trailers = read_fields(bytes(buffer[:end]))
        self.rest = bytes(buffer[end:])
        self.is_complete = True
