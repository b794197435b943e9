"""HTTP/2 on one connection: many exchanges at a time, no I/O, no clock (RFC 9113).

A request costs what it differs by: the header block of the first is remembered by the server, from
the second on it is a constant, and with the frame heads around it one tuple of bytes per size of body.
All frames that arrived together are read in one loop.  The common answer (a known header block, and a
body in one frame) takes a short path through that loop; every other frame goes to its own method, in
`Answers` or `Upkeep`.

What is wrong on a stream ends its exchange; what is wrong with the connection ends all of them
(section 5.4).  In both cases an exchange whose status was known comes back as an incomplete answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.wire.answers import Answers
from livepost.wire.flow import Intake, Output, Uploads
from livepost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HEADERS,
    LARGEST_STREAM,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    frame_head,
    goaway_frame,
    unpack_frame_head,
)
from livepost.wire.machine import Answered, Event, Stage
from livepost.wire.message import Exchange, Response
from livepost.wire.patience import CalmLimit, Patience
from livepost.wire.places import Places
from livepost.wire.request_block import RequestBlocks, own_part
from livepost.wire.requests import Requests
from livepost.wire.settings import PeerSettings, our_settings
from livepost.wire.stream import Stream
from livepost.wire.streams import Streams
from livepost.wire.upkeep import Upkeep

_HTTP_1 = b"HTTP/1."

# The type is in the lowest byte.
_LARGEST_LENGTH_AND_KIND = FRAME_BYTES << 8 | 0xFF

_WHOLE_ANSWER = END_HEADERS | END_STREAM

_FrameReader = Callable[[int, int, bytes, list[Event]], None]


class Http2Machine:
    """Satisfies `Machine` (see `wire.machine`) for HTTP/2, and has what only many streams need.

    `max_response_bytes` bounds a response body: what is longer is cut there, and its stream cancelled.
    `most_open` bounds the open exchanges, also where the server names no limit: a lost connection leaves
    all of them in doubt.  Together they bound the memory that a hostile server can claim.

    Take output again when all of it was written, until there is none: large bodies come in steps.
    There may be output after `receive`, `cancel` and `ping`, too.  What there is when `closing` is set
    and nothing is open says why (GOAWAY), and is worth one try to write it.
    """

    http_version = HttpVersion.HTTP_2
    is_multiplexed = True

    __slots__ = (
        "_answers",
        "_intake",
        "_is_over",
        "_open",
        "_output",
        "_places",
        "_readers",
        "_requests",
        "_rest",
        "_rest_needed",
        "_streams",
        "_upkeep",
        "_uploads",
        "room",
    )

    def __init__(self, *, max_response_bytes: int = 1024 * 1024, most_open: int = 100) -> None:
        self._output = Output()
        self._uploads = Uploads()
        self._intake = Intake()
        blocks = RequestBlocks()
        self._streams = Streams(self._output, self._uploads, max_response_bytes)
        self._open = self._streams.open
        self._requests = Requests(self._streams, blocks)
        patience, calm = Patience(), CalmLimit()
        peer = PeerSettings(blocks, self._uploads)
        self._answers = Answers(self._streams, patience, calm)
        self._upkeep = Upkeep(self._streams, peer, patience)
        self._places = Places(self._streams, peer, calm, most_open)
        self._readers = _readers(self._answers, self._upkeep)
        self._rest = bytearray()
        """The beginning of a frame that is not all there."""
        self._rest_needed = FRAME_HEAD_BYTES
        """How much of it must be there before it is looked at again."""
        self._is_over = False
        self.room = 1
        self._output.add(PREFACE + our_settings(self._answers.stream_window) + Intake.opening())

    @property
    def capacity(self) -> int:
        return self._places.capacity

    @property
    def open_exchanges(self) -> int:
        return len(self._open)

    @property
    def closing(self) -> CloseReason | None:
        return self._streams.closing

    @property
    def unserved(self) -> int:
        return self._upkeep.unserved

    @property
    def body_held(self) -> bool:
        return bool(self._uploads.held)

    @property
    def ping_open(self) -> bool:
        """A PING was sent, or is to be, and its answer has not come."""
        return self._upkeep.ping_open

    @property
    def peer_settings(self) -> dict[int, int]:
        """What the server has set, by number; empty until it has greeted."""
        return self._upkeep.peer.values

    def waiting(self) -> Iterator[tuple[Exchange, Stage]]:
        held = self._uploads.held
        for stream_id, stream in self._open.items():
            if stream.head is not None:
                yield stream.exchange, Stage.ANSWERING
            elif stream.unsent is None:
                yield stream.exchange, Stage.SENT
            else:
                yield stream.exchange, Stage.HELD if stream_id in held else Stage.SENDING

    def send(self, exchange: Exchange) -> None:
        if not self.room:
            raise RuntimeError("send called on a connection without room")
        body = exchange.body
        size = len(body)
        requests = self._requests
        uploads = self._uploads
        shape = requests.shapes.get(size)
        if shape is None or exchange.head is not requests.head or size > uploads.window or uploads.is_ready:
            self._send_any(exchange)
            return
        before, block, between, total = shape
        if exchange.fields:
            block += own_part(exchange.fields)
            if len(block) > FRAME_BYTES:
                self._send_any(exchange)
                return
            total += len(block) - len(shape[1])
            before = frame_head(HEADERS, len(block), END_HEADERS)[:5]
        streams = self._streams
        output = self._output
        stream_id = streams.next_id
        number = stream_id.to_bytes(4, "big")
        output.parts += (before, number, block, between, number, body)
        start = output.end
        output.end = end = start + total
        uploads.window -= size
        streams.next_id = stream_id + 2
        self._open[stream_id] = Stream(exchange, start, end)
        self.room -= 1

    def _send_any(self, exchange: Exchange) -> None:
        # A server that has not greeted may have smaller windows, or not speak HTTP/2 at all.
        self._requests.send(exchange, is_held=not self._upkeep.peer.are_known)
        self.room -= 1
        if exchange.head.close:
            self.leave(CloseReason.KEEPALIVE_OFF)

    def release_body(self) -> None:
        """Stop waiting for `100 Continue`, on whichever streams, or for the greeting, and send the bodies."""
        for stream_id in list(self._uploads.held):
            self._uploads.release(stream_id)

    def take_output(self) -> bytes:
        uploads = self._uploads
        if uploads.waiting:
            uploads.fill(self._output)
            self.room = self._places.room()
        return self._output.take()

    def ping(self) -> None:
        """Ask the server whether it is there: `ping_open` until it answers.

        Whatever it said before its answer, as GOAWAY, is known then.  The caller bounds how often: many
        servers bear one per 30 s, some close the connection for more than two in 5 minutes.
        """
        if not self._is_over:
            self._upkeep.ping()

    def leave(self, reason: CloseReason) -> None:
        """Open no more streams; the first reason counts."""
        self._streams.close(reason)
        self.room = 0

    @property
    def unheard(self) -> int:
        """How many exchanges were cancelled since anything was read."""
        return len(self._streams.unheard)

    def cancel(self, exchange: Exchange, reason: str = "it was cancelled") -> list[Event]:
        """Stop waiting for this exchange, and return how it ends; nothing if it is not open.

        The stream is reset if that is within what servers bear.  It keeps its place in `room` until anything
        is read, as the server may be gone; without a reset until the server is done with it.  What comes of
        it is ignored.
        """
        for stream_id, stream in self._open.items():
            if stream.exchange is exchange:
                event = self._streams.give_up(stream_id, stream, reason)
                self._streams.unheard.add(stream_id)
                self.room = self._places.room()
                return [event]
        return []

    def end(self, *, written: int, reason: str, orderly: bool) -> list[Event]:
        is_known_to_end = self.closing is not None
        self.leave(CloseReason.SERVER_CLOSED)
        events = self._finish(reason, written)
        if not is_known_to_end:
            self._output.add(goaway_frame(ErrorCode.NO_ERROR))
        return events

    def receive(self, data: bytes) -> list[Event]:
        if self._is_over:
            return []
        events: list[Event] = []
        if self._streams.unheard:
            # Whatever it is that came, the server lives.
            self._streams.unheard.clear()
            self.room = self._places.room()
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._rest_needed:
                return events
            data = bytes(rest)
            rest.clear()
        try:
            self._read_frames(data, events)
        except ConnectionFault as fault:
            events += self._break(fault)
        self.room = self._places.room()
        return events

    # Everything in this loop is done for each frame: to call for the short path would double its cost.
    def _read_frames(self, data: bytes, events: list[Event]) -> None:  # noqa: C901
        """Read every whole frame; keep what is left in `_rest`."""
        streams = self._open
        stream_of = streams.get
        known_head = self._answers.reader.known.get
        unpack = unpack_frame_head
        add_event = events.append
        is_regular = self._is_regular()
        position = used = 0
        end = len(data)
        self._rest_needed = FRAME_HEAD_BYTES
        while end - position >= FRAME_HEAD_BYTES:
            length_and_kind, flags, stream_id = unpack(data, position)
            if length_and_kind > _LARGEST_LENGTH_AND_KIND:
                raise self._oversized(data[position:])
            start = position + FRAME_HEAD_BYTES
            length = length_and_kind >> 8
            stop = start + length
            if stop > end:
                self._rest_needed = stop - position
                break
            position = stop
            kind = length_and_kind & 0xFF
            if kind == DATA:
                used += length
            if kind <= HEADERS and is_regular:
                stream = stream_of(stream_id)
                if stream is not None and stream.body is None:
                    head = stream.head
                    if kind == DATA:
                        if flags == END_STREAM and head is not None and head.length in (length, -1):
                            del streams[stream_id]
                            response = Response(head.status, head.fields, data[start:stop])
                            add_event(Answered(stream.exchange, response))
                            continue
                    elif head is None and (head := known_head(data[start:stop])) is not None:
                        if flags == END_HEADERS:
                            stream.head = head
                            continue
                        if flags == _WHOLE_ANSWER and head.length <= 0:
                            del streams[stream_id]
                            add_event(Answered(stream.exchange, Response(head.status, head.fields, b"")))
                            continue
            self._read_frame(kind, flags, stream_id & LARGEST_STREAM, data[start:stop], events)
            is_regular = self._is_regular()
        if position < end:
            self._rest += data[position:]
        if used:
            self._intake.use(used, self._output)

    def _is_regular(self) -> bool:
        """A frame may be of any type now."""
        return self._upkeep.peer.are_known and self._answers.partial is None

    def _read_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """Read what has no short path."""
        if not self._upkeep.peer.are_known and (kind != SETTINGS or flags & ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server does not begin with SETTINGS")
        if self._answers.partial is not None and kind != CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server interrupts a head with another frame")
        reader = self._readers.get(kind)
        if reader is None:
            # To be ignored (section 5.5), within limits.
            self._upkeep.skip()
            return
        reader(flags, stream_id, payload, events)
        if kind == SETTINGS:
            self._requests.settings_changed()

    def _oversized(self, data: bytes) -> ConnectionFault:
        if not self._upkeep.peer.are_known and data.startswith(_HTTP_1):
            return ConnectionFault(ErrorCode.HTTP_1_1_REQUIRED, "the server speaks HTTP/1.1, not HTTP/2")
        return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "the server sent a frame that is too large")

    def _break(self, fault: ConnectionFault) -> list[Event]:
        """A connection error (section 5.4.1): nothing more is believed, and nothing more is asked."""
        written = self._output.taken
        if fault.code is ErrorCode.HTTP_1_1_REQUIRED:
            # "PRI * HTTP/2.0" was no request to this server, so nothing behind it was one either.
            self.leave(CloseReason.HTTP_1_1_REQUIRED)
            return self._finish(str(fault), written, Sent.REFUSED)
        self.leave(CloseReason.PROTOCOL_ERROR)
        events = self._finish(str(fault), written)
        self._output.add(goaway_frame(fault.code, str(fault)))
        return events

    def _finish(self, reason: str, written: int, sent: Sent | None = None) -> list[Event]:
        self._is_over = True
        self._rest.clear()
        self._answers.partial = None
        self._upkeep.ping_open = False
        self._output.drop()
        return self._streams.settle_all(reason, written, sent)


def _readers(answers: Answers, upkeep: Upkeep) -> dict[int, _FrameReader]:
    return {
        DATA: answers.on_data,
        HEADERS: answers.on_headers,
        CONTINUATION: answers.on_continuation,
        RST_STREAM: answers.on_rst_stream,
        SETTINGS: upkeep.on_settings,
        PING: upkeep.on_ping,
        WINDOW_UPDATE: upkeep.on_window_update,
        PRIORITY: upkeep.on_priority,
        GOAWAY: upkeep.on_goaway,
        PUSH_PROMISE: upkeep.on_push_promise,
    }
