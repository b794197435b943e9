"""Requests and answers over HTTP/2 where all goes well."""

from __future__ import annotations

import pytest
from hpack.struct import NeverIndexedHeaderTuple
from http2_talk import TWO_BYTES, Frame, Http2Talk, frame, goaway, window_update
from machine_talk import BODY, CLOSE, EXPECT, HEAD, POST, request_head

from livepost.events import CloseReason
from livepost.wire.flow import CONNECTION_WINDOW, UPLOAD_STEP_BYTES
from livepost.wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    settings_frame,
)
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Stage
from livepost.wire.message import RequestHead, Response

GET = request_head(b"GET")
OK_RESPONSE = Response(200, TWO_BYTES, b"hi")
WHOLE = END_HEADERS | END_STREAM


def test_a_connection_begins_with_preface_settings_and_a_large_window() -> None:
    talk = Http2Talk(is_greeted=False, max_response_bytes=1_000_000)
    settings, update = talk.take()
    assert talk.output.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x18\x04\0\0\0\0\0")
    # The usual table, no push, room for the largest answer on every stream, at most 64 KiB of headers.
    assert settings == (SETTINGS, 0, 0, bytes.fromhex("00010000100000020000000000040010423f000600010000"))
    assert 0x10423F == 1_000_000 + 65_535
    assert update == (WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - 65_535).to_bytes(4, "big"))


def test_settings_are_acknowledged_and_pings_answered() -> None:
    talk = Http2Talk(is_greeted=False)
    talk.take()
    assert talk.receive(settings_frame({})) == []
    assert talk.take() == [(SETTINGS, ACK, 0, b"")]
    talk.receive(frame(PING, 0, 0, b"12345678") + settings_frame({3: 5}))
    assert talk.take() == [(PING, ACK, 0, b"12345678"), (SETTINGS, ACK, 0, b"")]
    talk.receive(frame(SETTINGS, ACK, 0))
    assert talk.take() == []


def test_all_settings_of_the_server_are_told_the_last_of_each_counts() -> None:
    talk = Http2Talk(is_greeted=False)
    assert talk.machine.peer_settings == {}
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5, 0xFFFF: 1}))
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 7}))
    assert talk.machine.peer_settings == {MAX_CONCURRENT_STREAMS: 7, 0xFFFF: 1}


def test_one_request_waits_for_the_greeting_and_its_body_is_held() -> None:
    talk = Http2Talk(POST, is_greeted=False)
    machine = talk.machine
    assert (machine.room, machine.body_held) == (0, True)
    assert [sent.kind for sent in talk.take()] == [SETTINGS, WINDOW_UPDATE, HEADERS]
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5}))
    assert (machine.room, machine.body_held) == (4, False)
    assert talk.take() == [(SETTINGS, ACK, 0, b""), (DATA, END_STREAM, 1, BODY)]


def test_a_request_without_a_body_does_not_wait_for_the_greeting() -> None:
    talk = Http2Talk(is_greeted=False)
    talk.send(GET, b"")
    assert not talk.machine.body_held
    assert [sent.flags for sent in talk.take()] == [0, 0, WHOLE]


def test_a_body_that_expects_to_be_let_go_waits_longer_than_for_the_greeting() -> None:
    talk = Http2Talk(EXPECT, is_greeted=False)
    talk.receive(settings_frame({}))
    assert talk.machine.body_held
    talk.receive(talk.head(1, status=100))
    assert not talk.machine.body_held
    assert talk.take()[-1] == (DATA, END_STREAM, 1, BODY)


def fields_of(talk: Http2Talk, sent: Frame) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in talk.decoder.decode(sent.payload, raw=True)]


def test_a_request_head_is_told_once_and_then_takes_a_few_bytes() -> None:
    talk = Http2Talk(POST, POST, POST)
    frames = talk.take()
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        (HEADERS, END_HEADERS, 1),
        (DATA, END_STREAM, 1),
        (HEADERS, END_HEADERS, 3),
        (DATA, END_STREAM, 3),
        (HEADERS, END_HEADERS, 5),
        (DATA, END_STREAM, 5),
    ]
    first, second, third = frames[::2]
    for sent in (first, second, third):
        assert fields_of(talk, sent) == [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"localhost:8080"),
            (b":path", b"/api"),
            (b"accept", b"*/*"),
            (b"content-length", b"8"),
        ]
    assert len(first.payload) == 33
    assert second.payload == third.payload == bytes.fromhex("8386c0bfbe" + "0f0d0138")
    assert {sent.payload for sent in frames[1::2]} == {BODY}


def test_heads_that_take_turns_are_all_understood() -> None:
    heads = [request_head(method) for method in (b"POST", b"PUT", b"PATCH", b"X-1")]
    order = [0, 0, 0, 1, 0, 0, 2, 1, 0, 3, 3, 3, 0, 2, 1]
    talk = Http2Talk()
    for number in order:
        talk.send(heads[number])
    methods = [fields_of(talk, sent)[0][1] for sent in talk.take() if sent.kind == HEADERS]
    assert methods == [heads[number].method for number in order]


def test_a_smaller_header_table_of_the_server_is_kept_to() -> None:
    talk = Http2Talk(POST, POST, POST)
    for sent in talk.take()[::2]:
        fields_of(talk, sent)
    for size in (0, 40, 4_096, 65_536):
        talk.receive(settings_frame({HEADER_TABLE_SIZE: size}))
        talk.decoder.max_allowed_table_size = size
        talk.decoder.header_table_size = min(size, talk.decoder.header_table_size)
        for _ in range(3):
            talk.send()
        _, *frames = talk.take()
        assert [len(fields_of(talk, sent)) for sent in frames[::2]] == [6, 6, 6]
        assert talk.decoder.header_table_size <= size


def test_fields_of_one_request_leave_everything_constant() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.send(fields=((b"Idempotency-Key", b'"a-1"'), (b"Traceparent", b"00-" + b"f" * 300)))
    talk.send(fields=((b"Idempotency-Key", b'"a-2"'),))
    talk.send()
    talk.send(request_head(b"PUT"), fields=((b"Idempotency-Key", b'"a-3"'),))
    heads = [sent for sent in talk.take() if sent.kind == HEADERS]
    decoded = [list(talk.decoder.decode(sent.payload, raw=True)) for sent in heads]
    assert [fields[6:] for fields in decoded] == [
        [],
        [],
        [],
        [(b"idempotency-key", b'"a-1"'), (b"traceparent", b"00-" + b"f" * 300)],
        [(b"idempotency-key", b'"a-2"')],
        [],
        [(b"idempotency-key", b'"a-3"')],
    ]
    assert isinstance(decoded[3][6], NeverIndexedHeaderTuple)
    assert heads[5].payload == heads[2].payload
    assert heads[4].payload.startswith(heads[2].payload)


@pytest.mark.parametrize(
    "fields",
    [
        ((b"Key", b"a\r\nb"),),
        ((b"Key", b"\x00"),),
        ((b"", b"a"),),
        ((b"a b", b"a"),),
        ((b":path", b"/"),),
        ((b"Content-Length", b"1"),),
        ((b"Connection", b"close"),),
        ((b"Proxy-Connection", b"close"),),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_fields_that_cannot_be_sent_change_nothing(
    fields: tuple[tuple[bytes, bytes], ...], before: int
) -> None:
    talk = Http2Talk(*[POST] * before)
    talk.take()
    with pytest.raises(ValueError, match=r"header|set by|holds"):
        talk.send(fields=fields)
    assert (talk.machine.open_exchanges, talk.machine.take_output()) == (before, b"")
    talk.send()
    assert talk.take()[0].stream_id == 1 + 2 * before


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"GET /", b"/", b"h", b"http", ()),
        RequestHead(b"GET", b"/ x", b"h", b"http", ()),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"Host", b"h"),)),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"TE", b"trailers"),)),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"A", b"\n"),)),
    ],
)
def test_a_head_that_cannot_be_sent_changes_nothing(head: RequestHead) -> None:
    talk = Http2Talk()
    with pytest.raises(ValueError, match=r"request|header|set by|holds"):
        talk.send(head)
    assert (talk.machine.open_exchanges, talk.machine.take_output()) == (0, b"")
    talk.send()
    assert len(fields_of(talk, talk.take()[0])) == 6


def test_proxy_connection_is_not_for_http_2() -> None:
    talk = Http2Talk()
    talk.send(RequestHead(b"GET", b"/", b"h", b"http", ((b"Proxy-Connection", b"close"), (b"A", b"b"))), b"")
    assert fields_of(talk, talk.take()[0])[4:] == [(b"a", b"b")]


def test_a_head_larger_than_a_frame_goes_on_in_the_next() -> None:
    large = RequestHead(b"PUT", b"/", b"h", b"http", ((b"Large", b"x" * 40_000),))
    talk = Http2Talk(large, large)
    talk.send(fields=((b"Large", b"y" * 20_000),))
    talk.send(POST, b"")
    frames = talk.take()
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        *[(HEADERS, 0, 1), (9, 0, 1), (9, END_HEADERS, 1), (DATA, END_STREAM, 1)],
        *[(HEADERS, 0, 3), (9, 0, 3), (9, END_HEADERS, 3), (DATA, END_STREAM, 3)],
        *[(HEADERS, 0, 5), (9, END_HEADERS, 5), (DATA, END_STREAM, 5)],
        (HEADERS, WHOLE, 7),
    ]
    talk.decoder.max_header_list_size = 100_000
    block = b"".join(sent.payload for sent in frames if sent.stream_id == 1 and sent.kind != DATA)
    assert len(list(talk.decoder.decode(block, raw=True))[4][1]) == 40_000


def test_fields_of_one_request_larger_than_a_frame_behind_a_head_that_is_known() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.send(fields=((b"Large", b"y" * 20_000),))
    talk.send()
    frames = talk.take()[6:]
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        *[(HEADERS, 0, 7), (9, END_HEADERS, 7), (DATA, END_STREAM, 7)],
        *[(HEADERS, END_HEADERS, 9), (DATA, END_STREAM, 9)],
    ]
    assert len(frames[0].payload) == FRAME_BYTES
    assert talk.machine._output.end == talk.machine._output.taken == len(talk.output)


def test_of_many_heads_only_some_are_kept() -> None:
    """Each is compared by identity, and all of these say the same."""
    heads = [request_head() for _ in range(200)]
    talk = Http2Talk(*heads[:2])
    sent = [talk.take()[0].payload]
    kept = talk.machine._requests._blocks._kept
    for head in heads:
        number = talk.send(head)
        (block, _) = talk.take()
        sent.append(block.payload)
        talk.receive(talk.ok(number) + window_update(0, 8))
        assert 1 <= len(kept) <= 64
    assert set(sent[1:]) == {bytes.fromhex("8386c0bfbe" + "0f0d0138")}


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_answers_to_two_requests_in_any_order(size: int) -> None:
    for first, second in ((1, 3), (3, 1)):
        talk = Http2Talk(POST, POST)
        talk.receive(talk.head(first, *TWO_BYTES) + talk.ok(second) + talk.data(first), size)
        assert talk.outcomes() == [(second, OK_RESPONSE), (first, OK_RESPONSE)]
        assert (talk.machine.open_exchanges, talk.machine.room, talk.machine.closing) == (0, 100, None)


def test_the_same_head_again_and_again_and_a_new_one() -> None:
    talk = Http2Talk(*[POST] * 9)
    for number, date in zip(range(1, 19, 2), b"aaabbbacc", strict=True):
        talk.receive(talk.head(number, *TWO_BYTES, (b"date", bytes((date,)))) + talk.data(number))
    responses = [response for _, response in talk.outcomes()]
    assert responses == [
        Response(200, (*TWO_BYTES, (b"date", bytes((date,)))), b"hi") for date in b"aaabbbacc"
    ]


ANSWERS = [
    # flags of HEADERS, fields, what follows, and what that makes
    (WHOLE, (), [], Response(200, (), b"")),
    (END_HEADERS, (), [(b"", END_STREAM)], Response(200, (), b"")),
    (
        END_HEADERS,
        (),
        [(b"hi", END_STREAM)],
        Response(200, (), b"hi"),
    ),
    (END_HEADERS, (), [(b"h", 0), (b"i", END_STREAM)], Response(200, (), b"hi")),
    (END_HEADERS, (), [(b"hi", 0), (b"", END_STREAM)], Response(200, (), b"hi")),
    (END_HEADERS, TWO_BYTES, [(b"h", 0), (b"", 0), (b"i", END_STREAM)], OK_RESPONSE),
    (END_HEADERS, TWO_BYTES, [(b"\0hi", END_STREAM | PADDED)], OK_RESPONSE),
    (END_HEADERS, TWO_BYTES, [(b"\3hi\0\0\0", END_STREAM | PADDED)], OK_RESPONSE),
    (
        END_HEADERS,
        TWO_BYTES,
        [(b"\1h\0", PADDED), (b"\0i", PADDED), (b"\0", PADDED | END_STREAM)],
        OK_RESPONSE,
    ),
]


@pytest.mark.parametrize(("flags", "fields", "pieces", "response"), ANSWERS)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_the_shapes_of_an_answer(
    flags: int,
    fields: tuple[tuple[bytes, bytes], ...],
    pieces: list[tuple[bytes, int]],
    response: Response,
    size: int,
) -> None:
    # Twice: the second time the head is known.
    talk = Http2Talk(POST, POST)
    for stream_id in (1, 3):
        data = talk.head(stream_id, *fields, flags=flags)
        data += b"".join(talk.data(stream_id, body, piece_flags) for body, piece_flags in pieces)
        talk.receive(data, size)
    assert talk.outcomes() == [(1, response), (3, response)]
    assert talk.take()[4:] == []


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(status: int) -> None:
    talk = Http2Talk(POST, POST, POST)
    for stream_id in (1, 3):
        talk.receive(talk.head(stream_id, (b"content-length", b"7"), status=status, flags=WHOLE))
    talk.receive(talk.head(5, status=status) + talk.data(5, b""))
    assert [response.status for _, response in talk.outcomes() if isinstance(response, Response)] == [
        status
    ] * 3
    assert {response.body for _, response in talk.outcomes() if isinstance(response, Response)} == {b""}


def test_an_answer_to_head_says_a_length_and_has_none() -> None:
    talk = Http2Talk()
    for _ in range(3):
        talk.send(HEAD, b"")
    talk.receive(talk.head(1, *TWO_BYTES, flags=WHOLE) + talk.head(3, *TWO_BYTES) + talk.data(3, b""))
    talk.receive(talk.head(5, *TWO_BYTES, flags=WHOLE))
    empty = Response(200, TWO_BYTES, b"")
    assert talk.outcomes() == [(1, empty), (3, empty), (5, empty)]


@pytest.mark.parametrize("size", [0, 1])
def test_interim_answers_and_trailers(size: int) -> None:
    talk = Http2Talk(POST)
    data = talk.head(1, status=103) + talk.head(1, (b"a", b"b"), status=100) + talk.head(1, *TWO_BYTES)
    data += talk.data(1, b"hi", 0)
    assert talk.receive(data, size) == []
    talk.receive(frame(HEADERS, WHOLE, 1, talk.encoder.encode([(b"grpc-status", b"0")])), size)
    assert talk.response() == Response(200, TWO_BYTES, b"hi", ((b"grpc-status", b"0"),))


@pytest.mark.parametrize("flags", [0, END_STREAM])
def test_a_known_head_that_does_not_end_in_its_frame_may_go_on(flags: int) -> None:
    talk = Http2Talk(*[POST] * 4)
    for number in (1, 3, 5):
        talk.receive(talk.head(number) + talk.data(number, b""))
    known = next(iter(talk.machine._answers.reader.known))
    more = b"\x10\x01a\x01b"
    talk.receive(frame(HEADERS, flags, 7, known) + frame(9, END_HEADERS, 7, more))
    if not flags:
        talk.receive(talk.data(7, b"hi"))
    assert talk.outcomes()[3] == (7, Response(200, ((b"a", b"b"),), b"" if flags else b"hi"))


def test_a_head_in_pieces_with_padding_and_priority() -> None:
    talk = Http2Talk(POST)
    block = talk.encoder.encode([(b":status", b"200"), *TWO_BYTES, (b"x", b"y" * 50)])
    data = frame(HEADERS, PADDED | 0x20, 1, b"\3" + b"\0\0\0\0\7" + block[:3] + b"\0\0\0")
    data += frame(9, 0, 1, block[3:9]) + frame(9, 0, 1) + frame(9, END_HEADERS, 1, block[9:])
    for cut in (0, 1):
        assert cut == 0 or talk.receive(b"") == []
    talk.receive(data + talk.data(1))
    assert talk.response() == Response(200, (*TWO_BYTES, (b"x", b"y" * 50)), b"hi")


def test_the_reserved_bit_and_unknown_frames_and_flags_are_ignored() -> None:
    talk = Http2Talk(POST)
    data = (
        talk.head(1, *TWO_BYTES, flags=END_HEADERS | 0x40)
        + frame(0xAA, 0xFF, 1, b"grease")
        + frame(0xFE, 0, 0)
    )
    data += frame(PRIORITY, 0, 1, bytes(5)) + frame(PRIORITY, 0, 99, bytes(5)) + settings_frame({0xFFFF: 1})
    body = bytearray(talk.data(1, flags=END_STREAM | 0x80))
    body[5] |= 0x80
    talk.receive(data + bytes(body))
    assert talk.response() == OK_RESPONSE
    assert talk.machine.closing is None


# How many more and how many open.


def test_capacity_is_taken_to_be_enough_until_the_server_has_said() -> None:
    talk = Http2Talk(is_greeted=False)
    assert talk.machine.capacity == 2**31
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5}))
    assert talk.machine.capacity == 5
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert talk.machine.capacity == 0


def test_room_is_what_the_server_takes_and_what_may_be_in_doubt() -> None:
    assert Http2Talk().machine.room == 100
    assert Http2Talk(most_open=7).machine.room == 7
    talk = Http2Talk(settings={MAX_CONCURRENT_STREAMS: 3}, most_open=7)
    assert talk.machine.room == 3
    for left in (2, 1, 0):
        talk.send()
        assert talk.machine.room == left
    with pytest.raises(RuntimeError, match="without room"):
        talk.machine.send(talk.exchanges[1])
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 1}))
    for stream_id, room in ((3, 0), (1, 0), (5, 1)):
        talk.receive(talk.ok(stream_id))
        assert talk.machine.room == room
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert (talk.machine.room, talk.machine.closing) == (0, None)
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 1_000}))
    assert talk.machine.room == 7


def test_what_waits_is_told_oldest_first() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.receive(talk.head(3, *TWO_BYTES) + talk.ok(5))
    exchanges = talk.exchanges
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.SENT), (exchanges[3], Stage.ANSWERING)]
    talk.receive(talk.ok(1))
    assert list(talk.machine.waiting()) == [(exchanges[3], Stage.ANSWERING)]
    talk.receive(talk.data(3))
    assert list(talk.machine.waiting()) == []


def test_what_is_not_wholly_sent_is_told_from_what_is() -> None:
    talk = Http2Talk(EXPECT)
    talk.send(POST, b"x" * 100_000)
    talk.take()
    exchanges = talk.exchanges
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.HELD), (exchanges[3], Stage.SENDING)]
    talk.machine.release_body()
    talk.receive(window_update(0, 100_000) + window_update(3, 100_000))
    talk.take()
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.SENT), (exchanges[3], Stage.SENT)]


def test_numbers_of_streams_run_out() -> None:
    talk = Http2Talk()
    talk.machine._streams.next_id = LARGEST_STREAM - 2
    talk.machine.room = talk.machine._places.room()
    assert talk.machine.room == 2
    talk.machine.send(
        talk_exchange := talk.exchanges.setdefault(
            1, __import__("livepost.wire.message").wire.message.Exchange(POST, BODY)
        )
    )
    assert (talk.machine.room, talk.machine.closing) == (1, None)
    talk.machine.send(talk_exchange)
    assert [sent.stream_id for sent in talk.take()][::2] == [LARGEST_STREAM - 2, LARGEST_STREAM]
    talk.receive(frame(PING, 0, 0, bytes(8)))
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.EXHAUSTED)


def test_without_keep_alive_a_connection_carries_one_request() -> None:
    talk = Http2Talk(CLOSE)
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.KEEPALIVE_OFF)
    talk.receive(talk.ok(1))
    assert talk.response() == OK_RESPONSE
    assert talk.machine.room == 0


# Bodies and windows.


def sizes(frames: list[Frame]) -> list[tuple[int, int]]:
    """Of DATA frames: stream and size."""
    return [(sent.stream_id, len(sent.payload)) for sent in frames if sent.kind == DATA]


def test_a_large_body_goes_as_the_windows_allow() -> None:
    body = bytes(range(256)) * 400
    talk = Http2Talk()
    talk.send(POST, body)
    frames = talk.take()
    assert sizes(frames) == [(1, 16_384)] * 3 + [(1, 16_383)]
    assert talk.machine.room == 99
    talk.receive(window_update(1, 10_000))
    assert talk.take() == []
    talk.receive(window_update(0, 9_000))
    frames += talk.take()
    talk.receive(window_update(0, 50_000))
    frames += talk.take()
    assert sizes(frames[5:]) == [(1, 9_000), (1, 1_000)]
    assert talk.machine.room == 99
    talk.receive(window_update(1, 50_000))
    frames += talk.take()
    assert sizes(frames[7:]) == [(1, 16_384), (1, 10_481)]
    assert b"".join(sent.payload for sent in frames[1:]) == body
    assert [sent.flags for sent in frames[1:]] == [0] * 7 + [END_STREAM]


def test_a_slow_stream_does_not_stall_the_others() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 1_000})
    talk.send(POST, b"x" * 5_000)
    for _ in range(5):
        talk.send()
    assert sizes(talk.take()) == [(1, 1_000), *[(number, len(BODY)) for number in (3, 5, 7, 9, 11)]]
    for _ in range(3):
        talk.send()
    assert sizes(talk.take()) == [(number, len(BODY)) for number in (13, 15, 17)]
    talk.receive(talk.ok(3, 5, 17) + window_update(1, 10_000))
    assert sizes(talk.take()) == [(1, 4_000)]
    assert talk.machine.open_exchanges == 6


def test_bodies_take_turns_and_come_in_steps() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10_000_000})
    talk.receive(window_update(0, 10_000_000))
    for _ in range(2):
        talk.send(POST, b"x" * 1_000_000)
    first = talk.machine.take_output()
    assert UPLOAD_STEP_BYTES < len(first) < UPLOAD_STEP_BYTES + 1_000
    # What comes now does not wait for all of the two million bytes.
    talk.send()
    talk.output += first
    frames = talk.take()
    assert not talk.machine.take_output()
    assert [number for number, _ in sizes(frames)[:6]] == [1, 3, 5, 1, 3, 1]
    per_stream = {number: sum(size for one, size in sizes(frames) if one == number) for number in (1, 3, 5)}
    assert per_stream == {1: 1_000_000 - 131_072, 3: 1_000_000 - 131_072, 5: len(BODY)}


def test_a_changed_window_changes_the_streams_that_are_open() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 1_000})
    for _ in range(2):
        talk.send(POST, b"x" * 3_000)
    assert sizes(talk.take()) == [(1, 1_000), (3, 1_000)]
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 1_500}))
    assert sizes(talk.take()) == [(1, 500), (3, 500)]
    # Now it goes below zero: 100 bytes of the next 200 only make up for that.
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 1_400}))
    assert sizes(talk.take()) == []
    talk.receive(window_update(1, 200))
    assert sizes(talk.take()) == [(1, 100)]
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 65_535}))
    assert sizes(talk.take()) == [(3, 1_500), (1, 1_400)]


def test_a_window_that_shrinks_holds_for_requests_that_were_small_enough_before() -> None:
    talk = Http2Talk(POST, POST, POST, settings={INITIAL_WINDOW_SIZE: 100})
    talk.take()
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 3}))
    talk.send()
    assert sizes(talk.take()) == [(7, 3)]


def test_the_connections_window_limits_small_requests_too() -> None:
    talk = Http2Talk(most_open=1_000)
    body = b"x" * 10_000
    while talk.machine.room:
        talk.send(POST, body)
        talk.take()
    # The seventh has not gone wholly, and with it wait eight.
    assert talk.machine.open_exchanges == 6 + 8
    rooms = [0]
    for increment in (4_465, 70_001):
        talk.receive(window_update(0, increment))
        rooms.append(talk.machine.room)
        if increment == 4_465:
            assert sizes(talk.take())[0] == (13, 4_465)
    assert rooms == [0, 0, 986]
    assert sizes(talk.take()) == [(number, 10_000) for number in range(15, 29, 2)]


def test_windows_that_we_give_are_made_full_in_large_steps() -> None:
    talk = Http2Talk(max_response_bytes=20_000_000)
    talk.send()
    talk.take()
    talk.receive(talk.head(1))
    received, piece = 0, talk.data(1, b"x" * FRAME_BYTES, 0)
    updates = []
    while received < 3 * CONNECTION_WINDOW // 2 - FRAME_BYTES:
        talk.receive(piece)
        received += FRAME_BYTES
        updates += talk.take()
        if len(updates) == 2:
            break
    half = CONNECTION_WINDOW // 2
    assert updates == [Frame(WINDOW_UPDATE, 0, 0, half.to_bytes(4, "big"))] * 2
    assert received == CONNECTION_WINDOW


def test_padding_is_given_back() -> None:
    talk = Http2Talk(POST)
    talk.take()
    talk.receive(talk.head(1))
    # A pad of 255 bytes and the byte that says so.
    piece = talk.data(1, b"\xff" + b"x" + bytes(255), PADDED)
    talk.receive(piece * 128)
    assert talk.take() == [(WINDOW_UPDATE, 0, 1, (128 * 256).to_bytes(4, "big"))]
    talk.receive(talk.data(1, b"", END_STREAM))
    assert talk.response().body == b"x" * 128


# Expect: 100-continue.


def test_a_body_is_held_until_100() -> None:
    talk = Http2Talk(EXPECT, EXPECT)
    frames = talk.take()
    assert [(sent.kind, sent.flags) for sent in frames] == [(HEADERS, END_HEADERS)] * 2
    assert fields_of(talk, frames[0])[-2:] == [(b"expect", b"100-continue"), (b"content-length", b"8")]
    talk.receive(talk.head(3, status=100))
    assert talk.machine.body_held
    assert sizes(talk.take()) == [(3, 8)]
    talk.machine.release_body()
    assert not talk.machine.body_held
    assert sizes(talk.take()) == [(1, 8)]
    talk.receive(talk.head(1, status=100) + talk.ok(1, 3))
    assert talk.outcomes() == [(1, OK_RESPONSE), (3, OK_RESPONSE)]
    assert talk.take() == []


def test_without_a_body_nothing_is_expected() -> None:
    talk = Http2Talk()
    talk.send(EXPECT, b"")
    assert not talk.machine.body_held
    assert fields_of(talk, talk.take()[0])[-1] == (b"content-length", b"0")


@pytest.mark.parametrize("head", [EXPECT, POST])
def test_an_answer_before_the_whole_request_ends_that(head: RequestHead) -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 4})
    talk.send(head)
    talk.take()
    talk.receive(talk.ok(1))
    assert talk.response() == OK_RESPONSE
    assert talk.take() == [(RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert (talk.machine.room, talk.machine.body_held) == (100, False)
    # The server may have said the same, and widened the window before.
    talk.receive(frame(RST_STREAM, 0, 1, bytes(4)) + window_update(1, 50) + settings_frame({4: 50}))
    assert talk.take() == [(SETTINGS, ACK, 0, b"")]


# Asking, and leaving.


def test_a_ping_is_open_until_its_own_answer_comes() -> None:
    talk = Http2Talk()
    for number in (1, 2):
        talk.machine.ping()
        talk.machine.ping()
        assert talk.machine.ping_open
        (ping,) = talk.take()
        assert ping == (PING, 0, 0, number.to_bytes(8, "big"))
        talk.receive(frame(PING, ACK, 0, b"whatever"))
        assert talk.machine.ping_open
        talk.receive(frame(PING, ACK, 0, ping.payload))
        assert not talk.machine.ping_open
    talk.machine.ping()
    talk.end()
    assert not talk.machine.ping_open
    talk.take()
    talk.machine.ping()
    assert (talk.machine.ping_open, talk.take()) == (False, [])


def test_the_last_word_is_goodbye_unless_the_server_said_it_first() -> None:
    talk = Http2Talk(POST)
    talk.end()
    # The request was not taken to be written, and is not to be.
    assert talk.take() == [(GOAWAY, 0, 0, bytes(8))]
    assert talk.end() == []
    assert talk.take() == []
    talk = Http2Talk(POST)
    talk.receive(goaway(1))
    talk.end()
    assert talk.take() == []


def test_the_machines_positions_are_those_of_its_output() -> None:
    talk = Http2Talk(POST, EXPECT, POST)
    talk.send(HEAD, b"")
    talk.send(POST, b"x" * 100_000)
    for _ in range(5):
        talk.send(fields=((b"a", b"b"),))
        talk.take()
        assert talk.machine._output.end == talk.machine._output.taken == len(talk.output)
        talk.receive(window_update(0, 1_000))


def test_machines_are_made_with_their_limits() -> None:
    machine = Http2Machine(max_response_bytes=0, most_open=1)
    assert machine.room == 1


def test_a_head_larger_than_the_server_likes_is_for_the_server_to_refuse() -> None:
    talk = Http2Talk(settings={MAX_HEADER_LIST_SIZE: 40})
    number = talk.send(POST)
    (head, _) = talk.take()
    assert (head.kind, head.stream_id) == (HEADERS, number)
