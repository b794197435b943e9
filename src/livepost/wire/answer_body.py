"""The body of one HTTP/1.1 answer, while it comes: by its length, in chunks, or until close (RFC 9112, 6)."""

from __future__ import annotations

from livepost.wire.chunked import ChunkedReader
from livepost.wire.message import Fields
from livepost.wire.response_head import Framing, ProtocolError


class AnswerBody:
    """Takes its bytes off what is read, until `is_complete`; what is until close never is by itself.

    More than `limit` bytes of content are a ProtocolError.
    """

    __slots__ = ("_chunked", "_content", "_framing", "_length", "_limit", "is_complete")

    def __init__(self, framing: Framing, length: int, limit: int) -> None:
        self._framing = framing
        self._length = length
        self._limit = limit
        self._content = bytearray()
        self._chunked = ChunkedReader() if framing is Framing.CHUNKED else None
        self.is_complete = framing is Framing.LENGTH and length == 0

    @property
    def is_until_close(self) -> bool:
        return self._framing is Framing.UNTIL_CLOSE

    @property
    def content(self) -> bytes:
        """What has come of it, within the limit."""
        content = self._content if self._chunked is None else self._chunked.body
        return bytes(content[: self._limit])

    @property
    def trailers(self) -> Fields:
        return () if self._chunked is None else self._chunked.trailers

    def take(self, buffer: bytearray) -> None:
        """Take off the buffer what belongs to it.  Raises ProtocolError."""
        if self._chunked is not None:
            self._take_chunks(self._chunked, buffer)
            return
        missing = len(buffer) if self.is_until_close else self._length - len(self._content)
        self._content += buffer[:missing]
        del buffer[:missing]
        self._check_size(len(self._content))
        self.is_complete = not self.is_until_close and len(self._content) == self._length

    def _take_chunks(self, chunked: ChunkedReader, buffer: bytearray) -> None:
        data = bytes(buffer)
        buffer.clear()
        chunked.feed(data)
        self._check_size(len(chunked.body))
        buffer += chunked.rest
        self.is_complete = chunked.is_complete

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolError(f"an answer's body is longer than {self._limit} bytes")
