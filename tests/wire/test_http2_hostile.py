"""Servers that break HTTP/2, and servers that mean harm: the right error, bounded memory, nothing lost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from http2_talk import TWO_BYTES, Http2Talk, frame, goaway, rst_stream, window_update
from hypothesis import example, given
from hypothesis import strategies as st
from machine_talk import EXPECT, POST

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.answers import CONTINUATIONS_LIMIT
from livepost.wire.flow import CONNECTION_WINDOW
from livepost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    frame_head,
    settings_frame,
)
from livepost.wire.hpack import encode_private, encode_value
from livepost.wire.machine import Answered
from livepost.wire.message import Exchange, Response
from livepost.wire.patience import IDLE_FRAMES_LIMIT

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
COMPRESSION = ErrorCode.COMPRESSION_ERROR
CALM = ErrorCode.ENHANCE_YOUR_CALM
WHOLE = END_HEADERS | END_STREAM
OK_BLOCK = b"\x88"

# Streams 1 and 3 are open, 5 has been answered, 7 is the next.
CONNECTION_ERRORS = [
    # frames larger than agreed, from their first nine bytes on
    (frame_head(DATA, 16_385, 0, 1), SIZE),
    (frame_head(HEADERS, 16_385, 0, 1), SIZE),
    (frame_head(0xAA, 1 << 20, 0, 0), SIZE),
    (b"HTTP/1.1 200 OK\r\n\r\n", SIZE),
    # frames on the wrong stream
    (frame(DATA, END_STREAM, 0, b"hi"), PROTOCOL),
    (frame(DATA, END_STREAM, 2, b"hi"), PROTOCOL),
    (frame(DATA, END_STREAM, 7, b"hi"), PROTOCOL),
    (frame(DATA, END_STREAM, 5, b"hi"), CLOSED),
    (frame(HEADERS, WHOLE, 0, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, WHOLE, 2, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, WHOLE, 7, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, WHOLE, 5, OK_BLOCK), CLOSED),
    (frame(HEADERS, 0, 0, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, 0, 9, OK_BLOCK), PROTOCOL),
    (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL),
    (frame(RST_STREAM, 0, 4, bytes(4)), PROTOCOL),
    (frame(RST_STREAM, 0, 7, bytes(4)), PROTOCOL),
    (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    (frame(SETTINGS, 0, 1), PROTOCOL),
    (frame(SETTINGS, ACK, 1), PROTOCOL),
    (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    (window_update(7, 1), PROTOCOL),
    (window_update(2, 1), PROTOCOL),
    # frames of the wrong size
    (frame(RST_STREAM, 0, 1, bytes(3)), SIZE),
    (frame(RST_STREAM, 0, 1, bytes(5)), SIZE),
    (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    (frame(PING, 0, 0, bytes(7)), SIZE),
    (frame(PING, ACK, 0, bytes(9)), SIZE),
    (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    (frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    (frame(WINDOW_UPDATE, 0, 1, bytes(5)), SIZE),
    (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, bytes(4)), SIZE),
    (frame(HEADERS, END_HEADERS | HAS_PRIORITY | PADDED, 1, b"\1" + bytes(5)), SIZE),
    # padding
    (frame(DATA, PADDED, 1), SIZE),
    (frame(DATA, PADDED, 1, b"\1"), PROTOCOL),
    (frame(DATA, PADDED, 1, b"\4abc"), PROTOCOL),
    (frame(HEADERS, WHOLE | PADDED, 1), SIZE),
    (frame(HEADERS, WHOLE | PADDED, 1, b"\2" + OK_BLOCK), PROTOCOL),
    # settings
    (settings_frame({ENABLE_PUSH: 1}), PROTOCOL),
    (settings_frame({ENABLE_PUSH: 2}), PROTOCOL),
    (settings_frame({INITIAL_WINDOW_SIZE: 1 << 31}), FLOW),
    (settings_frame({MAX_FRAME_SIZE: 16_383}), PROTOCOL),
    (settings_frame({MAX_FRAME_SIZE: 1 << 24}), PROTOCOL),
    # windows
    (window_update(0, 0), PROTOCOL),
    (window_update(0, LARGEST_WINDOW), FLOW),
    (window_update(3, LARGEST_WINDOW) + settings_frame({INITIAL_WINDOW_SIZE: 65_536}), FLOW),
    # heads
    (frame(CONTINUATION, END_HEADERS, 1, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(DATA, 0, 3, b"hi"), PROTOCOL),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(HEADERS, WHOLE, 3, OK_BLOCK), PROTOCOL),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(0xAA, 0, 0), PROTOCOL),
    (frame(HEADERS, WHOLE, 1, b"\x80"), COMPRESSION),
    (frame(HEADERS, WHOLE, 1, b"\xc0"), COMPRESSION),
    (frame(HEADERS, WHOLE, 1, b"\x88\x20"), COMPRESSION),
    (frame(HEADERS, WHOLE, 1, b"\x3f\xe2\x1f\x88"), COMPRESSION),
    (frame(HEADERS, WHOLE, 1, b"\x88\x00\x01x\x84\xff\xff\xff\xff"), COMPRESSION),
    (frame(HEADERS, 0, 1, OK_BLOCK) + frame(CONTINUATION, END_HEADERS, 1, b"\x7f"), COMPRESSION),
    # push
    (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"), PROTOCOL),
    (frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2\x82"), PROTOCOL),
]


def hostile_talk() -> Http2Talk:
    talk = Http2Talk(POST, settings={})
    talk.send(POST, b"x" * 70_000)
    talk.send()
    # All of the connection's window is gone, so the third one's body waits.
    talk.receive(window_update(0, 100) + window_update(5, 100))
    talk.take()
    talk.receive(talk.ok(5))
    talk.take()
    talk.events.clear()
    return talk


@pytest.mark.parametrize(("data", "code"), CONNECTION_ERRORS)
@pytest.mark.parametrize("size", [0, 1])
def test_what_ends_the_connection(data: bytes, code: ErrorCode, size: int) -> None:
    talk = hostile_talk()
    talk.receive(data, size)
    assert talk.outcomes() == [(1, Sent.ALL), (3, Sent.SOME)]
    assert talk.goodbye() is code
    # Nothing is believed after that, and nothing more comes of it.
    assert talk.receive(talk.ok(1, 3)) == []
    assert talk.end(len(talk.output)) == []
    assert talk.take() == []


@pytest.mark.parametrize(("data", "code"), CONNECTION_ERRORS)
def test_what_was_answered_before_is_not_lost(data: bytes, code: ErrorCode) -> None:
    talk = hostile_talk()
    talk.receive(talk.ok(1) + data)
    assert talk.outcomes()[0] == (1, Response(200, TWO_BYTES, b"hi"))
    assert [number for number, _ in talk.outcomes()] == [1, 3]


NOT_A_GREETING = [
    frame(SETTINGS, ACK, 0),
    frame(HEADERS, WHOLE, 1, OK_BLOCK),
    frame(PING, 0, 0, bytes(8)),
    goaway(0),
    window_update(0, 1),
    frame(0xAA, 0, 0),
]


@pytest.mark.parametrize("data", NOT_A_GREETING)
def test_a_server_that_does_not_begin_with_settings(data: bytes) -> None:
    talk = Http2Talk(POST, is_greeted=False)
    talk.take()
    talk.receive(data + settings_frame({}))
    assert talk.failure() == (Sent.REFUSED, "the server does not begin with SETTINGS")
    assert talk.goodbye() is PROTOCOL


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """Fields, however malformed, without a table."""
    return b"".join(b"\0" + encode_value(name) + encode_value(value) for name, value in fields)


OK_FIELD = (b":status", b"200")
MALFORMED_HEADS = [
    (),
    ((b"a", b"b"),),
    ((b"a", b"b"), OK_FIELD),
    ((b":status", b""),),
    ((b":status", b"20"),),
    ((b":status", b"2000"),),
    ((b":status", b"099"),),
    ((b":status", b"2x0"),),
    ((b":status", b"+20"),),
    (OK_FIELD, OK_FIELD),
    (OK_FIELD, (b":path", b"/")),
    (OK_FIELD, (b":unknown", b"/")),
    (OK_FIELD, (b"Upper", b"case")),
    (OK_FIELD, (b"", b"a")),
    (OK_FIELD, (b"a b", b"a")),
    (OK_FIELD, (b"a\xff", b"a")),
    (OK_FIELD, (b"a", b"b\r\nc: d")),
    (OK_FIELD, (b"a", b"b\nc")),
    (OK_FIELD, (b"a", b"b\0c")),
    (OK_FIELD, (b"a", b"b\x7fc")),
    (OK_FIELD, (b"connection", b"close")),
    (OK_FIELD, (b"keep-alive", b"timeout=5")),
    (OK_FIELD, (b"proxy-connection", b"close")),
    (OK_FIELD, (b"transfer-encoding", b"chunked")),
    (OK_FIELD, (b"upgrade", b"h3")),
    (OK_FIELD, (b"content-length", b"1"), (b"content-length", b"2")),
    (OK_FIELD, (b"content-length", b"1, 2")),
    (OK_FIELD, (b"content-length", b"-1")),
    (OK_FIELD, (b"content-length", b"0x1")),
    (OK_FIELD, (b"content-length", b"")),
    (OK_FIELD, (b"content-length", b"1" * 19)),
    ((b":status", b"101"),),
]
STREAM_ERRORS: list[tuple[bytes, ErrorCode]] = [
    *[(frame(HEADERS, END_HEADERS, 1, block(*fields)), PROTOCOL) for fields in MALFORMED_HEADS],
    (frame(HEADERS, WHOLE, 1, block((b":status", b"100"))), PROTOCOL),
    (frame(HEADERS, WHOLE, 1, block((b":status", b"103"))), PROTOCOL),
    (frame(DATA, 0, 1, b"hi"), PROTOCOL),
    (frame(DATA, END_STREAM, 1), PROTOCOL),
    (frame(PRIORITY, 0, 1, bytes(4)), SIZE),
    (window_update(1, 0), PROTOCOL),
]


@pytest.mark.parametrize(("data", "code"), STREAM_ERRORS)
@pytest.mark.parametrize("is_held", [True, False])
def test_what_ends_a_stream_leaves_the_others(data: bytes, code: ErrorCode, is_held: bool) -> None:
    talk = Http2Talk(EXPECT if is_held else POST, POST)
    talk.take()
    talk.receive(data)
    sent, reason = talk.failure()
    assert sent is (Sent.REFUSED if is_held else Sent.ALL)
    assert reason
    assert talk.take() == [(RST_STREAM, 0, 1, code.to_bytes(4, "big"))]
    assert (talk.machine.open_exchanges, talk.machine.room, talk.machine.body_held) == (1, 99, False)
    # What was under way on the stream is ignored.
    talk.receive(talk.ok(1) + rst_stream(1, 0) + window_update(1, 5) + talk.ok(3))
    assert talk.outcomes()[1:] == [(3, Response(200, TWO_BYTES, b"hi"))]


AFTER_THE_HEAD = [
    (frame(DATA, END_STREAM, 1, b"h"), b"h"),
    (frame(DATA, 0, 1, b"h") + frame(DATA, END_STREAM, 1), b"h"),
    (frame(DATA, END_STREAM, 1, b"hi!"), b"hi!"),
    (frame(DATA, 0, 1, b"hi!"), b"hi!"),
    (frame(HEADERS, WHOLE, 1, block((b"a", b"b"))), b""),
    (frame(DATA, 0, 1, b"hi") + frame(HEADERS, END_HEADERS, 1, block((b"a", b"b"))), b"hi"),
    (frame(DATA, 0, 1, b"hi") + frame(HEADERS, WHOLE, 1, block(OK_FIELD)), b"hi"),
    (frame(DATA, 0, 1, b"hi") + frame(HEADERS, WHOLE, 1, block((b"A", b"b"))), b"hi"),
    (frame(DATA, 0, 1, b"hi") + frame(HEADERS, WHOLE, 1, block((b"a", b"\n"))), b"hi"),
    (window_update(1, 0), b""),
]


@pytest.mark.parametrize(("data", "body"), AFTER_THE_HEAD)
def test_an_answer_that_goes_wrong_after_its_head_tells_its_status(data: bytes, body: bytes) -> None:
    # Twice: the second time the head is known.
    talk = Http2Talk(POST, POST, POST)
    talk.take()
    for stream_id in (1, 3):
        talk.receive(talk.head(stream_id, *TWO_BYTES))
        talk.receive(b"".join(bytes((*part[:8], stream_id, *part[9:])) for part in split(data)))
    assert talk.outcomes() == [
        (stream_id, Response(200, TWO_BYTES, body, complete=False)) for stream_id in (1, 3)
    ]
    assert [sent[:3] for sent in talk.take()] == [(RST_STREAM, 0, 1), (RST_STREAM, 0, 3)]
    talk.receive(talk.ok(5))
    assert len(talk.events) == 3


def split(data: bytes) -> list[bytes]:
    """One frame each."""
    found = []
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def test_a_length_without_a_body() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.take()
    # The last one's head is known.
    for stream_id in (1, 3, 5):
        talk.receive(talk.head(stream_id, *TWO_BYTES, flags=WHOLE))
    assert len(talk.machine._answers.reader.known) == 1
    expected = Response(200, TWO_BYTES, b"", complete=False)
    assert talk.outcomes() == [(1, expected), (3, expected), (5, expected)]
    assert [sent[:3] for sent in talk.take()] == [(RST_STREAM, 0, number) for number in (1, 3, 5)]


def test_trailers_that_are_too_long() -> None:
    talk = Http2Talk(POST)
    talk.take()
    talk.receive(talk.head(1) + frame(HEADERS, WHOLE, 1, b"\x10\x01a\x00" * 4_000))
    assert talk.response() == Response(200, (), b"", complete=False)
    assert talk.machine.closing is None


@pytest.mark.parametrize("body", [b"x", b""])
def test_a_body_where_there_can_be_none(body: bytes) -> None:
    for status in (204, 304):
        talk = Http2Talk(POST, POST)
        talk.take()
        for stream_id in (1, 3):
            talk.receive(talk.head(stream_id, status=status) + talk.data(stream_id, body))
        expected = Response(status, (), body, complete=not body)
        assert talk.outcomes() == [(1, expected), (3, expected)]


def test_white_space_around_a_value_is_taken_off() -> None:
    talk = Http2Talk(POST, POST)
    data = block(OK_FIELD, (b"a", b" b\t"), (b"content-length", b"0 "), (b"c", b"d"))
    talk.receive(frame(HEADERS, WHOLE, 1, data) + frame(HEADERS, WHOLE, 3, data))
    expected = Response(200, ((b"a", b"b"), (b"content-length", b"0"), (b"c", b"d")), b"")
    assert talk.outcomes() == [(1, expected), (3, expected)]


def test_windows_that_overflow_on_a_stream() -> None:
    talk = Http2Talk()
    talk.send(POST, b"x" * 70_000)
    talk.send()
    talk.take()
    talk.receive(window_update(1, LARGEST_WINDOW) + window_update(0, 100))
    assert talk.failure() == (Sent.SOME, "the server made a stream's window too large")
    assert [sent[:3] for sent in talk.take()] == [(RST_STREAM, 0, 1)]
    # Nobody counts the window of a stream on which all was said.
    talk.receive(window_update(3, LARGEST_WINDOW) + window_update(3, LARGEST_WINDOW) + talk.ok(3))
    assert len(talk.events) == 2


def test_more_than_the_streams_window() -> None:
    talk = Http2Talk(POST, POST, max_response_bytes=100_000_000)
    talk.machine._answers.stream_window = 40_000
    talk.take()
    talk.receive(talk.head(1) + talk.data(1, b"x" * 16_000, 0) * 3)
    assert talk.response() == Response(200, (), b"x" * 32_000, complete=False)
    assert talk.take() == [(RST_STREAM, 0, 1, FLOW.to_bytes(4, "big"))]


def test_more_than_the_connections_window() -> None:
    talk = Http2Talk(POST, max_response_bytes=100_000_000)
    talk.take()
    talk.receive(talk.head(1))
    # At once, so that there was no chance to widen it.
    talk.receive(talk.data(1, b"x" * 16_384, 0) * (CONNECTION_WINDOW // 16_384 + 1))
    assert talk.goodbye() is FLOW


# Floods.

FLOODS: list[Callable[[int], bytes]] = [
    lambda _: frame(PRIORITY, 0, 1, bytes(5)),
    lambda _: frame(PRIORITY, 0, 99, bytes(5)),
    lambda _: frame(SETTINGS, 0, 0),
    lambda number: settings_frame({INITIAL_WINDOW_SIZE: number}),
    lambda _: frame(SETTINGS, ACK, 0),
    lambda _: frame(PING, 0, 0, bytes(8)),
    lambda _: frame(PING, ACK, 0, bytes(8)),
    lambda _: window_update(0, 1),
    lambda _: window_update(1, 1),
    lambda _: rst_stream(5, 8),
    lambda _: frame(DATA, 0, 7, b"x"),
    lambda _: frame(HEADERS, END_HEADERS, 7, OK_BLOCK),
    lambda _: frame(DATA, 0, 1),
    lambda _: frame(DATA, PADDED, 1, b"\0"),
    lambda _: frame(DATA, PADDED, 1, b"\xff" + bytes(255)),
    lambda _: frame(DATA, 0, 3, b"x"),
    lambda _: frame(HEADERS, END_HEADERS, 3, block((b":status", b"103"))),
    lambda _: frame(0xAA, 0, 0),
]


@pytest.mark.parametrize("make", FLOODS)
@pytest.mark.parametrize("is_read", [True, False])
def test_a_flood_of_what_says_nothing_ends_the_connection(
    make: Callable[[int], bytes], is_read: bool
) -> None:
    talk = Http2Talk(POST, POST, POST, POST)
    talk.receive(talk.head(1) + talk.ok(5) + rst_stream(7, 8))
    talk.take()
    talk.events += talk.machine.cancel(talk.exchanges[3])
    talk.take()
    largest = 0
    for number in range(IDLE_FRAMES_LIMIT + 1):
        talk.receive(make(number))
        largest = max(largest, sum(map(len, talk.machine._output.parts)))
        if talk.machine.open_exchanges == 0:
            break
        if is_read:
            talk.take()
    assert number > 3_000
    # What waits to be written, the last word aside.
    assert largest < 66_000
    assert talk.goodbye() is CALM
    assert sorted(number for number, _ in talk.outcomes()) == [1, 3, 5, 7]


def test_resets_of_the_server_for_ever_are_not_kept() -> None:
    talk = Http2Talk(most_open=1)
    for _ in range(3_000):
        number = talk.send()
        talk.receive(rst_stream(number, ErrorCode.CANCEL))
        talk.take()
    assert {sent for _, sent in talk.outcomes()} == {Sent.ALL}
    assert (len(talk.events), len(talk.machine._streams._reset)) == (3_000, 1_000)


def test_a_server_that_always_asks_for_calm_gets_one_at_a_time() -> None:
    talk = Http2Talk()
    rooms = []
    for _ in range(100):
        while talk.machine.room:
            talk.send()
        number = max(talk.exchanges)
        rooms.append(talk.machine.open_exchanges)
        talk.take()
        talk.receive(rst_stream(number, CALM))
        talk.receive(talk.ok(*[one for one in talk.exchanges if one not in dict(talk.outcomes())]))
    assert rooms[:8] == [100, 50, 25, 12, 6, 3, 1, 1]
    assert set(rooms[8:]) == {1}
    assert sorted(number for number, _ in talk.outcomes()) == sorted(talk.exchanges)
    assert talk.machine.closing is None


def test_a_flood_of_farewells_ends_the_connection_too() -> None:
    talk = Http2Talk(POST)
    talk.receive(goaway(1) * (IDLE_FRAMES_LIMIT + 1))
    assert talk.failure()[0] is Sent.NOTHING
    assert talk.goodbye(CloseReason.SERVER_ANNOUNCED) is CALM


def test_the_same_frames_between_requests_are_no_flood() -> None:
    talk = Http2Talk()
    for _ in range(30):
        number = talk.send()
        talk.receive((frame(PING, 0, 0, bytes(8)) + window_update(0, 10)) * 1_000 + talk.ok(number))
        talk.take()
    assert len(talk.events) == 30
    assert talk.machine.closing is None


@pytest.mark.parametrize("fragment", [b"", b"\x10\x01a\x01b", b"\x10\x01a\x01b" * 3_000])
def test_a_head_without_an_end(fragment: bytes) -> None:
    talk = Http2Talk(POST)
    talk.take()
    talk.receive(frame(HEADERS, END_STREAM, 1, OK_BLOCK))
    count = 0
    while talk.machine.closing is None:
        talk.receive(frame(CONTINUATION, 0, 1, fragment))
        count += 1
    assert count == (5 if len(fragment) > 100 else CONTINUATIONS_LIMIT + 1)
    assert talk.failure() == (Sent.ALL, "an answer's head is longer than 65536 bytes")
    assert talk.goodbye() is CALM


def peak_bytes(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_block_does_not_grow() -> None:
    talk = Http2Talk(*[POST] * 3)
    # An entry as large as the table, named again and again: 64 MB if it were believed.
    entry = b"\x40\x01a" + encode_value(b"x" * 4_000)
    talk.receive(frame(HEADERS, END_HEADERS, 1, OK_BLOCK + entry))
    bomb = frame(HEADERS, 0, 3, OK_BLOCK + b"\xbe" * 16_000) + frame(CONTINUATION, 0, 3, b"\xbe" * 16_000)
    bomb += frame(CONTINUATION, END_HEADERS, 3, b"\xbe" * 16_000)
    assert peak_bytes(lambda: talk.events.extend(talk.machine.receive(bomb))) < 1_000_000
    ((number, response),) = talk.outcomes()
    assert isinstance(response, Response)
    assert (number, response.status, response.complete) == (3, 200, False)
    assert sum(len(name) + len(value) for name, value in response.fields) < 65_536


def test_heads_that_are_always_different_are_not_kept() -> None:
    talk = Http2Talk(most_open=1)
    machine, exchange = talk.machine, Exchange(POST, b"{}")

    def work() -> None:
        for number in range(1_000):
            machine.send(exchange)
            machine.take_output()
            name = encode_private(b"x-%d" % number)
            data = OK_BLOCK + name + encode_value(b"%01900d" % number)
            (event,) = machine.receive(frame(HEADERS, WHOLE, 2 * number + 1, data))
            assert isinstance(event, Answered)

    assert peak_bytes(work) < 2_000_000


def test_resets_for_ever_are_not_kept() -> None:
    talk = Http2Talk(most_open=1)
    for _ in range(3_000):
        number = talk.send()
        talk.receive(frame(DATA, END_STREAM, number, b"hi"))
        talk.take()
    assert len(talk.events) == 3_000
    assert len(talk.machine._streams._reset) == 1_000
    # The oldest are forgotten: after so long, what comes on them is wrong.
    talk.receive(frame(DATA, END_STREAM, 5_999, b"hi"))
    assert talk.machine.closing is None
    talk.receive(frame(DATA, END_STREAM, 1, b"hi"))
    assert talk.goodbye() is CLOSED


frames = st.builds(
    frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]),
    st.sampled_from([0, 1, 3, 5, 7, 2]),
    st.sampled_from([b"", OK_BLOCK, bytes(4), bytes(5), bytes(8), b"\0\0\0\1", OK_BLOCK + b"\x0f\x0d\x012"])
    | st.binary(max_size=20),
)


@given(st.lists(frames | st.binary(max_size=12), max_size=12), st.integers(0, 3))
@example([settings_frame({}), frame(HEADERS, END_HEADERS, 1, OK_BLOCK), frame(DATA, 1, 1, b"hi")], 0)
def test_whatever_comes_every_exchange_ends_once(pieces: list[bytes], cancelled: int) -> None:
    talk = Http2Talk(POST, EXPECT, POST)
    talk.take()
    for number, piece in enumerate(pieces):
        talk.receive(piece)
        if number == cancelled and 3 in talk.exchanges:
            talk.events += talk.machine.cancel(talk.exchanges[3])
        assert len(talk.events) + talk.machine.open_exchanges == 3
        assert talk.machine.room == 0 or talk.machine.closing is None
    assert talk.machine.unheard <= 1
    talk.take()
    talk.end(len(talk.output))
    assert sorted(number for number, _ in talk.outcomes()) == [1, 3, 5]
    assert talk.machine.closing is not CloseReason.FINISHED
