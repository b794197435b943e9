from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
from typing import Any

import pytest
from certificates import Authority
from machine_talk import head_received
from net_fakes import ANSWER, BIG, EXPECTING, HEAD, ClosingWork, FakeWork, tcp_pair
from net_line import Line, MakeLine, MakeTlsPair, pair, plain_and_tls, see

from livepost.events import CloseReason, ConnectionClosed
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.wire.http1 import Http1Machine
from livepost.wire.message import Exchange, RequestHead, Response


def request_bytes(body: bytes, head: RequestHead = HEAD) -> bytes:
    """What the machine says the bytes of a request are."""
    machine = Http1Machine()
    machine.send(Exchange(head, body))
    head_bytes = machine.take_output()
    machine.release_body()
    return head_bytes + machine.take_output()


def exchange(line: Line, body: bytes = b"{}") -> None:
    """One request and its answer."""
    line.post(body)
    assert line.peer.read_request() == request_bytes(body)
    answers = len(line.work.answers)
    line.peer.send(ANSWER)
    line.until(lambda: len(line.work.answers) > answers)


@plain_and_tls
def test_one_exchange_byte_by_byte(make_line: MakeLine, tls_pair: MakeTlsPair, kind: str) -> None:
    line = make_line(pair(kind, tls_pair))
    states = [line.connection.state]
    line.post(b'{"name": "John"}')
    states.append(line.connection.state)
    request = line.peer.read_request()
    assert request == request_bytes(b'{"name": "John"}')
    line.peer.send(ANSWER)
    line.until(lambda: line.work.answers)
    assert line.work.answers == [(b'{"name": "John"}', Response(201, ((b"content-length", b"2"),), b"ok"))]
    assert [*states, line.connection.state] == [
        ConnectionState.IDLE,
        ConnectionState.BUSY,
        ConnectionState.IDLE,
    ]
    assert line.idled == 1
    line.connection.close(CloseReason.FINISHED)
    assert line.observer.closed == [ConnectionClosed(7, CloseReason.FINISHED, 1, len(request), len(ANSWER))]
    assert line.peer.read_rest() == b""


@plain_and_tls
@pytest.mark.parametrize("seen_by", ["loop", "offer"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CloseReason.UNSOLICITED),
        (b"x", CloseReason.UNSOLICITED),
        (b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", CloseReason.SERVER_IDLE),
    ],
)
def test_bytes_nobody_asked_for(
    make_line: MakeLine, tls_pair: MakeTlsPair, kind: str, seen_by: str, data: bytes, reason: CloseReason
) -> None:
    line = make_line(pair(kind, tls_pair))
    exchange(line)
    line.peer.send(data)
    see(line, seen_by)
    assert line.reason is reason
    assert len(line.work.pulled) == len(line.work.answers) == 1
    assert line.observer.closed[0].bytes_received == len(ANSWER) + len(data)


def test_bytes_before_the_first_request(line: Line) -> None:
    line.peer.send(b"220 mail.example ESMTP\r\n")
    line.arrives()
    line.post(b"1")
    assert line.reason is CloseReason.UNSOLICITED
    assert line.work.pulled == []


def test_bytes_after_an_answer(line: Line) -> None:
    line.post(b"1", b"2")
    line.peer.send(ANSWER + b"HTTP/1.1 200 OK\r\n")
    line.until_closed()
    assert line.reason is CloseReason.UNSOLICITED
    assert line.response.status == 201
    assert line.work.waiting == 1


@plain_and_tls
@pytest.mark.parametrize(
    ("fields", "reason"),
    [(b"", CloseReason.EARLY_ANSWER), (b"Connection: close\r\n", CloseReason.SERVER_ANNOUNCED)],
)
def test_an_answer_before_the_request_was_written(
    make_line: MakeLine, tls_pair: MakeTlsPair, kind: str, fields: bytes, reason: CloseReason
) -> None:
    line = make_line(pair(kind, tls_pair, 8192))
    line.post(BIG, b"next")
    line.turn()
    line.peer.send(b"HTTP/1.1 413 Too Large\r\n" + fields + b"Content-Length: 2\r\n\r\nno")
    line.until_closed()
    assert line.reason is reason
    assert (line.response.status, line.response.body) == (413, b"no")
    assert line.work.waiting == 1


def test_an_answer_followed_by_a_reset_while_writing(make_line: MakeLine) -> None:
    line = make_line(tcp_pair(8192))
    line.post(BIG)
    line.peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    line.peer.reset()
    line.until_closed()
    assert line.response.status == 413
    assert line.reason is CloseReason.EARLY_ANSWER


def test_an_answer_found_after_writing_has_failed(make_line: MakeLine) -> None:
    """The event loop has seen neither the answer nor the reset when the rest is to be written."""
    line = make_line(work=FakeWork(head=EXPECTING), expect_continue_timeout=1.0)
    line.post(b"body")
    line.peer.read_request_head()
    line.peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
    line.peer.reset()
    line.arrives()
    line.time.advance(1.0)
    assert (line.response.status, line.response.body) == (401, b"no")
    assert line.reason is CloseReason.RESET
    assert line.observer.closed[0].bytes_received == 50


def test_a_reset_while_writing_over_tls(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    """Whole TLS records went out of a write of which OpenSSL says that it did not happen."""
    line = make_line(tls_pair(65_536))
    line.post(BIG)
    line.arrives_at_the_server()
    assert len(line.peer.sock.recv(16_384)) > 1_000
    line.peer.reset()
    line.until_closed()
    body, sent, _ = line.failure
    assert (body, sent) == (BIG, Sent.SOME)


def test_a_reset_while_writing(make_line: MakeLine) -> None:
    line = make_line(tcp_pair(8192))
    line.post(BIG)
    line.peer.reset()
    line.until_closed()
    body, sent, why = line.failure
    assert (body, sent) == (BIG, Sent.SOME)
    assert why in ("connection reset by peer", "broken pipe")
    assert line.reason is CloseReason.RESET


def test_not_one_byte_could_be_written(make_line: MakeLine) -> None:
    ours, theirs = tcp_pair(8192)
    with contextlib.suppress(BlockingIOError):
        while ours.send(bytes(8192)):
            pass
    line = make_line((ours, theirs))
    line.post(b"1")
    line.peer.reset()
    line.until_closed()
    assert line.failure[:2] == (b"1", Sent.NOTHING)
    assert line.observer.closed[0].bytes_sent == 0


@plain_and_tls
def test_an_answer_and_an_unannounced_end(make_line: MakeLine, tls_pair: MakeTlsPair, kind: str) -> None:
    """Many servers close after an answer without saying so; the next exchange must not be lost to that."""
    line = make_line(pair(kind, tls_pair))
    line.post(b"1", b"2")
    line.peer.read_request()
    line.peer.send(ANSWER)
    if kind == "tls":
        line.peer.say_goodbye()
    line.finish_tcp()
    line.arrives()
    line.until_closed()
    assert line.response.status == 201
    assert line.work.waiting == 1
    assert line.reason is CloseReason.SERVER_IDLE


@pytest.mark.parametrize(
    "partial", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"]
)
def test_an_end_in_the_head_of_an_answer(line: Line, partial: bytes) -> None:
    line.post(b"1")
    line.peer.send(partial)
    line.peer.finish()
    line.until_closed()
    assert line.failure == (b"1", Sent.ALL, "the server closed the connection")
    assert line.reason is CloseReason.SERVER_CLOSED
    assert line.observer.closed[0].bytes_received == len(partial)


@pytest.mark.parametrize(
    ("kind", "goodbye", "complete", "reason"),
    [
        ("plain", False, True, CloseReason.SERVER_ANNOUNCED),
        ("tls", True, True, CloseReason.SERVER_ANNOUNCED),
        ("tls", False, False, CloseReason.SERVER_CLOSED),
    ],
)
def test_a_body_that_runs_until_the_end(
    make_line: MakeLine, tls_pair: MakeTlsPair, kind: str, goodbye: bool, complete: bool, reason: CloseReason
) -> None:
    """Over TLS, an end of TCP alone may be forged."""
    line = make_line(pair(kind, tls_pair))
    line.post(b"1")
    line.peer.read_request()
    line.peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it?")
    line.turn()
    if goodbye:
        line.peer.say_goodbye()
    else:
        line.finish_tcp()
    line.until_closed()
    assert (line.response.body, line.response.complete) == (b"all of it?", complete)
    assert line.reason is reason


def test_tls_ends_without_a_goodbye(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    line = make_line(tls_pair())
    line.post(b"1")
    line.peer.read_request()
    line.finish_tcp()
    line.until_closed()
    assert line.failure == (b"1", Sent.ALL, "the connection ended without a TLS close")
    assert line.reason is CloseReason.SERVER_CLOSED


@pytest.mark.parametrize("goodbye", [True, False])
def test_tls_ends_while_idle(make_line: MakeLine, tls_pair: MakeTlsPair, goodbye: bool) -> None:
    line = make_line(tls_pair())
    exchange(line)
    if goodbye:
        line.peer.say_goodbye()
    else:
        line.finish_tcp()
    line.until_closed()
    assert line.reason is CloseReason.SERVER_IDLE


def test_we_say_goodbye_over_tls(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    line = make_line(tls_pair())
    exchange(line)
    line.connection.close(CloseReason.FINISHED)
    # Without it, this would be an SSLEOFError.
    assert line.peer.read_rest() == b""


def test_garbage_under_tls(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    line = make_line(tls_pair())
    line.post(b"1")
    line.peer.read_request()
    socket.socket.send(line.peer.sock, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    line.until_closed()
    assert line.failure == (b"1", Sent.ALL, "TLS failed: wrong version number")
    assert line.reason is CloseReason.RESET


@pytest.mark.parametrize("seen_by", ["loop", "offer"])
def test_session_tickets_do_not_end_an_idle_connection(
    make_line: MakeLine, tls_pair: MakeTlsPair, seen_by: str
) -> None:
    ours, theirs = tls_pair(finish=False)
    line = make_line((ours, theirs))
    assert ours.version() == "TLSv1.3"
    assert ours.session is None or not ours.session.has_ticket
    theirs.do_handshake()
    line.arrives()
    if seen_by == "loop":
        line.until(lambda: ours.session is not None and ours.session.has_ticket)
        assert line.connection.state is ConnectionState.IDLE
    exchange(line)
    assert line.closed == []
    assert line.connection.bytes_received == len(ANSWER)
    assert ours.session is not None
    assert ours.session.has_ticket


@pytest.mark.parametrize("body", [b"1", BIG], ids=["small", "big"])
def test_a_server_that_wants_a_client_certificate(
    make_line: MakeLine, tls_pair: MakeTlsPair, authority: Authority, body: bytes
) -> None:
    """In TLS 1.3 the client has finished its handshake when the server refuses it, and reads nothing more."""
    ours, theirs = tls_pair(finish=False, server=authority.server_context(asks_client=True))
    line = make_line((ours, theirs))
    line.post(body)
    with pytest.raises(ssl.SSLError):
        theirs.do_handshake()
    theirs.close()
    line.until_closed()
    assert line.failure == (body, Sent.REFUSED, "TLS failed: tlsv13 alert certificate required")
    assert line.connection.refusal is not None
    assert line.reason is CloseReason.RESET


def test_long_times_are_readable(make_line: MakeLine) -> None:
    line = make_line(max_time=3600.0)
    line.post(b"1")
    line.time.advance(3600.0)
    assert line.failure == (b"1", Sent.ALL, "no answer within 3600 s")


@pytest.mark.parametrize("max_time", [60.0, None])
def test_a_head_comes_too_late_after_an_answer_in_pieces(make_line: MakeLine, max_time: float | None) -> None:
    line = make_line(max_time=max_time, response_header_timeout=5.0)
    line.post(b"1", b"2")
    line.peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nin")
    line.until(lambda: head_received(line.machine))
    line.time.advance(1.0)
    line.peer.send(b"2.")
    line.until(lambda: line.work.answers)
    line.work.forget()
    line.time.advance(5.0)
    assert line.failure == (b"2", Sent.ALL, "no answer within 5 s")


def expecting_line(make_line: MakeLine, **timeouts: float) -> Line:
    line = make_line(work=FakeWork(head=EXPECTING), **timeouts)
    line.post(b"body", b"next")
    assert line.peer.read_request_head() == request_bytes(b"body", EXPECTING)[:-4]
    assert line.peer.has_nothing()
    return line


def test_the_wait_for_continue_of_a_later_exchange(make_line: MakeLine) -> None:
    line = expecting_line(make_line, expect_continue_timeout=1.0, max_time=60.0)
    line.time.advance(1.0)
    line.peer.read(4)
    line.time.advance(30.0)
    line.peer.send(ANSWER)
    line.until(lambda: line.work.answers)
    line.peer.read_request_head()
    line.time.advance(0.9)
    assert line.peer.has_nothing()
    line.time.advance(0.1)
    assert line.peer.read(4) == b"next"


def test_the_server_refuses_before_the_body(make_line: MakeLine) -> None:
    line = expecting_line(make_line)
    line.peer.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    line.until_closed()
    assert line.response.status == 417
    assert line.reason is CloseReason.EARLY_ANSWER
    assert line.peer.read_rest() == b""


BIG_HEAD = dataclasses.replace(EXPECTING, fields=((b"X-Big", b"x" * 1_000_000),))


def test_a_body_never_overtakes_its_head(make_line: MakeLine) -> None:
    line = make_line(tcp_pair(8192), work=FakeWork(head=BIG_HEAD))
    line.post(b"body")
    line.turn()
    line.peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    line.until(lambda: not line.machine.body_held)
    assert line.peer.read_request() == request_bytes(b"body", BIG_HEAD)
    line.peer.send(ANSWER)
    line.until(lambda: line.work.answers)


def test_the_wait_for_continue_begins_when_the_head_is_written(make_line: MakeLine) -> None:
    line = make_line(tcp_pair(8192), work=FakeWork(head=BIG_HEAD), expect_continue_timeout=1.0, max_time=60.0)
    line.post(b"body")
    line.time.advance(30.0)
    assert line.machine.body_held
    line.peer.read_request_head()
    line.turn()
    line.time.advance(0.9)
    assert line.machine.body_held
    line.time.advance(0.1)
    assert line.peer.read(4) == b"body"


def test_an_answer_that_breaks_the_protocol(line: Line) -> None:
    line.post(b"1", b"2")
    line.peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    line.until_closed()
    assert line.failure == (
        b"1",
        Sent.ALL,
        "not an HTTP/1 answer: it begins b'SSH-2.0-OpenSSH_9.6\\r\\n\\r\\n'",
    )
    assert line.reason is CloseReason.PROTOCOL_ERROR
    assert line.work.waiting == 1


def test_a_server_that_wants_tls(line: Line, server_tls: ssl.SSLContext) -> None:
    line.post(b"1")
    line.arrives_at_the_server()
    with (
        server_tls.wrap_socket(line.peer.sock, server_side=True, do_handshake_on_connect=False) as secure,
        pytest.raises(ssl.SSLError),
    ):
        secure.do_handshake()
    line.until_closed()
    assert line.failure[:2] == (b"1", Sent.ALL)
    # Whether it says a word before it closes is up to its library.
    assert line.reason in (CloseReason.RESET, CloseReason.SERVER_CLOSED, CloseReason.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("announced", "reason"),
    [(b"", CloseReason.STOPPED), (b"Connection: close\r\n", CloseReason.SERVER_ANNOUNCED)],
)
def test_closed_while_an_answer_is_reported(
    make_line: MakeLine, announced: bytes, reason: CloseReason, crashes: list[dict[str, Any]]
) -> None:
    work = ClosingWork("answered")
    line = make_line(work=work)
    work.close = lambda: line.connection.close(CloseReason.STOPPED)
    line.post(b"1", b"2")
    line.peer.send(b"HTTP/1.1 200 OK\r\n" + announced + b"Content-Length: 0\r\n\r\n")
    line.until_closed()
    line.turn()
    seen = crashes.copy()
    crashes.clear()
    assert seen == []
    assert line.reason is reason
    assert line.response.status == 200
    assert line.work.waiting == 1


def test_closed_while_it_pulls(make_line: MakeLine) -> None:
    work = ClosingWork("pull of nothing")
    line = make_line(work=work)
    work.close = lambda: line.connection.close(CloseReason.STOPPED)
    line.post(b"1")
    assert line.reason is CloseReason.STOPPED
    assert line.idled == 0
    assert line.time.pending == []
