from __future__ import annotations

import pytest
from machine_talk import (
    BODY,
    CHUNKED,
    CLOSE,
    CONTINUE,
    EXPECT,
    HEAD,
    IDLE,
    IN_BODY,
    OK,
    OK_RESPONSE,
    POST,
    UNTIL_CLOSE,
    WAITING,
    Talk,
    answer,
    closing,
    request_head,
)

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.http1 import Http1Machine
from livepost.wire.machine import Answered, Machine
from livepost.wire.message import Exchange, Fields, RequestHead, Response


def test_it_is_a_machine() -> None:
    machine: Machine = Http1Machine()
    assert machine.room == 1


def test_one_exchange_after_the_other() -> None:
    talk = Talk()
    assert talk.state() == IDLE
    for status in (200, 201, 503):
        assert talk.send() == (
            b"POST /api HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\nAccept: */*\r\n"
            b'Content-Length: 8\r\n\r\n{"n": 1}'
        )
        assert talk.state() == WAITING
        assert talk.take() == b""
        assert talk.receive(answer(b"Content-Length: 1", body=b"", status=status)) == []
        assert talk.state() == IN_BODY
        assert talk.receive(b"x") == [
            Answered(talk.exchange, Response(status, ((b"content-length", b"1"),), b"x"))
        ]
        assert talk.state() == IDLE


def test_nothing_is_sent_without_room() -> None:
    talk = Talk(POST)
    with pytest.raises(RuntimeError, match="without room"):
        talk.send()
    talk.receive(OK)
    talk.end()
    with pytest.raises(RuntimeError, match="without room"):
        talk.send()


def test_what_only_many_at_a_time_need_is_not_there() -> None:
    talk = Talk(POST)
    machine = talk.machine
    assert (machine.ping_open, machine.unheard) == (False, 0)
    for call in (
        lambda: machine.cancel(talk.exchange, "no answer"),
        lambda: machine.leave(CloseReason.TIMEOUT),
        machine.ping,
    ):
        with pytest.raises(RuntimeError, match=r"HTTP/1\.1"):
            call()
    assert talk.state() == WAITING


@pytest.mark.parametrize(
    ("method", "body", "rest"),
    [
        (b"POST", b"", b"Content-Length: 0\r\n\r\n"),
        (b"PUT", b"", b"Content-Length: 0\r\n\r\n"),
        (b"PATCH", b"", b"Content-Length: 0\r\n\r\n"),
        (b"GET", b"", b"\r\n"),
        (b"HEAD", b"", b"\r\n"),
        (b"DELETE", b"", b"\r\n"),
        (b"OPTIONS", b"", b"\r\n"),
        (b"post", b"", b"\r\n"),
        (b"GET", b"ab", b"Content-Length: 2\r\n\r\nab"),
        (b"DELETE", b"\r\n\x00", b"Content-Length: 3\r\n\r\n\r\n\x00"),
        (b"POST", b"x" * 1_234, b"Content-Length: 1234\r\n\r\n" + b"x" * 1_234),
    ],
)
@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_the_length_of_a_request(method: bytes, body: bytes, rest: bytes, connection: bytes) -> None:
    output = Talk().send(request_head(method, close=connection == b"close"), body)
    head = b"%b /api HTTP/1.1\r\nHost: localhost:8080\r\nConnection: %b\r\nAccept: */*\r\n"
    assert output == head % (method, connection) + rest


def test_each_head_is_rendered_as_it_is() -> None:
    talk = Talk()
    for head in (POST, HEAD, POST, request_head(b"DELETE")):
        assert talk.send(head).startswith(head.method + b" /api HTTP/1.1\r\n")
        talk.receive(answer(b"Content-Length: 0"))
        talk.events.clear()
    assert talk.state() == IDLE


def test_a_head_that_cannot_be_sent_changes_nothing() -> None:
    talk = Talk()
    bad = RequestHead(b"POST", b"/", b"localhost", b"http", ((b"A", b"\r\nB: c"),))
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(ValueError, match="the value of A holds"):
                talk.send(bad, b"x")
            assert talk.state() == IDLE
            assert talk.take() == b""
        assert talk.send(POST, b"x").endswith(b"\r\n\r\nx")
        talk.receive(OK)
        assert talk.response() == OK_RESPONSE
        talk.events.clear()


def test_more_sizes_of_bodies_than_are_remembered() -> None:
    talk = Talk()
    for size in (*range(1_100), 3, 0, 1_050):
        output = talk.send(POST, b"x" * size)
        assert output.endswith(b"\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
        assert len(talk.machine._heads) <= 1_024
        talk.receive(OK)
    assert talk.state() == IDLE
    # Another connection remembers the same, not the same again.
    another = Talk(POST)
    assert another.machine._heads is talk.machine._heads


def test_what_is_remembered_belongs_to_one_head() -> None:
    talk = Talk()
    for _ in range(2):
        for method in (b"POST", b"PUT", b"GET"):
            assert talk.send(request_head(method)).startswith(method + b" ")
            talk.receive(OK)
        assert b"Expect" in talk.send(EXPECT)
        talk.machine.release_body()
        assert talk.take() == BODY
        talk.receive(OK)
    assert talk.state() == IDLE


TRAILERS = b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
TE: Fields = ((b"transfer-encoding", b"chunked"),)
WHOLE = [
    # method, the bytes of an answer that ends by itself, what they say
    (b"POST", OK, OK_RESPONSE),
    (b"POST", answer(b"Content-Length: 0"), Response(200, ((b"content-length", b"0"),), b"")),
    (
        b"POST",
        answer(b"Content-Length: 4, 4", body=b"\r\n\r\n"),
        Response(200, ((b"content-length", b"4, 4"),), b"\r\n\r\n"),
    ),
    (b"POST", CHUNKED + TRAILERS, Response(200, TE, b"hi", ((b"x-sum", b"1"),))),
    (b"POST", CHUNKED + b"0\r\n\r\n", Response(200, TE, b"")),
    (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n", Response(204, (), b"")),
    (
        b"POST",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        Response(304, ((b"content-length", b"9"),), b""),
    ),
    (b"POST", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + CONTINUE + OK, OK_RESPONSE),
    (b"POST", CONTINUE * 50 + OK, OK_RESPONSE),
    (b"POST", b"HTTP/1.1 102 Processing\r\nContent-Length: 9\r\n\r\n" + OK, OK_RESPONSE),
    (b"POST", b"HTTP/1.1 199 Any\r\nConnection: close\r\n\r\n" + OK, OK_RESPONSE),
    (b"HEAD", answer(b"Content-Length: 9"), Response(200, ((b"content-length", b"9"),), b"")),
    (b"HEAD", answer(b"Content-Length: 99999999"), Response(200, ((b"content-length", b"99999999"),), b"")),
    (b"HEAD", CHUNKED, Response(200, TE, b"")),
    (b"HEAD", UNTIL_CLOSE, Response(200, (), b"")),
    (b"HEAD", CONTINUE + b"HTTP/1.1 404 None\r\n\r\n", Response(404, (), b"")),
]


@pytest.mark.parametrize(("method", "data", "response"), WHOLE)
def test_a_whole_answer_in_any_pieces(method: bytes, data: bytes, response: Response) -> None:
    for cut in range(1, len(data) + 1):
        talk = Talk(request_head(method), max_response_bytes=4)
        assert talk.receive(data[:cut]) == [] or cut == len(data)
        assert talk.machine.open_exchanges == (cut < len(data))
        talk.receive(data[cut:])
        assert talk.response() == response
        assert talk.state() == IDLE
    for size in (1, 2, 3, 5, 7, 11):
        talk = Talk(request_head(method), max_response_bytes=4)
        talk.receive(data, size)
        assert talk.response() == response
        assert talk.state() == IDLE


NEXT_AFTER_OK = [
    # request, an answer with the head of the one before, its body, why the connection closes
    (POST, OK, b"hi", None),
    (POST, OK[:-2] + b"HT", b"HT", None),
    (POST, CONTINUE + OK, b"hi", None),
    (POST, OK + b"!", b"hi", CloseReason.UNSOLICITED),
    (POST, OK + OK, b"hi", CloseReason.UNSOLICITED),
    (HEAD, OK[:-2], b"", None),
    (HEAD, OK, b"", CloseReason.UNSOLICITED),
    (CLOSE, OK, b"hi", CloseReason.KEEPALIVE_OFF),
    (EXPECT, OK, b"hi", CloseReason.EARLY_ANSWER),
    (POST, OK.replace(b": 2", b": 3") + b"!", b"hi!", None),
]


@pytest.mark.parametrize(("head", "data", "body", "reason"), NEXT_AFTER_OK)
def test_an_answer_that_begins_like_the_one_before(
    head: RequestHead, data: bytes, body: bytes, reason: CloseReason | None
) -> None:
    for cut in range(1, len(data) + 1):
        talk = Talk(POST)
        talk.receive(OK)
        talk.events.clear()
        talk.send(head)
        talk.receive(data[:cut])
        talk.receive(data[cut:])
        assert (talk.response().body, talk.response().complete) == (body, True)
        assert talk.state() == (IDLE if reason is None else closing(reason))


def test_when_the_final_head_has_come() -> None:
    data = CONTINUE + b"HTTP/1.1 103 Hints\r\n\r\n" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"
    head_end = data.index(CHUNKED) + len(CHUNKED)
    talk = Talk(POST)
    for count in range(1, len(data)):
        talk.receive(data[count - 1 : count])
        assert talk.state() == (IN_BODY if count >= head_end else WAITING)
    talk.receive(data[-1:])
    assert talk.state() == IDLE


@pytest.mark.parametrize(
    ("head", "data", "reason"),
    [
        (POST, answer(b"Content-Length: 0", b"Connection: close"), CloseReason.SERVER_ANNOUNCED),
        (POST, answer(b"Content-Length: 0", version=b"1.0"), CloseReason.SERVER_ANNOUNCED),
        (POST, answer(b"Connection: keep-alive", b"Content-Length: 0", version=b"1.0"), None),
        (POST, answer(b"Connection: foo, CLOSE", status=204), CloseReason.SERVER_ANNOUNCED),
        (POST, answer(b"Content-Length: 3", status=204), CloseReason.SERVER_ANNOUNCED),
        (
            POST,
            answer(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=TRAILERS),
            CloseReason.SERVER_ANNOUNCED,
        ),
        (
            POST,
            answer(b"Transfer-Encoding: chunked", b"Connection: keep-alive", body=TRAILERS, version=b"1.0"),
            CloseReason.SERVER_ANNOUNCED,
        ),
        (HEAD, answer(b"Content-Length: 3", b"Transfer-Encoding: chunked"), CloseReason.SERVER_ANNOUNCED),
        (HEAD, answer(b"Connection: close"), CloseReason.SERVER_ANNOUNCED),
        (HEAD, answer(version=b"1.0"), CloseReason.SERVER_ANNOUNCED),
        (CLOSE, OK, CloseReason.KEEPALIVE_OFF),
        (CLOSE, answer(b"Content-Length: 0", b"Connection: close"), CloseReason.KEEPALIVE_OFF),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_whether_the_connection_may_be_used_again(
    head: RequestHead, data: bytes, reason: CloseReason | None, size: int
) -> None:
    talk = Talk(head)
    talk.receive(data, size)
    assert talk.response().complete
    assert talk.state() == (IDLE if reason is None else closing(reason))


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("data", [b"H", b"\r\n", OK, b"\x00" * 9])
def test_bytes_while_nothing_is_open(data: bytes, size: int) -> None:
    for talk in (Talk(), Talk(POST)):
        if talk.machine.open_exchanges:
            talk.receive(OK)
        assert talk.state() == IDLE
        assert talk.receive(data, size) == []
        assert talk.state() == closing(CloseReason.UNSOLICITED)
        assert talk.end() == []
        assert talk.state() == closing(CloseReason.UNSOLICITED)


def test_a_408_while_nothing_is_open_is_how_some_servers_say_goodbye() -> None:
    talk = Talk()
    assert talk.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n", 0) == []
    assert talk.state() == closing(CloseReason.SERVER_IDLE)


@pytest.mark.parametrize(
    ("head", "data"),
    [
        (POST, OK),
        (POST, answer(b"Content-Length: 0")),
        (POST, answer(b"Content-Length: 0", b"Connection: close")),
        (POST, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (POST, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (POST, CHUNKED + TRAILERS),
        (POST, CHUNKED + b"0\r\n\r\n"),
        (HEAD, answer(b"Content-Length: 1")),
        (CLOSE, OK),
    ],
)
@pytest.mark.parametrize("junk", [b"\n", b"\r\n", OK, b"x" * 70_000])
def test_an_answer_with_something_behind_it_is_the_last(head: RequestHead, data: bytes, junk: bytes) -> None:
    expected = Talk(head)
    expected.receive(data)
    for cut in (*range(len(data)), len(data) + 1):
        talk = Talk(head)
        talk.receive((data + junk)[:cut])
        talk.receive((data + junk)[cut:])
        assert talk.response() == expected.response()
        assert talk.state() == closing(expected.machine.closing or CloseReason.UNSOLICITED)
        assert len(talk.machine._buffer) <= len(junk)


NOT_HTTP = "not an HTTP/1 answer: it begins "
BARE_LF = "an answer's head has line ends without CR"
BROKEN = [
    # what could still become an answer, what cannot any more, what is said
    (b"", b"SSH-2.0-OpenSSH_9.2p1\r\n", NOT_HTTP),
    (b"", b"\x00\x00\x12\x04\x00 frames of HTTP/2", NOT_HTTP),
    (b"", b"\x15\x03\x03\x00\x02\x02\x16", NOT_HTTP),
    (b"", b"\r\n" + OK, NOT_HTTP),
    (b"", b"\n", NOT_HTTP),
    (b"", b"http/1.1 200 OK\r\n\r\n", NOT_HTTP),
    (b"HTTP", b"S", NOT_HTTP),
    (b"HTTP/", b"2 200\r\n\r\n", NOT_HTTP),
    (b"HTTP/1", b" 200\r\n\r\n", NOT_HTTP),
    (b"HTTP/1.1 OK\r\n\r", b"\n", NOT_HTTP),
    (b"HTTP/1.1 200 OK\nA: b\r\n\r", b"\n", NOT_HTTP),
    (b"HTTP/1.1 200 OK\nA: b\n", b"\n", BARE_LF),
    (b"HTTP/1.1 200 OK\nA: b\n\r", b"\nbody", BARE_LF),
    (b"HTTP/1.1 200 OK\r\nA: b\n\r", b"\n", BARE_LF),
    (b"HTTP/1.1 200 OK\r\nA: b\r\n", b"\n", BARE_LF),
    (b"HTTP/1.1 200 OK\r\nA b\r\n\r", b"\n", "malformed header line b'A b'"),
    (b"HTTP/1.1 200 OK\r\nA : b\r\n\r", b"\nbody", "malformed header line b'A : b'"),
    (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r", b"\n", r"malformed header line b'A: b\nC: d'"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r",
        b"\nbody",
        "contradictory or malformed Content-Length",
    ),
    (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r",
        b"\n\x00\x00",
        "the server switched protocols, which nobody asked for",
    ),
]


@pytest.mark.parametrize(("harmless", "broken", "said"), BROKEN)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Hints\r\n\r\n"])
def test_what_is_no_answer_is_recognised_at_once(
    before: bytes, harmless: bytes, broken: bytes, said: str
) -> None:
    talk = Talk(POST)
    assert talk.receive(before + harmless, 1) == []
    assert talk.state() == WAITING
    talk.receive(broken, 1)
    shown = repr((harmless + broken[:1])[:24]) if said is NOT_HTTP else ""
    assert talk.failure() == (Sent.ALL, said + shown)
    assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)
    # Nothing more is believed.
    assert talk.receive(OK) == []
    assert talk.end() == []
    assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)
    with pytest.raises(RuntimeError):
        talk.send()


@pytest.mark.parametrize(("harmless", "broken", "said"), BROKEN)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Hints\r\n\r\n"])
def test_what_is_no_answer_is_none_in_one_piece(
    before: bytes, harmless: bytes, broken: bytes, said: str
) -> None:
    talk = Talk(POST)
    talk.receive(before + harmless + broken)
    sent, reason = talk.failure()
    assert sent is Sent.ALL
    # Up to where a head seems to end, if it does.
    assert reason.startswith(said)
    assert reason.partition("begins ")[2][:5] in repr(harmless + broken)
    assert talk.state() == closing(CloseReason.PROTOCOL_ERROR)


def test_a_body_is_held_until_the_server_wants_it() -> None:
    talk = Talk()
    head = (
        b"POST /api HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\nAccept: */*\r\n"
        b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\n"
    )
    for _ in range(2):
        assert talk.send(EXPECT) == head
        assert talk.machine.body_held
        assert talk.receive(b"HTTP/1.1 103 Hints\r\n\r\n" + CONTINUE[:-1]) == []
        assert talk.machine.body_held
        assert talk.take() == b""
        assert talk.receive(CONTINUE[-1:]) == []
        assert not talk.machine.body_held
        assert talk.take() == BODY
        assert talk.receive(CONTINUE) == []
        talk.machine.release_body()
        assert talk.take() == b""
        talk.receive(OK)
        assert talk.response() == OK_RESPONSE
        assert talk.state() == IDLE
        talk.events.clear()


def test_a_body_that_was_waited_for_long_enough_is_released_once() -> None:
    talk = Talk(EXPECT)
    talk.machine.release_body()
    talk.machine.release_body()
    assert not talk.machine.body_held
    assert talk.take() == BODY
    assert talk.receive(CONTINUE + OK) == [Answered(talk.exchange, OK_RESPONSE)]
    assert talk.take() == b""
    assert talk.state() == IDLE


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_nothing_is_expected_for_an_empty_body(method: bytes) -> None:
    talk = Talk()
    assert b"Expect" not in talk.send(request_head(method, expect_continue=True), b"")
    assert not talk.machine.body_held
    talk.receive(OK)
    assert talk.state() == IDLE


def test_nothing_is_released_that_was_not_held() -> None:
    talk = Talk()
    talk.machine.release_body()
    talk.send()
    talk.machine.release_body()
    assert talk.receive(CONTINUE) == []
    assert talk.take() == b""


EARLY = answer(b"Content-Length: 2", status=413, body=b"no")
EARLY_CLOSE = answer(b"Connection: close", b"Content-Length: 2", status=413, body=b"no")


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (EARLY, CloseReason.EARLY_ANSWER),
        (EARLY_CLOSE, CloseReason.SERVER_ANNOUNCED),
        (answer(status=204), CloseReason.EARLY_ANSWER),
        (answer(b"Transfer-Encoding: chunked", status=200, body=b"0\r\n\r\n"), CloseReason.EARLY_ANSWER),
    ],
)
def test_an_answer_without_the_body_ends_the_connection(data: bytes, reason: CloseReason, size: int) -> None:
    talk = Talk(EXPECT)
    talk.receive(data, size)
    assert talk.response().complete
    assert talk.state() == closing(reason)
    # The server may close, and nobody waits for the body any more.
    assert not talk.machine.body_held
    talk.machine.release_body()
    assert talk.take() == b""


@pytest.mark.parametrize("size", [0, 1])
def test_an_answer_before_the_released_body_was_taken_ends_the_connection(size: int) -> None:
    talk = Talk(EXPECT)
    talk.receive(CONTINUE + EARLY, size)
    assert talk.response().status == 413
    assert talk.state() == closing(CloseReason.EARLY_ANSWER)
    assert talk.take() == b""


def test_an_answer_before_the_request_was_taken_ends_the_connection() -> None:
    talk = Talk()
    talk.exchange.head = POST
    talk.machine.send(talk.exchange)
    talk.receive(EARLY)
    assert talk.response().status == 413
    assert talk.state() == closing(CloseReason.EARLY_ANSWER)
    assert talk.take() == b""


def test_fields_of_one_exchange_are_sent_with_it_alone() -> None:
    talk = Talk()
    for fields in ((), ((b"Idempotency-Key", b'"k"'),), ()):
        talk.machine.send(Exchange(POST, BODY, fields=fields))
        written = talk.machine.take_output()
        assert (b'Idempotency-Key: "k"\r\n' in written) == bool(fields)
        assert written.endswith(b"\r\n\r\n" + BODY)
        assert talk.machine.receive(OK)
