"""An HTTP/2 machine in conversation with a test that speaks frames.

talk = Http2Talk(POST, POST)              # greeted; two requests went out, on streams 1 and 3
talk.receive(talk.head(1) + talk.data(1, b"hi"), size=1)
assert talk.response().body == b"hi"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import hpack
from machine_talk import BODY, POST

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    ErrorCode,
    frame_head,
    settings_frame,
)
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Answered, Event, Failed
from livepost.wire.message import Exchange, Fields, RequestHead, Response

TWO_BYTES = ((b"content-length", b"2"),)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frame_head(kind, len(payload), flags, stream_id) + payload


def read_frames(data: bytes) -> Iterator[Frame]:
    """Whole frames only."""
    while data:
        length = int.from_bytes(data[:3], "big")
        end = FRAME_HEAD_BYTES + length
        assert len(data) >= end
        yield Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[FRAME_HEAD_BYTES:end])
        data = data[end:]


def goaway(last: int, code: int = ErrorCode.NO_ERROR, text: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text)


def rst_stream(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


class Http2Talk:
    """A machine, and all that it was given and said on its connection."""

    def __init__(
        self,
        *heads: RequestHead,
        settings: Mapping[int, int] | None = None,
        is_greeted: bool = True,
        max_response_bytes: int = 1_000_000,
        most_open: int = 100,
    ) -> None:
        self.machine = Http2Machine(max_response_bytes=max_response_bytes, most_open=most_open)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.exchanges: dict[int, Exchange] = {}
        self.events: list[Event] = []
        self.output = b""
        if is_greeted:
            self.machine.receive(settings_frame(dict(settings or {})))
            self.take()
        for head in heads:
            self.send(head)

    def send(self, head: RequestHead = POST, body: bytes = BODY, fields: Fields = ()) -> int:
        """The number of the stream; what is to be written then waits to be taken."""
        exchange = Exchange(head, body, fields=fields)
        self.machine.send(exchange)
        stream_id = 1 + 2 * len(self.exchanges)
        self.exchanges[stream_id] = exchange
        return stream_id

    def take(self) -> list[Frame]:
        """What is to be written now, to the last step of it."""
        frames = []
        while output := self.machine.take_output():
            self.output += output
            frames += list(read_frames(output.removeprefix(PREFACE)))
        return frames

    def head(
        self,
        stream_id: int,
        *fields: tuple[bytes, bytes],
        status: int = 200,
        flags: int = END_HEADERS,
    ) -> bytes:
        block = self.encoder.encode([(b":status", b"%d" % status), *fields])
        return frame(HEADERS, flags, stream_id, block)

    def data(self, stream_id: int, body: bytes = b"hi", flags: int = END_STREAM) -> bytes:
        return frame(DATA, flags, stream_id, body)

    def ok(self, *stream_ids: int) -> bytes:
        """Whole answers."""
        return b"".join(self.head(number, *TWO_BYTES) + self.data(number) for number in stream_ids)

    def receive(self, data: bytes, size: int = 0) -> list[Event]:
        """Give the data in pieces of this size, or at once; the events it led to."""
        size = size or len(data) or 1
        events: list[Event] = []
        for start in range(0, len(data), size):
            events += self.machine.receive(data[start : start + size])
        self.events += events
        return events

    def end(self, written: int = 0, *, orderly: bool = False) -> list[Event]:
        events = self.machine.end(written=written, reason="the reason", orderly=orderly)
        self.events += events
        return events

    def response(self, stream_id: int = 1) -> Response:
        """Of the only event: an answer on this stream."""
        (event,) = self.events
        assert isinstance(event, Answered)
        assert event.exchange is self.exchanges[stream_id]
        return event.response

    def failure(self, stream_id: int = 1) -> tuple[Sent, str]:
        """Of the only event: the failure of this stream."""
        (event,) = self.events
        assert isinstance(event, Failed)
        assert event.exchange is self.exchanges[stream_id]
        return event.sent, event.reason

    def outcomes(self) -> list[tuple[int, Response | Sent]]:
        """Of every event: the stream, and how it ended."""
        stream_of = {id(exchange): stream_id for stream_id, exchange in self.exchanges.items()}
        return [
            (stream_of[id(event.exchange)], event.response if isinstance(event, Answered) else event.sent)
            for event in self.events
        ]

    def goodbye(self, reason: CloseReason = CloseReason.PROTOCOL_ERROR) -> ErrorCode:
        """Why we gave the connection up; it is the last thing said, and nothing is open."""
        *_, last = self.take()
        assert (last.kind, last.flags, last.stream_id, last.payload[:4]) == (GOAWAY, 0, 0, bytes(4))
        assert (self.machine.room, self.machine.open_exchanges) == (0, 0)
        assert self.machine.closing is reason
        return ErrorCode(int.from_bytes(last.payload[4:8], "big"))


def fields_of(talk: Http2Talk, sent: Frame) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in talk.decoder.decode(sent.payload, raw=True)]


def sizes(frames: list[Frame]) -> list[tuple[int, int]]:
    """Of DATA frames: stream and size."""
    return [(sent.stream_id, len(sent.payload)) for sent in frames if sent.kind == DATA]
