"""Requests as frames: HEADERS, CONTINUATION, DATA (RFC 9113 section 8.1).

Of a request like the one before, nothing is new but the stream's number and the body.  What stands
around these is its shape, and kept by the size of the body.
"""

from __future__ import annotations

from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    frame_head,
    header_frames,
)
from livepost.wire.message import Exchange, RequestHead
from livepost.wire.request_block import RequestBlocks, framing_part, own_part
from livepost.wire.stream import UNFINISHED, Stream
from livepost.wire.streams import Streams

_SHAPES_REMEMBERED = 1_024
_SHAPED_BLOCK_BYTES = 1_024


class Requests:
    """Opens streams.

    `send` takes any exchange.  If `shapes` has the size of its body and `head` is its head, the caller may
    output it without, as long as the window allows and no other body waits for its turn.
    """

    __slots__ = ("_blocks", "_streams", "head", "shapes")

    def __init__(self, streams: Streams, blocks: RequestBlocks) -> None:
        self._streams = streams
        self._blocks = blocks
        self.head: RequestHead | None = None
        """The head of the requests whose shapes are known."""
        self.shapes: dict[int, tuple[bytes, bytes, bytes, int]] = {}
        """By the size of a body: HEADERS up to the number of the stream, the block, DATA up to the number,
        and how long the whole is, body included."""

    def send(self, exchange: Exchange, *, is_held: bool) -> None:
        """Open a stream, and output what may be output now; `is_held` holds the body back.

        Raises ValueError if HTTP cannot carry it; then nothing has happened.
        """
        head, body = exchange.head, exchange.body
        size = len(body)
        streams = self._streams
        uploads, output = streams.uploads, streams.output
        # First, as it may refuse the exchange: the constant part, once made, must be sent.
        own = own_part(exchange.fields)
        constant, is_lasting = self._blocks.constant(head)
        if not is_lasting:
            self._forget_shapes()
        block = constant + framing_part(head, size)
        stream_id = streams.next_id
        streams.next_id += 2
        stream = streams.open[stream_id] = Stream(exchange, output.end, UNFINISHED)
        frames = header_frames(stream_id, block + own, ends_stream=not size)
        is_held = size > 0 and (is_held or head.expect_continue)
        is_whole = not is_held and uploads.takes_now(size)
        if is_whole and size:
            uploads.window -= size
            frames += frame_head(DATA, size, END_STREAM, stream_id) + body
        output.parts.append(frames)
        output.end += len(frames)
        if is_whole:
            stream.end = output.end
        else:
            stream.unsent = memoryview(body)
            uploads.add(stream_id, stream, is_held=is_held)
        if not is_whole or head.method == b"HEAD":
            stream.body = bytearray()
        elif is_lasting and size and not head.close and len(block) <= _SHAPED_BLOCK_BYTES:
            self._remember_shape(head, block, size)

    def settings_changed(self) -> None:
        """The peer has greeted, or changed what shapes rest on: header table, size of a stream's window."""
        self._forget_shapes()
        uploads = self._streams.uploads
        for stream_id, stream in list(uploads.held.items()):
            if not stream.exchange.head.expect_continue:
                uploads.release(stream_id)

    def _remember_shape(self, head: RequestHead, block: bytes, size: int) -> None:
        if head is not self.head or len(self.shapes) >= _SHAPES_REMEMBERED:
            self._forget_shapes()
            self.head = head
        before = frame_head(HEADERS, len(block), END_HEADERS)[:5]
        between = frame_head(DATA, size, END_STREAM)[:5]
        self.shapes[size] = before, block, between, len(before) + len(block) + len(between) + 8 + size

    def _forget_shapes(self) -> None:
        self.head = None
        self.shapes.clear()
