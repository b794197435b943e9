from __future__ import annotations

import pytest

from livepost.wire.message import Exchange, RequestHead, Response


def request_head() -> RequestHead:
    return RequestHead(b"POST", b"/api", b"localhost", b"http", ())


def test_the_first_field_of_a_name_counts() -> None:
    response = Response(200, ((b"a", b"1"), (b"b", b""), (b"a", b"2")), b"")
    assert response.field(b"a") == b"1"
    assert response.field(b"b") == b""
    assert response.field(b"c") is None
    assert response.field(b"A") is None


def test_a_response_is_whole_and_without_trailers_unless_said_otherwise() -> None:
    response = Response(204, (), b"")
    assert (response.complete, response.trailers) == (True, ())


def test_heads_and_exchanges_are_compared_by_identity() -> None:
    head = request_head()
    assert head != request_head()
    assert head == head
    assert Exchange(head, b"") != Exchange(head, b"")
    assert len({head, request_head()}) == 2


def test_what_was_received_cannot_be_changed() -> None:
    response = Response(200, (), b"")
    with pytest.raises(AttributeError):
        response.status = 500  # type: ignore[misc]
