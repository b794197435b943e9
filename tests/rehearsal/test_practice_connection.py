"""One connection as its client sees it, byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from practice_stats import stats
from raw_client import RawClient, get, post

from livepost.rehearsal import endpoint as endpoint_module
from livepost.rehearsal.api import Respond
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.reply import HANG_UP, RESET, SILENCE, After, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

Serve = Callable[[PracticeServer], RawClient]

pytestmark = pytest.mark.usefixtures("each_loop")


def first(reply: Reply) -> Respond:
    """Answer the first request on a connection like this, the others as usual."""
    return lambda request: reply if request.request_on_connection == 1 else None


def test_the_exact_bytes_of_an_answer(serve: Serve) -> None:
    client = serve(PracticeServer())
    client.send(post(b'{"name": "John"}', "Connection: close"))
    assert client.rest() == (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b'Content-Length: 54\r\n\r\n{"id": 1, "connection": 1, "request_on_connection": 1}'
    )


@pytest.mark.parametrize(
    ("request_bytes", "announced"),
    [
        (post(), None),
        (post(b"{}", "Connection: keep-alive"), None),
        (post(b"{}", "Connection: keep-alive", version="1.0"), "keep-alive"),
        (get("/nowhere"), None),
        (post(b"{"), None),
    ],
)
def test_the_connection_is_kept(serve: Serve, request_bytes: bytes, announced: str | None) -> None:
    client = serve(PracticeServer())
    assert client.ask(request_bytes).fields.get("connection") == announced
    assert client.ask(post()).json["request_on_connection"] == 2


@pytest.mark.parametrize(
    "request_bytes", [post(b"{}", "Connection: close"), post(version="1.0"), get("/x", "Connection: close")]
)
def test_the_connection_is_closed_if_the_client_wishes(serve: Serve, request_bytes: bytes) -> None:
    client = serve(PracticeServer())
    assert client.ask(request_bytes).fields["connection"] == "close"
    assert client.ending() == "closed"


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    client = serve(PracticeServer())
    client.send(b"".join(post(b"%d" % n) for n in range(1, 501)) + get("/stats"))
    assert [client.answer().json for _ in range(500)] == [
        {"id": n, "connection": 1, "request_on_connection": n} for n in range(1, 501)
    ]
    assert client.answer().json == stats(1, 500)


def test_one_byte_at_a_time(serve: Serve) -> None:
    seen: list[RequestSeen] = []
    client = serve(PracticeServer(on_request=seen.append))
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in post(b'{"a": 1}'):
        client.send(bytes((byte,)))
    assert client.answer().status == 201
    assert [request.body for request in seen] == [b'{"a": 1}']


def test_head_is_answered_without_a_body(serve: Serve) -> None:
    client = serve(PracticeServer())
    client.send(get("/api", method="HEAD"))
    assert client.answer(to_head=True).fields["content-length"] == "54"
    assert client.ask(post()).json["id"] == 2


def test_a_body_held_back_is_asked_for(serve: Serve) -> None:
    client = serve(PracticeServer())
    assert client.ask(post(b"{}", "Expect: 100-continue")[:-2]) == (100, {}, b"")
    assert client.ask(b"{}").status == 201
    assert client.ask(post(b"{}", "Expect: 100-continue")).status == 201


def test_a_chunked_body_and_a_request_behind_it(serve: Serve) -> None:
    client = serve(PracticeServer())
    head = get("/api", "Transfer-Encoding: chunked", method="POST")
    assert client.ask(head + b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n" + post(b"{")).json["id"] == 1
    assert client.answer().status == 400


def test_half_a_request_is_not_a_request(serve: Serve) -> None:
    seen: list[RequestSeen] = []
    server = PracticeServer(on_request=seen.append)
    client = serve(server)
    client.ask(post(b"1"))
    client.send(post(b"[2, 3]")[:-1])
    client.sock.shutdown(socket.SHUT_WR)
    assert client.ending() == "closed"
    assert [request.body for request in seen] == [b"1"]
    assert server.stats.requests == 1


def test_a_client_that_closes_its_side_first_still_gets_its_answer(serve: Serve) -> None:
    client = serve(PracticeServer())
    client.send(post())
    client.sock.shutdown(socket.SHUT_WR)
    assert client.answer().status == 201
    assert client.ending() == "closed"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (get("/api", "X: " + "y" * 70_000), 431),
        (post(b"1" * 1001), 413),
    ],
)
def test_what_is_refused_is_answered_and_ends_the_connection(serve: Serve, data: bytes, status: int) -> None:
    client = serve(PracticeServer(limits=ServerLimits(max_body_bytes=1000)))
    assert client.ask(post()).status == 201
    answer = client.ask(data + post())
    assert (answer.status, answer.fields["connection"]) == (status, "close")
    assert list(answer.json) == ["error"]
    assert client.ending() == "closed"


def test_a_client_in_the_middle_of_a_large_body_can_still_read_the_refusal(serve: Serve) -> None:
    client = serve(PracticeServer(limits=ServerLimits(max_body_bytes=1000)))
    client.send(post(b"1" * 16_000_000))
    assert client.answer().status == 413
    assert client.ending() == "closed"


def test_a_client_that_does_not_stop_is_closed_in_the_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "LINGER_SECONDS", 0.02)
    client = serve(PracticeServer())
    assert client.ask(b"nonsense\r\n\r\n").status == 400
    with pytest.raises(ConnectionError):
        client.send_for_ever(b"more nonsense")


def test_the_server_may_close_after_its_answer(serve: Serve) -> None:
    server = PracticeServer(respond=first(Reply(503, after=After.CLOSE)))
    client = serve(server)
    answer = client.ask(post() + post())
    assert (answer.status, answer.fields["connection"]) == (503, "close")
    assert client.ending() == "closed"
    assert server.stats.requests == 1


def test_an_announced_close_spares_the_answer_from_what_still_arrives(serve: Serve) -> None:
    client = serve(PracticeServer(respond=first(Reply(503, after=After.CLOSE))))
    client.send(post() + post(b"1" * 16_000_000))
    assert client.answer().status == 503
    assert client.ending() == "closed"


def test_the_server_may_close_without_a_word(serve: Serve) -> None:
    server = PracticeServer(respond=first(Reply(200, after=After.DROP)))
    client = serve(server)
    assert client.ask(post()) == (200, {"content-length": "0"}, b"")
    assert client.ending() == "closed"


def test_no_answer_but_a_close(serve: Serve) -> None:
    client = serve(PracticeServer(respond=first(HANG_UP)))
    client.send(post())
    assert client.ending() == "closed"


def test_no_answer_but_a_reset(serve: Serve) -> None:
    client = serve(PracticeServer(respond=first(RESET)))
    client.send(post())
    assert client.ending() == "reset"


def test_half_an_answer_then_a_close_or_a_reset(serve: Serve) -> None:
    half = b"HTTP/1.1 201 Created\r\nContent-Le"
    closed = serve(PracticeServer(respond=first(Reply(raw=half, after=After.DROP))))
    closed.send(post())
    assert closed.rest() == half
    broken = serve(PracticeServer(respond=first(Reply(raw=half, after=After.RESET))))
    broken.send(post())
    assert broken.sock.recv(100) == half
    with pytest.raises(ConnectionResetError):
        broken.sock.recv(100)


@pytest.mark.parametrize("fields", [(), ("Connection: close",)])
def test_silence_keeps_the_connection_open(serve: Serve, fields: tuple[str, ...]) -> None:
    server = PracticeServer(respond=lambda request: SILENCE if request.connection == 1 else None)
    client = serve(server)
    client.send(post(b"{}", *fields))
    with RawClient.dial(server.port) as other:
        while server.stats.requests == 0 or other.ask(post()).json["request_on_connection"] < 3:
            pass
        assert server.stats.open == 2


def test_raw_answers_leave_the_connection_usable(serve: Serve) -> None:
    client = serve(PracticeServer(respond=first(Reply(raw=b"HTTP/1.1 299 Odd\r\nContent-Length:0\r\n\r\n"))))
    assert client.ask(post()).status == 299
    assert client.ask(post()).json["request_on_connection"] == 2


def test_a_script_can_change_a_part_of_the_usual_answer(serve: Serve) -> None:
    def respond(request: RequestSeen) -> Reply:
        usual = server.api.usual_answer(request)
        return Reply(usual.status, (*usual.headers, (b"X-Id", b"1")), usual.body, After.CLOSE)

    server = PracticeServer(respond=respond)
    answer = serve(server).ask(post())
    assert (answer.fields["x-id"], answer.fields["connection"], answer.json["id"]) == ("1", "close", 1)


def test_an_idle_connection_is_closed_if_asked_for(serve: Serve) -> None:
    client = serve(PracticeServer(limits=ServerLimits(idle_timeout=0.05)))
    assert client.ask(post()).status == 201
    assert client.ending() == "closed"
