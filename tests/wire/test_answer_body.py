from __future__ import annotations

import pytest

from livepost.wire.answer_body import AnswerBody
from livepost.wire.response_head import Framing, ProtocolError


def taken(body: AnswerBody, data: bytes, at_a_time: int) -> bytes:
    """Feed the data in pieces until the body is whole; what is left of it."""
    buffer = bytearray()
    for start in range(0, len(data), at_a_time):
        buffer += data[start : start + at_a_time]
        if not body.is_complete:
            body.take(buffer)
    return bytes(buffer)


@pytest.mark.parametrize("at_a_time", [1, 3, 100])
@pytest.mark.parametrize(
    ("framing", "length", "data"),
    [
        (Framing.LENGTH, 5, b"hello"),
        (Framing.CHUNKED, 0, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
)
def test_what_belongs_to_it_is_taken_and_nothing_more(
    framing: Framing, length: int, data: bytes, at_a_time: int
) -> None:
    body = AnswerBody(framing, length, 100)
    assert taken(body, data + b"next", at_a_time) == b"next"
    assert (body.content, body.is_complete, body.is_until_close, body.trailers) == (b"hello", True, False, ())


def test_until_close_it_takes_all_and_is_never_whole() -> None:
    body = AnswerBody(Framing.UNTIL_CLOSE, 0, 100)
    assert taken(body, b"hello", 2) == b""
    assert (body.content, body.is_complete, body.is_until_close) == (b"hello", False, True)


def test_an_empty_body_is_whole_at_once() -> None:
    body = AnswerBody(Framing.LENGTH, 0, 100)
    assert (body.content, body.is_complete) == (b"", True)


def test_trailers_come_with_the_last_chunk() -> None:
    body = AnswerBody(Framing.CHUNKED, 0, 100)
    body.take(bytearray(b"1\r\nx\r\n0\r\nChecksum: 7\r\n\r\n"))
    assert body.trailers == ((b"checksum", b"7"),)


@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (Framing.LENGTH, b"hello"),
        (Framing.UNTIL_CLOSE, b"hello"),
        (Framing.CHUNKED, b"5\r\nhello\r\n"),
    ],
)
def test_what_came_within_the_limit_is_kept_when_there_is_too_much(framing: Framing, data: bytes) -> None:
    body = AnswerBody(framing, 5, 4)
    with pytest.raises(ProtocolError, match="longer than 4 bytes"):
        body.take(bytearray(data))
    assert body.content == b"hell"
