"""The shapes of answers over HTTP/2."""

from __future__ import annotations

import pytest
from http2_talk import TWO_BYTES, Http2Talk, frame
from machine_talk import HEAD, POST

from livepost.wire.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PRIORITY,
    settings_frame,
)
from livepost.wire.message import Response

OK_RESPONSE = Response(200, TWO_BYTES, b"hi")
WHOLE = END_HEADERS | END_STREAM
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
