"""Servers that break the protocol, speak another one, or do not read."""

from __future__ import annotations

import pytest
from http2_talk import Http2Talk, frame, goaway, read_frames, rst_stream, window_update
from net_fakes import tcp_pair
from net_line import MakeLine, MakeTlsPair, numbered
from server_ends import WINDOW, Http2End

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PING,
    PUSH_PROMISE,
    SETTINGS,
    ErrorCode,
    frame_head,
)
from livepost.wire.http2 import Http2Machine

HOSTILE = {
    "a frame that is too large": (frame_head(DATA, 16_385, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    "an answer on a stream that nobody opened": (frame(HEADERS, 5, 99, b"\x88"), ErrorCode.PROTOCOL_ERROR),
    "a second answer on a stream": (frame(HEADERS, 5, 1, b"\x88") * 2, ErrorCode.STREAM_CLOSED),
    "a window that overflows": (window_update(0, LARGEST_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
    "a head without an end": (
        frame(HEADERS, 0, 3, b"\x88") + frame(CONTINUATION, 0, 3) * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "settings without an end": (frame(SETTINGS, 0, 0) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "pings without an end": (frame(PING, 0, 0, bytes(8)) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "goodbyes without an end": (goaway(LARGEST_STREAM) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "resets without an end": (
        frame(HEADERS, 5, 1, b"\x88") + rst_stream(1, 0) * 10_001,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a table larger than agreed": (frame(HEADERS, 5, 3, b"\x3f\xe2\x1f\x88"), ErrorCode.COMPRESSION_ERROR),
    "a push": (frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_server_that_breaks_the_protocol_is_told_why_and_no_record_is_lost(
    make_line: MakeLine, tls_pair: MakeTlsPair, what: str, is_secure: bool
) -> None:
    line = make_line(tls_pair() if is_secure else tcp_pair(), end=Http2End())
    line.greet()
    line.post(*numbered(5))
    line.serve(5)
    said, code = HOSTILE[what]
    heard = b""
    for start in range(0, len(said), 20_000):
        line.say(said[start : start + 20_000])
        while line.peer.has_some():
            heard += line.peer.read_some()
    assert len(line.closed) == 1
    answered, failed = line.work.answers, line.work.failures
    assert sorted([body for body, _ in answered] + [body for body, _, _ in failed]) == numbered(5)
    assert {sent for _, sent, _ in failed} == {Sent.ALL}
    assert line.reason is (
        CloseReason.SERVER_ANNOUNCED if what.startswith("goodbyes") else CloseReason.PROTOCOL_ERROR
    )
    *_, last = read_frames(heard)
    assert (last.kind, last.payload[4:8]) == (GOAWAY, code.to_bytes(4, "big"))


def test_a_server_that_speaks_http_1_1_was_given_nothing(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    line.post(b"1")
    line.say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    assert line.failure == (b"1", Sent.REFUSED, "the server speaks HTTP/1.1, not HTTP/2")
    assert line.reason is CloseReason.HTTP_1_1_REQUIRED


def test_a_server_that_reads_nothing_does_not_fill_the_memory(make_line: MakeLine) -> None:
    """Its answers come all the same, and make room; and there is always work."""
    machine = Http2Machine(most_open=1 << 31)
    line = make_line(tcp_pair(8192), end=Http2End({WINDOW: 1 << 20}), machine=machine)
    line.greet()
    line.say(window_update(0, 1 << 30))
    talk = Http2Talk()
    largest = offered = 0
    for number in range(1, 200, 2):
        line.work.add(*[b"x" * 16_000] * 10)
        if line.hungry > offered:
            # As the pool does.
            offered = line.hungry
            line.offer()
        assert line.connection._unsent is not None
        largest = max(largest, len(line.connection._unsent) + machine._output.end - machine._output.taken)
        if number < 20:
            line.say(talk.ok(number))
    assert (len(line.work.pulled), len(line.work.answers), line.work.waiting) == (10, 10, 990)
    assert largest < 170_000
    # Once it reads, as many more go as it takes at a time.
    while len(line.work.pulled) < 110:
        line.peer.read_some()
        line.turn()
    line.connection.close(CloseReason.STOPPED)
