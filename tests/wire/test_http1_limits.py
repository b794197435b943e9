"""Answers that are too large, and servers that mean harm."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from machine_talk import (
    CHUNKED,
    CONTINUE,
    IDLE,
    IN_BODY,
    OK,
    OK_RESPONSE,
    POST,
    UNTIL_CLOSE,
    Talk,
    answer,
    closing,
)

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.http1 import Http1Machine
from livepost.wire.response_head import HEAD_BYTES_LIMIT

LIMIT = 10
BODIES: list[Callable[[bytes], bytes]] = [
    lambda body: answer(b"Content-Length: %d" % len(body), body=body),
    lambda body: CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    lambda body: CHUNKED + b"".join(b"1\r\n%c\r\n" % code for code in body) + b"0\r\n\r\n",
    lambda body: UNTIL_CLOSE + body,
]


@pytest.mark.parametrize("frame", BODIES)
@pytest.mark.parametrize(
    ("excess", "size"), [*itertools.product([0, 1, 2, 500], [0, 1, 3]), (20_000, 0), (20_000, 47)]
)
def test_a_body_at_the_limit_and_above(frame: Callable[[bytes], bytes], excess: int, size: int) -> None:
    talk = Talk(POST, max_response_bytes=LIMIT)
    talk.receive(frame(b"0123456789" + b"x" * excess), size)
    if excess == 0:
        talk.end(orderly=True)
        assert talk.response().body == b"0123456789"
        assert talk.response().complete
        return
    response = talk.response()
    assert (response.status, response.body, response.complete) == (200, b"0123456789", False)
    # The rest of it is not mistaken for anything.
    assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)
    assert buffered(talk.machine) == 0


def test_a_limit_of_nothing() -> None:
    for data, complete in ((answer(b"Content-Length: 0"), True), (OK, False)):
        talk = Talk(POST, max_response_bytes=0)
        talk.receive(data)
        assert (talk.response().body, talk.response().complete) == (b"", complete)


def padded(size: int, *fields: bytes) -> bytes:
    """A head of this many bytes."""
    return answer(*fields, b"X: " + b"x" * (size - len(answer(*fields, b"X: "))))


@pytest.mark.parametrize("excess", [0, 1, 3, 4, 1_000])
@pytest.mark.parametrize("size", [0, 1_000, 65_535, 65_536])
def test_a_head_at_the_limit_and_above(size: int, excess: int) -> None:
    for before, body in itertools.product([b"", CONTINUE], [b"", b"hi"]):
        data = padded(HEAD_BYTES_LIMIT + excess, b"Content-Length: %d" % len(body)) + body
        assert len(data) == 65_536 + excess + len(body)
        talk = Talk(POST)
        talk.receive(before + data, size)
        if excess == 0:
            assert talk.response().body == body
            assert talk.state() == IDLE
        else:
            assert talk.failure() == (Sent.ALL, "an answer's head is longer than 65536 bytes")
            assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)
        assert len(talk.machine._buffer) == 0


def test_a_head_without_end_is_given_up_at_the_limit() -> None:
    talk = Talk(POST)
    assert talk.receive(padded(HEAD_BYTES_LIMIT)[:-1]) == []
    talk.receive(b"x")
    assert talk.failure()[0] is Sent.ALL


def test_each_of_many_interim_answers_may_be_long() -> None:
    talk = Talk(POST)
    hints = padded(60_000).replace(b" 200 ", b" 103 ")
    assert talk.receive(hints * 20, 65_536) == []
    assert len(talk.machine._buffer) == 0
    talk.receive(OK)
    assert talk.response() == OK_RESPONSE


class CountingBuffer(bytearray):
    """Counts the bytes that searches go through."""

    searched = 0

    def find(self, what: object, start: object = 0, end: object = None) -> int:
        assert isinstance(start, int)
        assert isinstance(what, bytes)
        self.searched += len(self) - start
        return super().find(what, start)

    def __contains__(self, what: object) -> bool:
        self.searched += len(self)
        return super().__contains__(what)  # type: ignore[operator]


def test_a_head_byte_by_byte_is_searched_once() -> None:
    talk = Talk(POST)
    talk.machine._buffer = buffer = CountingBuffer()
    data = CONTINUE + padded(5_000) + b"hi"
    talk.receive(data, 1)
    assert talk.state() == IN_BODY
    # Three things are looked for, each time in the new byte and three before it.
    assert len(data) < buffer.searched <= 3 * 4 * len(data)


def buffered(machine: Http1Machine) -> int:
    """All bytes of answers that a machine holds."""
    body = machine._body
    if body is None:
        return len(machine._buffer)
    chunked = body._chunked
    within = len(chunked._buffer) + len(chunked.body) if chunked else 0
    return len(machine._buffer) + len(body._content) + within


@pytest.mark.parametrize(
    ("start", "more", "most"),
    [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n", 65_536),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 65_536),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x", 65_536),
        (answer(b"Content-Length: 99999999999"), b"x", 165_536),
        (UNTIL_CLOSE, b"x", 165_536),
        (CHUNKED + b"fffffff\r\n", b"x", 165_536),
        (CHUNKED, b"1;x\r\nx\r\n", 165_536),
        (CHUNKED, b"1" + b";" * 1_000 + b"\r\nx\r\n", 165_536),
        (CHUNKED + b"1;", b";", 65_536),
        (CHUNKED + b"0\r\n", b"A: b\r\n", 65_536),
        (b"", OK, 65_536),
        (b"", b"garbage", 65_536),
    ],
)
def test_a_hostile_server_cannot_claim_more_memory_than_the_limits(
    start: bytes, more: bytes, most: int
) -> None:
    talk = Talk(POST, max_response_bytes=100_000)
    talk.receive(start)
    flood = (more * (65_536 // len(more) + 2))[:65_536]
    seen = 0
    for _ in range(10):
        talk.receive(flood)
        seen = max(seen, buffered(talk.machine))
    assert seen <= most
    talk.end()
    assert len(talk.events) == 1
