"""The practice server's side of a connection without sockets and without waiting, and HTTP/2 spoken to it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine

import hpack
from http2_talk import frame, read_frames

from livepost.wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    read_settings,
    settings_frame,
)

FIRST_BODY = b'{"id": 1, "connection": 1, "request_on_connection": 1}'
"""What the practice API says to the first record, if it does as usual."""
FIRST_HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n"
FIRST_ANSWER = FIRST_HEAD + FIRST_BODY


class ManualLoop(asyncio.SelectorEventLoop):
    """Its time stands still until it is told to move."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


def run(steps: Callable[[ManualLoop], Coroutine[None, None, None]]) -> None:
    loop = ManualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(steps(loop))


class FakeSocket:
    """Knows what was set, and pretends that the kernel dropped segments."""

    def __init__(self) -> None:
        self.options: list[int] = []
        self.dropped = 7

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append(option)

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        return struct.pack("9I", *[0] * 8, self.dropped)


class FakeTransport(asyncio.Transport):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.socket = FakeSocket()
        super().__init__({"socket": self.socket})
        self.writes: list[bytes] = []
        self.told: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def take(self) -> bytes:
        """What was written since it was asked last."""
        written = self.written
        self.writes.clear()
        return written

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.told.append("write_eof")

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def pause_reading(self) -> None:
        self.told.append("pause_reading")

    def resume_reading(self) -> None:
        self.told.append("resume_reading")


class Http2Caller:
    """A client that speaks HTTP/2 in frames: makes the bytes to send, reads those that came."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._received = b""
        self._next_stream = 1
        self.settings: dict[int, int] = {}
        self.statuses: dict[int, list[int]] = {}
        self.fields: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.data_frames = 0
        self.ended: list[int] = []
        """Streams whose answer is whole, in that order."""
        self.resets: dict[int, int] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last stream and error code."""
        self.pongs = 0

    def hello(self, settings: dict[int, int] | None = None) -> bytes:
        return PREFACE + settings_frame(settings or {})

    def request(
        self,
        body: bytes = b"{}",
        *fields: tuple[str, str],
        path: str = "/api",
        method: str = "POST",
        whole: bool = True,
    ) -> bytes:
        """The bytes of a request on the next stream; without `whole` its end is still to come."""
        stream_id, self._next_stream = self._next_stream, self._next_stream + 2
        block = self._encoder.encode(
            [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *fields]
        )
        head = frame(HEADERS, END_HEADERS | (0 if body or not whole else END_STREAM), stream_id, block)
        return head + (frame(DATA, END_STREAM if whole else 0, stream_id, body) if body else b"")

    def rest(self, stream_id: int, body: bytes = b"") -> bytes:
        return frame(DATA, END_STREAM, stream_id, body)

    def ping(self) -> bytes:
        return frame(PING, 0, 0, b"12345678")

    def receive(self, data: bytes) -> Http2Caller:
        self._received += data
        while len(self._received) >= FRAME_HEAD_BYTES:
            end = FRAME_HEAD_BYTES + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                break
            (seen,) = read_frames(self._received[:end])
            self._received = self._received[end:]
            self._take(seen.kind, seen.flags, seen.stream_id, seen.payload)
        return self

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == HEADERS:
            assert flags & END_HEADERS
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            self.statuses.setdefault(stream_id, []).append(int(fields.pop(":status")))
            self.fields[stream_id] = fields
        elif kind == DATA:
            self.data_frames += 1
            self.bodies[stream_id] = self.bodies.get(stream_id, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream_id] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))
        elif kind == SETTINGS and not flags & ACK:
            self.settings = dict(read_settings(payload))
        elif kind == PING:
            assert flags & ACK
            self.pongs += 1
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.append(stream_id)
