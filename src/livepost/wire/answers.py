"""The frames that make up answers: HEADERS, CONTINUATION, DATA, RST_STREAM (RFC 9113 sections 6 and 8.1).

    HEADERS (1xx) … HEADERS (final) [DATA …] [HEADERS (trailers)]      the last with END_STREAM

What is wrong with one answer ends its stream; the connection lives on.
"""

from __future__ import annotations

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import (
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HAS_PRIORITY,
    LARGEST_WINDOW,
    ConnectionFault,
    ErrorCode,
    check_size,
    code_name,
    window_update_frame,
    without_padding,
)
from livepost.wire.machine import Event
from livepost.wire.patience import CalmLimit, Patience
from livepost.wire.response_block import BlockHead, BlockReader
from livepost.wire.response_head import HEAD_BYTES_LIMIT, ProtocolError
from livepost.wire.stream import Stream
from livepost.wire.streams import Streams

CONTINUATIONS_LIMIT = 64

# What of a stream's window was spent on padding is given back in steps of this size.
_PADDING_STEP_BYTES = DEFAULT_WINDOW // 2

# RFC 9113 section 8.7: they promise that nothing was done.  So does, by its sense, the second.
_REFUSALS = (ErrorCode.REFUSED_STREAM, ErrorCode.HTTP_1_1_REQUIRED)


class PartialBlock:
    """A header block that goes on in CONTINUATION frames, bounded in bytes and in frames (CVE-2024-27316)."""

    __slots__ = ("_frames", "block", "ends_stream", "stream_id")

    def __init__(self, stream_id: int, fragment: bytes, *, ends_stream: bool) -> None:
        self.stream_id = stream_id
        self.ends_stream = ends_stream
        self.block = bytearray(fragment)
        self._frames = 0

    def add(self, fragment: bytes) -> None:
        """Take the next fragment.  Raises ConnectionFault."""
        self.block += fragment
        self._frames += 1
        if len(self.block) > HEAD_BYTES_LIMIT or self._frames > CONTINUATIONS_LIMIT:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"an answer's head is longer than {HEAD_BYTES_LIMIT} bytes"
            )


class Answers:
    """Reads answers frame by frame.

    Each `on_` method takes flags, stream and payload of a frame, and the list of events to add to; it
    raises ConnectionFault when the connection cannot go on.
    """

    __slots__ = ("_calm", "_patience", "_streams", "partial", "reader", "stream_window")

    def __init__(self, streams: Streams, patience: Patience, calm: CalmLimit) -> None:
        self._streams = streams
        self._patience = patience
        self._calm = calm
        self.stream_window = min(LARGEST_WINDOW, streams.max_response_bytes + DEFAULT_WINDOW)
        """What the peer may send on one stream: more than is read of any answer."""
        self.reader = BlockReader(min(streams.max_response_bytes, FRAME_BYTES))
        self.partial: PartialBlock | None = None
        """The block that must go on in the next frame."""

    def on_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        streams = self._streams
        data = without_padding(flags, payload)
        ends_stream = bool(flags & END_STREAM)
        stream = streams.open.get(stream_id)
        if stream is None or not (data or ends_stream):
            self._patience.spend(streams.next_id)
        if stream is None:
            streams.check_ignorable(stream_id)
            if ends_stream:
                streams.ended(stream_id)
        elif not self._use_window(stream_id, stream, len(payload), len(payload) - len(data)):
            reason = "the server sent more on a stream than its window allows"
            events.append(streams.refuse(stream_id, stream, ErrorCode.FLOW_CONTROL_ERROR, reason))
        else:
            try:
                events += self._add_to_body(stream_id, stream, data, ends_stream=ends_stream)
            except ProtocolError as error:
                events.append(streams.refuse(stream_id, stream, ErrorCode.PROTOCOL_ERROR, str(error)))

    def _use_window(self, stream_id: int, stream: Stream, size: int, padding: int) -> bool:
        """Count what came on the stream; False if it was too much."""
        stream.received += size
        if stream.received > self.stream_window:
            return False
        stream.padding += padding
        if stream.padding >= _PADDING_STEP_BYTES:
            self._streams.output.add_within_limit(window_update_frame(stream_id, stream.padding))
            stream.received -= stream.padding
            stream.padding = 0
        return True

    def _add_to_body(self, stream_id: int, stream: Stream, data: bytes, *, ends_stream: bool) -> list[Event]:
        streams = self._streams
        head = stream.head
        if head is None:
            raise ProtocolError("the server sent a body without a head")
        if stream.body is None:
            stream.body = bytearray()
        stream.body += data
        _check_length(stream, head, is_over=ends_stream)
        if len(stream.body) > streams.max_response_bytes:
            if ends_stream:
                return [streams.settle_ended(stream_id, stream)]
            return [streams.give_up(stream_id, stream, "")]
        return [streams.answer(stream_id, stream, head)] if ends_stream else []

    def on_headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        fragment = without_padding(flags, payload)
        if flags & HAS_PRIORITY:
            if len(fragment) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame ends inside its priority")
            fragment = fragment[5:]
        ends_stream = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            self._read_block(stream_id, fragment, events, ends_stream=ends_stream)
        else:
            self._streams.check_not_idle(stream_id)
            self.partial = PartialBlock(stream_id, fragment, ends_stream=ends_stream)

    def on_continuation(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        partial = self.partial
        if partial is None or stream_id != partial.stream_id:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "the server continues a head that it had not begun"
            )
        partial.add(payload)
        if flags & END_HEADERS:
            self.partial = None
            self._read_block(stream_id, bytes(partial.block), events, ends_stream=partial.ends_stream)

    def _read_block(self, stream_id: int, block: bytes, events: list[Event], *, ends_stream: bool) -> None:
        streams = self._streams
        stream = streams.open.get(stream_id)
        if stream is None:
            self._patience.spend(streams.next_id)
            streams.check_ignorable(stream_id)
            self.reader.skip(block)
            if ends_stream:
                streams.ended(stream_id)
            return
        try:
            if stream.head is None:
                events += self._read_head(stream_id, stream, block, ends_stream=ends_stream)
            else:
                events.append(self._read_trailers(stream_id, stream, block, ends_stream=ends_stream))
        except ProtocolError as error:
            events.append(streams.refuse(stream_id, stream, ErrorCode.PROTOCOL_ERROR, str(error)))

    def _read_head(self, stream_id: int, stream: Stream, block: bytes, *, ends_stream: bool) -> list[Event]:
        streams = self._streams
        head = self.reader.read_head(block)
        if head.status < 200:
            if ends_stream or head.status == 101:
                raise ProtocolError(f"the server's only answer has status {head.status}")
            self._patience.spend(streams.next_id)
            if head.status == 100:
                streams.uploads.release(stream_id)
            return []
        stream.head = head
        if not self.reader.is_plain(head) and stream.body is None:
            stream.body = bytearray()
        if not head.is_whole:
            if ends_stream:
                return [streams.settle_ended(stream_id, stream)]
            return [streams.give_up(stream_id, stream, "")]
        _check_length(stream, head, is_over=ends_stream)
        return [streams.answer(stream_id, stream, head)] if ends_stream else []

    def _read_trailers(self, stream_id: int, stream: Stream, block: bytes, *, ends_stream: bool) -> Event:
        assert stream.head is not None
        trailers = self.reader.read_trailers(block)
        if not ends_stream:
            raise ProtocolError("an answer goes on after its trailers")
        _check_length(stream, stream.head, is_over=True)
        return self._streams.answer(stream_id, stream, stream.head, trailers)

    def on_rst_stream(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        check_size(payload, 4)
        streams = self._streams
        stream = streams.open.get(stream_id)
        if stream is None:
            self._patience.spend(streams.next_id)
            streams.check_not_idle(stream_id)
            streams.was_reset(stream_id)
            return
        code = int.from_bytes(payload, "big")
        if code == ErrorCode.HTTP_1_1_REQUIRED:
            streams.close(CloseReason.HTTP_1_1_REQUIRED)
        elif code == ErrorCode.ENHANCE_YOUR_CALM:
            self._calm.asked(stream_id, streams.next_id, len(streams.open))
        reason = f"the server reset the stream ({code_name(code)})"
        sent = Sent.REFUSED if code in _REFUSALS else None
        events.append(streams.settle(stream_id, stream, reason, sent))
        streams.ignore(stream_id)


def _check_length(stream: Stream, head: BlockHead, *, is_over: bool) -> None:
    """RFC 9113 section 8.1.1: what DATA frames hold is as long as said, if there may be any at all."""
    came = len(stream.body or b"")
    length = 0 if stream.exchange.head.method == b"HEAD" else head.length
    if came > length >= 0 or (is_over and came < length):
        raise ProtocolError("an answer's body is not as long as it says")
