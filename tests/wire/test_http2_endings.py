"""Answers over HTTP/2 that do not come, or not wholly, and what is said of the request then."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from http2_talk import TWO_BYTES, Http2Talk, frame, goaway, read_frames, rst_stream, window_update
from hypothesis import given
from hypothesis import strategies as st
from machine_talk import BODY, EXPECT, POST, request_head

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    ErrorCode,
    settings_frame,
)
from livepost.wire.machine import Answered
from livepost.wire.message import Response

NOTHING, SOME, ALL, REFUSED = Sent.NOTHING, Sent.SOME, Sent.ALL, Sent.REFUSED
OK_RESPONSE = Response(200, TWO_BYTES, b"hi")
PUT = request_head(b"PUT")


def spans(output: bytes) -> dict[int, tuple[int, int]]:
    """Where the frames of each stream begin and end in what was output."""
    found: dict[int, tuple[int, int]] = {}
    position = output.index(b"SM\r\n\r\n") + 6
    for sent in read_frames(output[position:]):
        end = position + 9 + len(sent.payload)
        if sent.stream_id and sent.kind in (HEADERS, DATA):
            found[sent.stream_id] = (found.get(sent.stream_id, (position, 0))[0], end)
        position = end
    return found


class Story:
    """Requests of every kind, and what may be said of each."""

    def __init__(self) -> None:
        self.talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 50})
        self.answered: set[int] = set()
        self.held: set[int] = set()
        self.unfinished: set[int] = set()

    def small(self) -> None:
        self.talk.send()

    def own_fields(self) -> None:
        self.talk.send(fields=((b"key", b"value"),))

    def large(self) -> None:
        self.unfinished.add(self.talk.send(PUT, b"x" * 120))

    def hold(self) -> None:
        self.held.add(self.talk.send(EXPECT, b"x" * 40))

    def take(self) -> None:
        self.talk.take()

    def let_go(self) -> None:
        self.talk.machine.release_body()
        self.held.clear()

    def widen(self) -> None:
        if self.unfinished:
            number = self.unfinished.pop()
            self.talk.receive(window_update(number, 1_000))

    def answer(self) -> None:
        number = min(set(self.talk.exchanges) - self.answered - self.held - self.unfinished, default=None)
        if number is not None:
            self.answered.add(number)
            self.talk.receive(self.talk.ok(number))


steps = st.sampled_from(
    [
        Story.small,
        Story.own_fields,
        Story.large,
        Story.hold,
        Story.take,
        Story.let_go,
        Story.widen,
        Story.answer,
    ]
)


@given(st.lists(steps, min_size=1, max_size=12), st.data())
def test_how_much_was_sent_wherever_the_writing_ended(
    told: list[Callable[[Story], None]], data: st.DataObject
) -> None:
    story = Story()
    for step in told:
        step(story)
    talk = story.talk
    talk.events.clear()
    talk.take()
    written = data.draw(st.integers(0, len(talk.output)))
    talk.end(written)
    for number, sent in talk.outcomes():
        start, end = spans(talk.output)[number]
        if written <= start:
            assert sent is NOTHING
        elif number in story.held:
            assert sent is REFUSED
        else:
            assert sent is (ALL if written >= end and number not in story.unfinished else SOME)
    assert {number for number, _ in talk.outcomes()} == set(talk.exchanges) - story.answered
    assert talk.machine.closing is CloseReason.SERVER_CLOSED
    assert talk.goodbye(CloseReason.SERVER_CLOSED) is ErrorCode.NO_ERROR


def test_what_was_not_taken_when_the_connection_ended_was_not_sent() -> None:
    talk = Http2Talk(POST, POST)
    talk.take()
    for _ in range(2):
        talk.send()
    talk.end(1_000_000)
    # The caller knows best what it wrote; here it could not have written so much.
    assert talk.outcomes()[:2] == [(1, ALL), (3, ALL)]
    assert talk.goodbye(CloseReason.SERVER_CLOSED) is ErrorCode.NO_ERROR
    assert talk.receive(talk.ok(1)) == []


def test_an_answer_that_ends_inside_its_body_tells_its_status() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.take()
    talk.receive(talk.head(1, status=201) + talk.data(1, b"half", 0) + talk.head(3, *TWO_BYTES))
    talk.end(len(talk.output))
    assert talk.outcomes() == [
        (1, Response(201, (), b"half", complete=False)),
        (3, Response(200, TWO_BYTES, b"", complete=False)),
        (5, ALL),
    ]


# RST_STREAM.


@pytest.mark.parametrize("code", [*range(0xE), 0xFF])
@pytest.mark.parametrize("settings", [{}, {INITIAL_WINDOW_SIZE: 3}])
def test_a_stream_that_the_server_resets(code: int, settings: dict[int, int]) -> None:
    talk = Http2Talk(POST, POST, settings=settings)
    talk.take()
    talk.receive(rst_stream(1, code))
    sent, reason = talk.failure()
    assert sent is (REFUSED if code in (7, 0xD) else SOME if settings else ALL)
    name = ErrorCode(code).name if code < 0xE else "error 0xff"
    assert reason == f"the server reset the stream ({name})"
    assert talk.take() == []
    talk.receive(talk.ok(3))
    assert talk.outcomes()[1] == (3, OK_RESPONSE)
    is_over = code == 0xD
    assert talk.machine.closing is (CloseReason.HTTP_1_1_REQUIRED if is_over else None)
    assert talk.machine.room == (0 if is_over else 1 if code == 0xB else 100)


@pytest.mark.parametrize("by", ["the server", "us", "the server, of one given up"])
def test_what_comes_on_a_stream_after_its_reset_harms_nobody(by: str) -> None:
    """RFC 9113 section 5.1: heads still change the table, and bodies use the connection's window."""
    talk = Http2Talk(POST, POST)
    talk.take()
    if by == "the server":
        talk.receive(rst_stream(1, ErrorCode.CANCEL))
    else:
        if by != "us":
            talk.machine._streams._cancels._left = -100.0
        talk.events += talk.machine.cancel(talk.exchanges[1])
    if by == "the server, of one given up":
        talk.receive(rst_stream(1, ErrorCode.CANCEL))
    talk.take()
    half = talk.encoder.encode([(b":status", b"200"), (b"x", b"table")])
    late = [
        talk.data(1, b"x" * 10_000, 0) * 3,
        frame(HEADERS, 0, 1, half[:2]) + frame(CONTINUATION, END_HEADERS, 1, half[2:]),
        talk.head(1, (b"y", b"table")),
        window_update(1, 0),
        rst_stream(1, ErrorCode.NO_ERROR),
        talk.data(1),
    ]
    for data in late:
        talk.receive(data)
    assert talk.machine._intake._used == 30_002
    assert (talk.take(), talk.machine.closing, talk.machine.room) == ([], None, 99)
    fields = (*TWO_BYTES, (b"x", b"table"), (b"y", b"table"))
    talk.receive(talk.head(3, *fields) + talk.data(3))
    assert talk.outcomes() == [(1, ALL), (3, Response(200, fields, b"hi"))]


def test_a_held_body_whose_stream_is_reset_was_not_processed() -> None:
    talk = Http2Talk(EXPECT)
    talk.take()
    talk.receive(rst_stream(1, ErrorCode.CANCEL))
    assert talk.failure()[0] is REFUSED
    assert not talk.machine.body_held


def test_a_reset_after_the_head_leaves_the_status() -> None:
    talk = Http2Talk(POST)
    talk.take()
    talk.receive(talk.head(1, *TWO_BYTES, status=500) + rst_stream(1, ErrorCode.REFUSED_STREAM))
    assert talk.response() == Response(500, TWO_BYTES, b"", complete=False)


def test_calls_for_calm_that_come_together_are_one() -> None:
    talk = Http2Talk()
    numbers = [talk.send() for _ in range(16)]
    talk.take()
    talk.receive(b"".join(rst_stream(number, ErrorCode.ENHANCE_YOUR_CALM) for number in numbers[:6]))
    talk.receive(talk.ok(*numbers[6:]))
    assert talk.machine.room == 8
    number = talk.send()
    talk.take()
    talk.receive(rst_stream(number, ErrorCode.ENHANCE_YOUR_CALM))
    assert talk.machine.room == 1


def test_a_call_for_calm_halves_what_may_be_open() -> None:
    talk = Http2Talk(*[POST] * 10)
    talk.take()
    talk.receive(rst_stream(19, ErrorCode.ENHANCE_YOUR_CALM))
    assert (talk.machine.room, talk.machine.open_exchanges) == (0, 9)
    talk.receive(talk.ok(*range(1, 19, 2)))
    assert talk.machine.room == 5


def test_calm_gives_way_to_one_more_after_64_rounds_up_to_what_there_was() -> None:
    talk = Http2Talk(*[POST] * 8, settings={MAX_CONCURRENT_STREAMS: 8})
    talk.take()
    talk.receive(rst_stream(15, ErrorCode.ENHANCE_YOUR_CALM) + talk.ok(*range(1, 15, 2)))
    rooms = [talk.machine.room]
    requests = [0]
    while rooms[-1] < 8:
        number = talk.send()
        talk.take()
        talk.receive(talk.ok(number))
        requests[-1] += 1
        if talk.machine.room != rooms[-1]:
            rooms.append(talk.machine.room)
            requests.append(0)
    assert rooms == [4, 5, 6, 7, 8]
    # Those that were open when it asked are not counted.
    assert requests == [4 * 64, 5 * 64, 6 * 64, 7 * 64, 0]
    for _ in range(2_000):
        number = talk.send()
        talk.take()
        talk.receive(talk.ok(number))
    assert talk.machine.room == 8


# GOAWAY.


def test_a_graceful_end_in_two_steps() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.take()
    assert talk.receive(goaway(LARGEST_STREAM)) == []
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.SERVER_ANNOUNCED)
    talk.receive(talk.ok(1))
    talk.receive(goaway(3))
    assert talk.outcomes() == [(1, OK_RESPONSE), (5, REFUSED)]
    assert talk.machine.open_exchanges == 1
    # It may still come, and then counts for nothing.
    talk.receive(talk.ok(5))
    talk.receive(talk.ok(3))
    assert talk.outcomes()[2:] == [(3, OK_RESPONSE)]
    assert (talk.machine.room, talk.machine.open_exchanges) == (0, 0)
    assert talk.take() == []


GOAWAYS = [
    (ErrorCode.NO_ERROR, CloseReason.SERVER_ANNOUNCED),
    (ErrorCode.ENHANCE_YOUR_CALM, CloseReason.ENHANCE_YOUR_CALM),
    (ErrorCode.HTTP_1_1_REQUIRED, CloseReason.HTTP_1_1_REQUIRED),
    (ErrorCode.PROTOCOL_ERROR, CloseReason.SERVER_ERROR),
    (ErrorCode.INTERNAL_ERROR, CloseReason.SERVER_ERROR),
    (0xFFFF, CloseReason.SERVER_ERROR),
]


@pytest.mark.parametrize(("code", "reason"), GOAWAYS)
@pytest.mark.parametrize("last", [0, 1, 2, 3, 5, 7])
@pytest.mark.parametrize("is_announced", [False, True])
def test_streams_above_the_last_are_refused_and_the_others_awaited(
    code: int, reason: CloseReason, last: int, is_announced: bool
) -> None:
    talk = Http2Talk(POST, EXPECT, settings={INITIAL_WINDOW_SIZE: 50})
    talk.send(PUT, b"x" * 100)
    talk.take()
    if is_announced:
        talk.receive(goaway(LARGEST_STREAM))
    talk.receive(goaway(last, code, b"too_many_pings"))
    refused = [number for number in (1, 3, 5) if number > last]
    assert talk.outcomes() == [(number, REFUSED) for number in refused]
    assert (talk.machine.room, talk.machine.closing) == (0, reason)
    talk.end(len(talk.output))
    doubtful = {1: ALL, 3: REFUSED, 5: SOME}
    left = [number for number in (1, 3, 5) if number <= last]
    assert talk.outcomes()[len(refused) :] == [(number, doubtful[number]) for number in left]
    assert talk.machine.closing is reason


def test_the_last_stream_does_not_rise_again() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.receive(goaway(3) + goaway(5) + goaway(LARGEST_STREAM))
    assert talk.outcomes() == [(5, REFUSED)]
    talk.receive(goaway(1))
    assert talk.outcomes() == [(5, REFUSED), (3, REFUSED)]


def test_a_refused_body_is_not_sent_on() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10})
    talk.send(POST, b"x" * 100)
    talk.take()
    talk.receive(goaway(0) + window_update(1, 1_000))
    assert talk.outcomes() == [(1, REFUSED)]
    assert talk.take() == []


# Cancelling.


def test_a_cancelled_stream_is_reset_and_its_place_free() -> None:
    talk = Http2Talk(*[POST] * 8, settings={MAX_CONCURRENT_STREAMS: 8})
    talk.take()
    talk.receive(talk.head(3, *TWO_BYTES) + talk.data(3, b"h", 0))
    first = talk.machine.cancel(talk.exchanges[1], "no answer within 3 s")
    second = talk.machine.cancel(talk.exchanges[3], "no answer within 3 s")
    talk.events += first + second
    assert talk.outcomes() == [(1, ALL), (3, Response(200, TWO_BYTES, b"h", complete=False))]
    assert [getattr(event, "reason", None) for event in talk.events] == ["no answer within 3 s", None]
    assert talk.take() == [(RST_STREAM, 0, number, b"\0\0\0\x08") for number in (1, 3)]
    assert (talk.machine.room, talk.machine.open_exchanges, talk.machine.unheard) == (0, 6, 2)
    # What was under way is ignored, and the table of headers kept right.
    talk.receive(talk.head(1, (b"x", b"y")) + talk.data(1) + talk.data(3, b"i") + rst_stream(1, 5))
    assert (talk.machine.room, talk.machine.open_exchanges, talk.machine.unheard) == (2, 6, 0)
    talk.receive(talk.head(5, *TWO_BYTES, (b"x", b"y")) + talk.data(5))
    assert talk.outcomes()[2:] == [(5, Response(200, (*TWO_BYTES, (b"x", b"y")), b"hi"))]
    assert talk.machine.cancel(talk.exchanges[1]) == []


@pytest.mark.parametrize("are_reset", [True, False])
@pytest.mark.parametrize("limit", [{}, {MAX_CONCURRENT_STREAMS: 20}])
def test_a_server_that_is_gone_is_given_nothing_in_place_of_what_was_cancelled(
    are_reset: bool, limit: dict[int, int]
) -> None:
    talk = Http2Talk(*[POST] * 15, settings=limit, most_open=20)
    talk.machine._streams._cancels._left = 100 if are_reset else -100
    for number in range(1, 31, 2):
        talk.machine.cancel(talk.exchanges[number])
    for _ in range(5):
        assert talk.machine.closing is None
        number = talk.send()
        talk.machine.cancel(talk.exchanges[number])
    assert (talk.machine.room, talk.machine.unheard, talk.machine.open_exchanges) == (0, 20, 0)
    # Anything shows that it is there; the streams that were not reset keep their places with it.
    talk.receive(frame(PING, ACK, 0, bytes(8)))
    assert talk.machine.unheard == 0
    assert talk.machine.room == (0 if limit and not are_reset else 20)


def test_no_exchange_is_taken_after_leaving_and_what_is_open_goes_on() -> None:
    talk = Http2Talk(POST, POST)
    talk.take()
    talk.machine.leave(CloseReason.TIMEOUT)
    talk.machine.leave(CloseReason.STOPPED)
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.TIMEOUT)
    talk.receive(talk.ok(1, 3))
    assert [number for number, _ in talk.outcomes()] == [1, 3]
    assert talk.machine.room == 0


def test_what_was_not_yet_taken_goes_out_all_the_same_and_so_counts() -> None:
    talk = Http2Talk(POST)
    talk.events += talk.machine.cancel(talk.exchanges[1])
    assert talk.failure() == (ALL, "it was cancelled")
    assert [sent.kind for sent in talk.take()] == [HEADERS, DATA, RST_STREAM]


def test_what_is_cancelled_while_nothing_can_be_written_is_settled_all_the_same() -> None:
    """However many there are: it is not the server that asks for them."""
    # Requests that have not ended are reset in any case.
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 0}, most_open=25_000)
    for _ in range(25_000):
        number = talk.send()
        assert len(talk.machine.cancel(talk.exchanges[number])) == 1
    assert talk.machine.room == 0
    talk.machine.ping()
    assert (talk.machine.open_exchanges, talk.machine.closing) == (0, None)


@pytest.mark.parametrize("requests", [0, 1, 2, 8, 40, 400, 2_000])
def test_no_more_are_reset_than_servers_bear(requests: int) -> None:
    talk = Http2Talk(most_open=1_000)
    for first in range(0, requests, 100):
        numbers = [talk.send() for _ in range(first, min(requests, first + 100))]
        talk.take()
        talk.receive(talk.ok(*numbers) + window_update(0, 10_000))
    numbers = [talk.send() for _ in range(200)]
    talk.take()
    talk.events.clear()
    for number in numbers:
        talk.events += talk.machine.cancel(talk.exchanges[number])
    budget = min(100, 2 + (requests + 200) // 4)
    resets = talk.take()
    assert [sent.stream_id for sent in resets] == numbers[:budget]
    assert [sent for _, sent in talk.outcomes()] == [ALL] * 200
    # The others keep their places until the server is done with them.
    assert (talk.machine.open_exchanges, talk.machine.closing) == (0, None)
    assert talk.machine.room == 800
    talk.receive(frame(PING, ACK, 0, bytes(8)))
    assert talk.machine.room == 1_000
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 201 - budget}))
    assert talk.machine.room == 1
    late = numbers[budget : budget + 4]
    talk.receive(
        talk.ok(late[0]) + talk.head(late[1], flags=END_HEADERS | END_STREAM) + rst_stream(late[2], 8)
    )
    talk.receive(talk.head(late[3], *TWO_BYTES))
    assert talk.machine.room == 4
    assert talk.outcomes()[200:] == []
    assert talk.send() == 2 * (requests + 200) + 1


def test_a_connection_without_a_place_left_is_exhausted() -> None:
    talk = Http2Talk(POST, POST, settings={MAX_CONCURRENT_STREAMS: 2})
    talk.machine._streams._cancels._left = 0
    for number in (1, 3):
        assert talk.machine.closing is None
        talk.machine.cancel(talk.exchanges[number])
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.EXHAUSTED)


def test_a_server_without_a_limit_is_left_with_a_thousand_abandoned_streams_at_most() -> None:
    talk = Http2Talk()
    talk.machine._streams._cancels._left = -1_000_000
    while talk.machine.closing is None:
        talk.machine.cancel(talk.exchanges[talk.send()])
        talk.take()
        talk.receive(window_update(0, len(BODY)))
    assert (len(talk.exchanges), len(talk.machine._streams.abandoned)) == (1_000, 1_000)
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.EXHAUSTED)


def test_a_request_that_cannot_end_is_reset_beyond_the_budget() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10})
    numbers = [talk.send(POST, b"x" * 20) for _ in range(10)]
    talk.take()
    for number in numbers:
        talk.events += talk.machine.cancel(talk.exchanges[number])
    assert [sent for _, sent in talk.outcomes()] == [SOME] * 10
    assert [sent.kind for sent in talk.take()] == [RST_STREAM] * 10


# Answers that are too long.


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("pieces", [[11], [10, 1], [5, 5, 500], [20_000 - 16_000, 16_000]])
@pytest.mark.parametrize("is_over", [True, False])
def test_a_body_above_the_limit_is_cut_and_its_stream_ends(
    says_length: bool, pieces: list[int], is_over: bool
) -> None:
    talk = Http2Talk(POST, POST, max_response_bytes=10)
    talk.take()
    total = sum(pieces) + (0 if is_over else 1)
    fields = ((b"content-length", b"%d" % total),) if says_length else ()
    for stream_id in (1, 3):
        data = talk.head(stream_id, *fields)
        for number, size in enumerate(pieces, 1):
            is_last = is_over and number == len(pieces)
            data += talk.data(stream_id, b"x" * size, END_STREAM if is_last else 0)
        talk.receive(data)
    expected = Response(200, fields, b"x" * 10, complete=False)
    assert talk.outcomes() == [(1, expected), (3, expected)]
    resets = [sent.stream_id for sent in talk.take()]
    assert resets in ([1, 3], []) if is_over else resets == [1, 3]
    assert (talk.machine.closing, talk.machine.room) == (None, 100)
    talk.receive(talk.data(1) if not is_over else b"")
    assert len(talk.events) == 2


@pytest.mark.parametrize("limit", [0, 10, 16_383, 16_384, 16_385, 40_000])
@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_at_the_limit_is_whole(limit: int, says_length: bool) -> None:
    talk = Http2Talk(POST, POST, max_response_bytes=limit)
    talk.take()
    fields = ((b"content-length", b"%d" % limit),) if says_length else ()
    for stream_id in (1, 3):
        talk.receive(talk.head(stream_id, *fields))
        for start in range(0, limit, 16_384):
            talk.receive(talk.data(stream_id, b"x" * min(16_384, limit - start), 0))
        talk.receive(talk.data(stream_id, b""))
    whole = Response(200, fields, b"x" * limit)
    assert talk.outcomes() == [(1, whole), (3, whole)]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_head_above_the_limit_tells_its_status(is_over: bool) -> None:
    talk = Http2Talk(POST, POST)
    talk.take()
    # Each entry counts 32 bytes beside its own.
    first = talk.encoder.encode([(b":status", b"201"), (b"x", b"y" * 3_000)])
    block = first + b"\xbe" * 30
    talk.receive(frame(HEADERS, END_HEADERS | (END_STREAM if is_over else 0), 1, block))
    response = talk.response()
    assert (response.status, response.body, response.complete) == (201, b"", False)
    assert len(response.fields) == (65_536 - 42) // 3_033
    assert talk.take() == ([] if is_over else [(RST_STREAM, 0, 1, b"\0\0\0\x08")])
    talk.receive(talk.ok(3))
    assert talk.outcomes()[1] == (3, OK_RESPONSE)


def test_an_answer_that_is_over_and_too_long_ends_the_request_that_is_not_whole() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 4}, max_response_bytes=10)
    talk.send(POST, b"x" * 20)
    talk.take()
    talk.receive(talk.head(1, status=413) + talk.data(1, b"y" * 11))
    assert talk.response() == Response(413, (), b"y" * 10, complete=False)
    assert talk.take() == [(RST_STREAM, 0, 1, b"\0\0\0\x08")]
    talk.receive(window_update(1, 100))
    assert talk.take() == []


# The wrong protocol.


@pytest.mark.parametrize("size", [0, 1, 8])
@pytest.mark.parametrize("head", [POST, request_head(b"GET")])
def test_a_server_that_answers_in_http_1_has_processed_nothing(size: int, head: object) -> None:
    talk = Http2Talk(is_greeted=False)
    talk.send(POST, BODY if head is POST else b"")
    talk.take()
    talk.receive(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", size)
    assert talk.failure() == (REFUSED, "the server speaks HTTP/1.1, not HTTP/2")
    assert talk.machine.closing is CloseReason.HTTP_1_1_REQUIRED
    assert (talk.machine.room, talk.take()) == (0, [])


def test_a_request_that_did_not_go_out_before_such_an_answer_was_not_sent() -> None:
    talk = Http2Talk(is_greeted=False)
    talk.send()
    talk.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert talk.failure()[0] is REFUSED


def test_an_end_before_the_greeting_leaves_nothing_in_doubt() -> None:
    talk = Http2Talk(POST, is_greeted=False)
    talk.take()
    talk.end(len(talk.output))
    assert talk.failure() == (REFUSED, "the reason")


def test_when_the_connection_breaks_what_was_not_taken_was_not_sent() -> None:
    talk = Http2Talk(POST, settings={INITIAL_WINDOW_SIZE: 100})
    talk.send(PUT, b"x" * 200)
    talk.receive(talk.head(1, status=202))
    talk.take()
    talk.send()
    talk.receive(frame(PING, 0, 0, b"short"))
    reason = "the server sent a frame of the wrong size"
    assert talk.outcomes() == [(1, Response(202, (), b"", complete=False)), (3, SOME), (5, NOTHING)]
    assert [event.reason for event in talk.events if not isinstance(event, Answered)] == [reason] * 2
    (last,) = talk.take()
    assert last == (GOAWAY, 0, 0, bytes(7) + b"\x06" + reason.encode())
    assert talk.receive(settings_frame({})) == []
    assert talk.end(len(talk.output)) == []
    assert talk.machine.closing is CloseReason.PROTOCOL_ERROR


def test_settled_exchanges_are_settled_once_however_it_goes_on() -> None:
    for order in itertools.permutations(range(5)):
        talk = Http2Talk(POST, POST, POST)
        talk.take()
        for step in order:
            if step == 0:
                talk.receive(goaway(3))
            elif step == 1:
                talk.receive(rst_stream(1, 7) if 1 not in dict(talk.outcomes()) else b"")
            elif step == 2:
                talk.events += talk.machine.cancel(talk.exchanges[3])
            elif step == 3:
                talk.end(len(talk.output))
            else:
                talk.machine.ping()
        assert sorted(number for number, _ in talk.outcomes()) == [1, 3, 5]
        assert talk.machine.open_exchanges == 0
        assert (SETTINGS, ACK, 0, b"") not in talk.take()
