"""Answers that do not come, or not wholly, and what is said of the request then."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine_talk import (
    BODY,
    CHUNKED,
    CLOSE,
    CONTINUE,
    EXPECT,
    HEAD,
    IN_BODY,
    OK,
    POST,
    UNTIL_CLOSE,
    Talk,
    answer,
    closing,
    head_received,
    request_head,
)

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.http1 import Http1Machine
from livepost.wire.machine import Answered, Failed
from livepost.wire.message import Exchange, RequestHead, Response

NOTHING, SOME, ALL, REFUSED = Sent.NOTHING, Sent.SOME, Sent.ALL, Sent.REFUSED

REQUEST_BYTES = len(Talk(POST).output)
HELD_BYTES = len(Talk(EXPECT).output)


def test_the_numbers_below() -> None:
    assert REQUEST_BYTES == 108
    assert HELD_BYTES == REQUEST_BYTES - len(BODY) + len("Expect: 100-continue\r\n") == 122


NO_ANSWER = [
    b"",
    b"H",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r",
    CONTINUE,
    CONTINUE + b"HTTP/1.1 201",
    b"HTTP/1.1 103 Hints\r\n\r\n",
]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (0, NOTHING),
        (1, SOME),
        (REQUEST_BYTES - len(BODY), SOME),
        (REQUEST_BYTES - 1, SOME),
        (REQUEST_BYTES, ALL),
    ],
)
@pytest.mark.parametrize("before", [0, 2])
def test_how_much_was_sent_when_no_answer_came(before: int, written: int, sent: Sent) -> None:
    for received, orderly in itertools.product(NO_ANSWER, [True, False]):
        talk = Talk()
        for _ in range(before):
            talk.send(request_head(b"PUT"))
            talk.receive(OK)
        offset = len(talk.output)
        assert offset == before * (REQUEST_BYTES - 1)
        talk.events.clear()
        assert len(talk.send()) == REQUEST_BYTES
        talk.receive(received)
        talk.end(offset + written, orderly=orderly)
        assert talk.failure() == (sent, "the reason")
        assert talk.state() == closing(CloseReason.SERVER_CLOSED)


NOT_YET = [b"", b"H", CONTINUE[:-1], b"HTTP/1.1 103 Hints\r\n\r\n"]


@pytest.mark.parametrize(
    ("written", "sent"), [(0, NOTHING), (1, REFUSED), (HELD_BYTES - 1, REFUSED), (HELD_BYTES, REFUSED)]
)
@pytest.mark.parametrize("before", [0, 1])
def test_a_request_whose_body_was_held_was_not_processed(before: int, written: int, sent: Sent) -> None:
    for received, orderly in itertools.product(NOT_YET, [True, False]):
        talk = Talk()
        for _ in range(before):
            talk.send()
            talk.receive(OK)
        talk.events.clear()
        offset = len(talk.output)
        assert len(talk.send(EXPECT)) == HELD_BYTES
        talk.receive(received)
        assert talk.machine.body_held
        talk.end(offset + written, orderly=orderly)
        assert talk.failure() == (sent, "the reason")
        assert not talk.machine.body_held
        talk.machine.release_body()
        assert talk.take() == b""


@pytest.mark.parametrize(
    "release", [lambda talk: talk.receive(CONTINUE), lambda talk: talk.machine.release_body()]
)
@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (0, NOTHING),
        (HELD_BYTES, SOME),
        (HELD_BYTES + 1, SOME),
        (HELD_BYTES + len(BODY) - 1, SOME),
        (HELD_BYTES + len(BODY), ALL),
    ],
)
def test_a_released_body_counts(
    written: int, sent: Sent, taken: bool, release: Callable[[Talk], object]
) -> None:
    talk = Talk(EXPECT)
    release(talk)
    if taken:
        assert talk.take() == BODY
    talk.end(written)
    assert talk.failure() == (sent, "the reason")
    assert talk.take() == b""


CUT = [
    # an answer cut off, the body that had come
    (answer(b"Content-Length: 5"), b""),
    (answer(b"Content-Length: 5", body=b"hell"), b"hell"),
    (CHUNKED, b""),
    (CHUNKED + b"5", b""),
    (CHUNKED + b"5\r\nhel", b"hel"),
    (CHUNKED + b"5\r\nhello\r", b"hello"),
    (CHUNKED + b"5\r\nhello\r\n", b"hello"),
    (CHUNKED + b"5\r\nhello\r\n0", b"hello"),
    (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello"),
    (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n", b"hello"),
    (answer(b"Transfer-Encoding: gzip", body=b"hel"), b"hel"),
    (UNTIL_CLOSE + b"hel", b"hel"),
    (CONTINUE + UNTIL_CLOSE, b""),
]


@pytest.mark.parametrize(("received", "body"), CUT)
def test_an_answer_cut_off_still_has_its_status(received: bytes, body: bytes) -> None:
    received = received.replace(b" 200 ", b" 201 ")
    for written, size in itertools.product([0, 1, REQUEST_BYTES], [0, 1]):
        talk = Talk(POST)
        assert talk.receive(received, size) == []
        assert talk.state() == IN_BODY
        talk.end(written, orderly=False)
        response = talk.response()
        assert (response.status, response.body, response.trailers) == (201, body, ())
        assert not response.complete
        assert talk.state() == closing(CloseReason.SERVER_CLOSED)
        assert talk.receive(b"lo") == []
        assert talk.end() == []


@pytest.mark.parametrize(("received", "body"), CUT)
def test_only_an_answer_without_end_may_end_with_the_connection(received: bytes, body: bytes) -> None:
    talk = Talk(POST)
    talk.receive(received)
    talk.end(REQUEST_BYTES, orderly=True)
    runs_until_close = b"chunked" not in received and b"Content-Length" not in received
    assert (talk.response().body, talk.response().complete) == (body, runs_until_close)
    reason = CloseReason.SERVER_ANNOUNCED if runs_until_close else CloseReason.SERVER_CLOSED
    assert talk.state() == closing(reason)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
@pytest.mark.parametrize("size", [0, 1])
def test_an_answer_until_close(version: bytes, connection: bytes, size: int) -> None:
    for head, reason in ((POST, CloseReason.SERVER_ANNOUNCED), (CLOSE, CloseReason.KEEPALIVE_OFF)):
        talk = Talk(head)
        data = answer(b"Connection: " + connection, body=b"x" * 300, version=version)
        assert talk.receive(data, size) == []
        assert talk.state() == IN_BODY
        assert talk.end(0, orderly=True) == [
            Answered(talk.exchange, Response(200, ((b"connection", connection),), b"x" * 300))
        ]
        assert talk.state() == closing(reason)


def test_the_end_of_a_connection_without_an_open_exchange() -> None:
    for talk in (Talk(), Talk(POST)):
        if talk.machine.open_exchanges:
            talk.receive(OK)
        assert talk.end(10_000, orderly=True) == []
        assert talk.state() == closing(CloseReason.SERVER_CLOSED)
        assert talk.end(10_000, orderly=True) == []
        assert talk.receive(OK) == []
        assert talk.state() == closing(CloseReason.SERVER_CLOSED)


def test_the_first_reason_to_close_stays() -> None:
    talk = Talk(POST)
    talk.receive(answer(b"Connection: close", b"Content-Length: 0"))
    assert talk.end() == []
    assert talk.state() == closing(CloseReason.SERVER_ANNOUNCED)


def test_nonsense_instead_of_100_continue_means_not_processed() -> None:
    talk = Talk(EXPECT)
    talk.receive(b"SSH-2.0")
    assert talk.failure()[0] is REFUSED
    assert not talk.machine.body_held
    talk = Talk(EXPECT)
    talk.receive(CONTINUE + b"SSH-2.0")
    assert talk.failure()[0] is ALL


@pytest.mark.parametrize(
    "received",
    [CHUNKED + b"3\r\nabc\r\nzz\r\n", CHUNKED + b"3\r\nabcd", CHUNKED + b"3\r\nabc\r\n0\r\n:\r\n\r\n"],
)
@pytest.mark.parametrize("size", [0, 1, 2])
def test_an_answer_that_breaks_the_protocol_inside_its_body(received: bytes, size: int) -> None:
    talk = Talk(POST)
    talk.receive(received + b"\r\n\r\n", size)
    response = talk.response()
    assert (response.status, response.body, response.complete) == (200, b"abc", False)
    assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)


FRAGMENTS = [
    OK,
    CONTINUE,
    CHUNKED,
    UNTIL_CLOSE,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 204 No\r\n",
    b"HTTP/1.1 101 Any\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Connection: close\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\nA: b\r\n\r\n",
    b"abc",
    b"\x00",
]
fed = st.lists(st.sampled_from(FRAGMENTS) | st.binary(min_size=1, max_size=5), min_size=1, max_size=5)
steps = st.lists(
    st.sampled_from([POST, HEAD, EXPECT, CLOSE]) | fed.map(b"".join) | st.sampled_from(["take", "release"]),
    max_size=20,
)


@settings(deadline=None)
@given(steps, st.integers(0, 500), st.booleans())
@example([POST, OK, EXPECT, CONTINUE, "take", CHUNKED + b"3\r\nabc\r\n", CLOSE], 0, True)
def test_whatever_comes_in_whatever_order_each_request_ends_once(
    steps: list[RequestHead | bytes | str], written: int, orderly: bool
) -> None:
    machine = Http1Machine(max_response_bytes=5)
    sent: list[Exchange] = []
    ended: list[Exchange] = []
    closed = None
    for step in steps:
        if isinstance(step, RequestHead):
            if machine.room:
                sent.append(Exchange(step, b"body"))
                machine.send(sent[-1])
        elif isinstance(step, bytes):
            events = machine.receive(step)
            assert len(events) <= 1
            ended += [event.exchange for event in events]
        elif step == "take":
            machine.take_output()
        else:
            machine.release_body()
        assert machine.room in (0, 1)
        assert machine.open_exchanges == len(sent) - len(ended) <= 1
        assert machine.room + machine.open_exchanges <= 1
        assert not machine.body_held or machine.open_exchanges
        assert not head_received(machine) or machine.open_exchanges
        # Once closing, always closing, for the same reason; and if not, there is room or work.
        assert closed is None or machine.closing is closed
        closed = machine.closing
        assert machine.room + machine.open_exchanges == (closed is None)
    last = machine.end(written=written, reason="over", orderly=orderly)
    ended += [event.exchange for event in last]
    assert ended == sent
    assert (machine.room, machine.open_exchanges, machine.take_output()) == (0, 0, b"")
    assert machine.closing is not None


@settings(deadline=None)
@given(fed.map(b"".join), st.lists(st.integers(0, 60), max_size=6), st.sampled_from([POST, HEAD, CLOSE]))
def test_no_cut_changes_what_any_bytes_mean(data: bytes, cuts: list[int], head: RequestHead) -> None:
    """Neither for a valid answer nor for any other."""
    whole, cut = Talk(head, max_response_bytes=5), Talk(head, max_response_bytes=5)
    whole.receive(data)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        cut.receive(data[start:end])
    for talk in (whole, cut):
        talk.end(len(talk.output), orderly=True)
    assert [summary(talk) for talk in (whole, cut)] == [summary(whole)] * 2


def summary(talk: Talk) -> object:
    (event,) = talk.events
    if isinstance(event, Failed):
        return event.sent
    return event.response, talk.machine.closing
