"""h11, an independent implementation, on the other side of the connection."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import h11
from hypothesis import event, given, settings
from hypothesis import strategies as st
from machine_talk import CLOSE, HEAD, IDLE, IN_BODY, OK, POST, WAITING, Talk, closing

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Fields, RequestHead, Response
from livepost.wire.request_head import ENGINE_FIELDS

token = st.text(st.sampled_from("!#$%&'*+-.^_`|~09azAZ"), min_size=1, max_size=6).map(str.encode)
visible = st.text(st.sampled_from("!%/?:@[]~09azAZ"), max_size=9).map(str.encode)
no_controls = bytes(range(33)) + b"\x7f"
word = st.binary(max_size=5).map(lambda raw: raw.translate(None, no_controls))
value = st.lists(word, max_size=3).map(lambda words: b" \t".join(filter(None, words)))
meaningful = ENGINE_FIELDS | {b"expect"}
field = st.tuples(token.filter(lambda name: name.lower() not in meaningful), value)
fields = st.lists(field, max_size=3).map(tuple)
body = st.binary(max_size=40) | st.integers(0, 300).map(lambda size: b"x" * size)
cuts = st.one_of(st.just(1), st.just(100_000), st.lists(st.integers(1, 60), min_size=1, max_size=5))


@dataclass(frozen=True)
class Plan:
    """One exchange: what is asked, what is answered, and where the bytes are cut both ways."""

    method: bytes
    target: bytes
    request_fields: Fields
    request_body: bytes
    expect_continue: bool
    interim: list[int]
    status: int
    answer_fields: Fields
    chunks: list[bytes]
    says_length: bool
    trailers: Fields
    up: int | list[int]
    down: int | list[int]


plan = st.builds(
    Plan,
    method=st.sampled_from([b"POST", b"POST", b"PUT", b"GET", b"HEAD", b"DELETE"]) | token,
    target=visible.map(lambda rest: b"/" + rest),
    request_fields=fields,
    request_body=body,
    expect_continue=st.booleans(),
    interim=st.lists(st.sampled_from([100, 102, 103]), max_size=3),
    status=st.sampled_from([200, 201, 204, 304, 404, 500]) | st.integers(200, 999),
    answer_fields=fields,
    chunks=st.lists(body, max_size=4),
    says_length=st.booleans(),
    trailers=fields,
    up=cuts,
    down=cuts,
)


def pieces(data: bytes, sizes: int | list[int]) -> list[bytes]:
    """The data, cut into these sizes in turn."""
    cut: list[bytes] = []
    for size in itertools.cycle([sizes] if isinstance(sizes, int) else sizes):
        if not data:
            return cut
        cut.append(data[:size])
        data = data[size:]
    return cut


def lower(some: Fields) -> Fields:
    return tuple((name.lower(), content) for name, content in some)


class Peer:
    """h11 as the server, and what it made of the requests."""

    def __init__(self) -> None:
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
        self.request: h11.Request | None = None
        self.body = b""
        self.is_whole = False

    def receive(self, data: bytes, sizes: int | list[int]) -> None:
        for piece in pieces(data, sizes):
            self.connection.receive_data(piece)
            while (said := self.connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(said, h11.Request):
                    assert self.request is None
                    self.request, self.body, self.is_whole = said, b"", False
                elif isinstance(said, h11.Data):
                    self.body += said.data
                else:
                    assert isinstance(said, h11.EndOfMessage)
                    assert list(said.headers) == []
                    self.is_whole = True

    def say(self, said: h11.Event) -> bytes:
        return self.connection.send(said) or b""

    def start(self, the: Plan, *more: tuple[bytes, bytes]) -> bytes:
        """The head of the answer."""
        given = list(the.answer_fields + more)
        if the.says_length:
            given.append((b"Content-Length", b"%d" % sum(map(len, the.chunks))))
        return self.say(h11.Response(status_code=the.status, headers=given, reason=b"Any"))

    def finish(self, the: Plan, *, has_body: bool) -> bytes:
        """The rest of the answer."""
        data = b"".join(self.say(h11.Data(data=chunk)) for chunk in the.chunks if has_body)
        trailers = the.trailers if has_body and not the.says_length else ()
        return data + self.say(h11.EndOfMessage(headers=list(trailers)))


def body_of(the: Plan, method: bytes) -> bytes | None:
    """The body an answer must have; None if it can have none."""
    return None if method == b"HEAD" or the.status in (204, 304) else b"".join(the.chunks)


@settings(deadline=None)
@given(st.lists(plan, min_size=1, max_size=3), st.sampled_from([None, "server", "client"]))
def test_every_exchange_is_what_both_sides_meant(plans: list[Plan], closes: str | None) -> None:
    talk, peer = Talk(), Peer()
    for number, the in enumerate(plans, start=1):
        closer = closes if number == len(plans) else None
        assert talk.state() == IDLE
        offer(talk, peer, make_head(the, close=closer == "client"), the)
        response = answer(talk, peer, the, closes=closer == "server")
        expected = body_of(the, the.method)
        assert (response.status, response.complete) == (the.status, True)
        assert response.body == (expected or b"")
        assert response.fields[: len(the.answer_fields)] == lower(the.answer_fields)
        assert response.trailers == (() if expected is None or the.says_length else lower(the.trailers))
        if closer is not None:
            # h11, too, will not read another request.
            assert peer.connection.our_state is h11.MUST_CLOSE
            reason = CloseReason.KEEPALIVE_OFF if closer == "client" else CloseReason.SERVER_ANNOUNCED
            assert talk.state() == closing(reason)
        elif the.status == 204 and the.says_length and any(the.chunks):
            # RFC 9110 section 8.6 forbids it; h11 says what it is told to.
            assert talk.state() == closing(CloseReason.SERVER_ANNOUNCED)
            break
        else:
            assert talk.state() == IDLE
            peer.connection.start_next_cycle()
            peer.request = None


def make_head(the: Plan, *, close: bool = False) -> RequestHead:
    return RequestHead(
        the.method,
        the.target,
        b"localhost:8080",
        b"http",
        the.request_fields,
        expect_continue=the.expect_continue,
        close=close,
    )


def offer(talk: Talk, peer: Peer, head: RequestHead, the: Plan) -> None:
    """Send the request, as far as the server must see it before it answers."""
    peer.receive(talk.send(head, the.request_body), the.up)
    assert talk.state() == WAITING
    request = peer.request
    assert request is not None
    assert (request.method, request.target, request.http_version) == (the.method, the.target, b"1.1")
    expected: list[tuple[bytes, bytes]] = [
        (b"host", b"localhost:8080"),
        (b"connection", b"close" if head.close else b"keep-alive"),
        *lower(the.request_fields),
    ]
    is_held = the.expect_continue and the.request_body != b""
    if is_held:
        expected.append((b"expect", b"100-continue"))
    if the.request_body or the.method in (b"POST", b"PUT", b"PATCH"):
        expected.append((b"content-length", b"%d" % len(the.request_body)))
    assert list(request.headers) == expected
    assert talk.machine.body_held is peer.connection.they_are_waiting_for_100_continue is is_held
    if is_held:
        event("held")
        assert (peer.body, peer.is_whole) == (b"", False)
        assert talk.receive(peer.say(h11.InformationalResponse(status_code=100, headers=[]))) == []
        peer.receive(talk.take(), the.up)
    assert (peer.body, peer.is_whole) == (the.request_body, True)
    assert talk.take() == b""


def answer(talk: Talk, peer: Peer, the: Plan, *, closes: bool) -> Response:
    """Let the server answer, byte by byte or in pieces, and look after each."""
    before = b"".join(
        peer.say(h11.InformationalResponse(status_code=status, headers=[(b"Link", b"a")]))
        for status in the.interim
    )
    before += peer.start(the, *([(b"Connection", b"Foo, CLOSE")] if closes else []))
    rest = peer.finish(the, has_body=body_of(the, the.method) is not None)
    event("chunked" if b"chunked" in before else "length")
    seen = 0
    events: list[Event] = []
    for piece in pieces(before + rest, the.down):
        assert events == []
        assert talk.state() == (WAITING if seen < len(before) else IN_BODY)
        events = talk.machine.receive(piece)
        seen += len(piece)
        assert len(events) == (seen == len(before + rest))
    (said,) = events
    assert isinstance(said, Answered)
    assert said.exchange is talk.exchange
    return said.response


@settings(deadline=None)
@given(plan, st.booleans())
def test_an_answer_that_runs_until_the_connection_ends(the: Plan, orderly: bool) -> None:
    talk, peer = Talk(), Peer()
    output = talk.send(POST)
    # Chunks are unknown to HTTP/1.0, so without a length h11 ends its answer with the connection.
    peer.receive(output.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"), the.up)
    assert peer.is_whole
    expected = body_of(the, b"POST")
    data = peer.start(the)
    if expected is not None and not the.says_length:
        event("until close")
        data += b"".join(peer.say(h11.Data(data=chunk)) for chunk in the.chunks)
        for piece in pieces(data, the.down):
            assert talk.receive(piece) == []
        assert talk.state() == IN_BODY
        talk.end(len(output), orderly=orderly)
        assert (talk.response().body, talk.response().complete) == (expected, orderly)
        assert peer.connection.our_state is h11.SEND_BODY
    else:
        data += peer.finish(the, has_body=expected is not None)
        for piece in pieces(data, the.down):
            talk.receive(piece)
        assert (talk.response().body, talk.response().complete) == (expected or b"", True)
        assert talk.state() == closing(CloseReason.SERVER_ANNOUNCED)
        assert peer.connection.our_state is h11.MUST_CLOSE


@settings(deadline=None)
@given(plan)
def test_a_body_that_the_server_does_not_want(the: Plan) -> None:
    the = replace(the, request_body=the.request_body or b"x", expect_continue=True)
    talk, peer = Talk(), Peer()
    peer.receive(talk.send(make_head(the), the.request_body), the.up)
    assert peer.connection.they_are_waiting_for_100_continue
    data = peer.start(the) + peer.finish(the, has_body=body_of(the, the.method) is not None)
    for piece in pieces(data, the.down):
        talk.receive(piece)
    assert (talk.response().status, talk.response().complete) == (the.status, True)
    assert (peer.body, talk.take()) == (b"", b"")
    announced = the.status == 204 and the.says_length and any(the.chunks)
    reason = CloseReason.SERVER_ANNOUNCED if announced else CloseReason.EARLY_ANSWER
    assert talk.state() == closing(reason)


@settings(deadline=None)
@given(plan.filter(lambda the: the.status not in (204, 304)), st.data())
def test_an_answer_cut_off_anywhere(the: Plan, data: st.DataObject) -> None:
    talk, peer = Talk(), Peer()
    output = talk.send(POST)
    peer.receive(output, the.up)
    head = peer.start(the)
    whole = head + peer.finish(the, has_body=True)
    kept = data.draw(st.integers(0, len(whole) - 1))
    for piece in pieces(whole[:kept], the.down):
        assert talk.receive(piece) == []
    talk.end(len(output), orderly=data.draw(st.booleans()))
    if kept < len(head):
        assert talk.failure() == (Sent.ALL, "the reason")
    else:
        assert (talk.response().status, talk.response().complete) == (the.status, False)
        assert b"".join(the.chunks).startswith(talk.response().body)
    assert talk.state() == closing(CloseReason.SERVER_CLOSED)


# Lines that two readers may understand differently: the stuff that response smuggling is made of.
FRAMING_LINES = [
    b"Content-Length: 3",
    b"Content-Length: 3, 3",
    b"Content-Length: 03",
    b"Content-Length: 30",
    b"Content-Length:\t3 ",
    b"Content-Length: +3",
    b"Content-Length : 3",
    b" Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: x, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"X: y\n",
    b"X: y\rContent-Length: 3",
    b"X\x00: y",
    b"X: y",
    b"\ty",
]
BODY_PARTS = [
    b"abc",
    b"3\r\nabc\r\n",
    b"3;x\r\nabc\r\n",
    b"03 \r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\nT: u\r\n\r\n",
    b"\r\n",
    OK,
]
STATUS_LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 100 Continue",
]


@settings(deadline=None)
@given(
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(FRAMING_LINES), max_size=3),
    st.lists(st.sampled_from(BODY_PARTS), max_size=4),
    st.sampled_from([POST, HEAD, CLOSE]),
)
def test_where_both_understand_an_answer_they_understand_the_same(
    status_line: bytes, lines: list[bytes], parts: list[bytes], head: RequestHead
) -> None:
    data = b"\r\n".join((status_line, *lines, b"", b"".join(parts)))
    talk = Talk(head)
    talk.receive(data)
    is_last = talk.state()[:2] != (1, 0)
    talk.end(len(talk.output), orderly=True)
    said = talk.events[0]
    theirs = h11_reads(head.method, data)
    if theirs is None or not isinstance(said, Answered) or not said.response.complete:
        event("not understood by both")
        return
    status, body_read, trailers, leaves = theirs
    event("understood by both")
    assert (said.response.status, said.response.body) == (status, body_read)
    assert said.response.trailers == trailers
    # What h11 leaves unread is nothing that we would take for the next answer.
    assert is_last or not leaves


def h11_reads(method: bytes, data: bytes) -> tuple[int, bytes, Fields, bool] | None:
    """Status, body, trailers, and whether anything is left; None where h11 sees no whole answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    status, body_read, fed_eof = 0, b"", False
    try:
        while True:
            said = client.next_event()
            if isinstance(said, h11.Response):
                status = said.status_code
            elif isinstance(said, h11.Data):
                body_read += said.data
            elif isinstance(said, h11.EndOfMessage):
                return status, body_read, tuple(said.headers), bool(client.trailing_data[0])
            elif said is h11.NEED_DATA:
                if fed_eof:
                    return None
                client.receive_data(b"")
                fed_eof = True
            elif not isinstance(said, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
