from __future__ import annotations

import pytest

from livepost.rehearsal.reply import HANG_UP, RESET, SILENCE, After, Reply, error_reply, json_reply, render


def test_status_line_fields_and_body() -> None:
    assert render(json_reply(201, b'{"id": 1}')) == (
        b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 1}'
    )


def test_own_fields_in_order_and_the_connection_field() -> None:
    reply = Reply(503, ((b"Retry-After", b"2"), (b"X-A", b""), (b"X-A", b"b")))
    assert render(reply, connection=b"close") == (
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nX-A: \r\nX-A: b\r\n"
        b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )


def test_the_date_is_added_unless_the_answer_has_its_own() -> None:
    assert render(Reply(body=b"x"), connection=b"close", date=b"now") == (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nDate: now\r\nContent-Length: 1\r\n\r\nx"
    )
    assert render(Reply(204), date=b"now") == b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n"
    own = Reply(204, ((b"dAtE", b"then"),))
    assert render(own, date=b"now") == b"HTTP/1.1 204 No Content\r\ndAtE: then\r\n\r\n"
    assert render(Reply(raw=b"HTTP/1.1 2"), date=b"now") == b"HTTP/1.1 2"


def test_the_answer_to_head_announces_a_body_without_one() -> None:
    assert render(Reply(body=b"four"), to_head=True) == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "line"), [(204, b"204 No Content"), (304, b"304 Not Modified"), (103, b"103 Early Hints")]
)
def test_no_body_where_none_is_allowed(status: int, line: bytes) -> None:
    assert render(Reply(status, body=b"dropped")) == b"HTTP/1.1 " + line + b"\r\n\r\n"


def test_a_status_without_a_name() -> None:
    assert render(Reply(599)) == b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"


def test_raw_is_sent_as_it_is() -> None:
    assert render(Reply(500, body=b"x", raw=b"HTTP/1.1 2"), connection=b"close") == b"HTTP/1.1 2"
    assert [(render(r), r.after) for r in (SILENCE, HANG_UP, RESET)] == [
        (b"", After.KEEP),
        (b"", After.DROP),
        (b"", After.RESET),
    ]


def test_errors_are_json_whatever_their_text() -> None:
    reply = error_reply(400, 'a "quoted"\nreason')
    assert (reply.status, reply.body, reply.after) == (
        400,
        b'{"error":"a \\"quoted\\"\\nreason"}',
        After.KEEP,
    )
