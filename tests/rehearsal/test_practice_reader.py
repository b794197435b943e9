from __future__ import annotations

import json

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_client import get, post

from livepost.rehearsal.reader import HeadReader, RequestReader
from livepost.rehearsal.reply import After
from livepost.rehearsal.request import RequestSeen

CHUNKED = (
    b"PUT /api?a=b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nX-Empty:\r\n\r\n"
    b'3;note=1\r\n{"a\r\n4\r\n":1}\r\n0\r\nX-Trailer: gone\r\n\r\n'
)
STREAM = (
    post(b'{"name": "John"}', "Content-Type: application/json")
    + CHUNKED
    + b"\r\n"
    + get("http://localhost:8080/stats?now", method="HEAD")
    + get("*", "Expect: 100-continue", method="OPTIONS")
    + post(b"[1,2]", "Connection: keep-alive", version="1.0")
    + post(b"null", "Connection: close")
)
HEAD_LIMIT = 200


def read(*feeds: bytes) -> tuple[list[RequestSeen], RequestReader]:
    reader = RequestReader(7, max_head_bytes=HEAD_LIMIT, max_body_bytes=1000)
    return [request for data in feeds for request in reader.receive(data)], reader


def refused(*feeds: bytes) -> tuple[int, str]:
    requests, reader = read(*feeds)
    assert requests == []
    assert reader.refusal is not None
    assert reader.refusal.after is After.CLOSE
    return reader.refusal.status, json.loads(reader.refusal.body)["error"]


def head_of(size: int) -> bytes:
    shortest = get("/", "X-Long: ")
    return get("/", "X-Long: " + "y" * (size - len(shortest)))


def test_a_request_with_all_that_is_known_of_it() -> None:
    (request,), reader = read(post(b'{"a": 1}', "X-Two:  words here ", target="/api?x=/?y"))
    assert request == RequestSeen(
        connection=7,
        request_on_connection=1,
        method=b"POST",
        target=b"/api?x=/?y",
        path=b"/api",
        headers=((b"Host", b"localhost"), (b"Content-Length", b"8"), (b"X-Two", b"words here ")),
        body=b'{"a": 1}',
        version="1.1",
        keep_alive=True,
    )
    assert reader.refusal is None


def test_many_requests_in_one_feed() -> None:
    requests, reader = read(STREAM)
    assert [(r.request_on_connection, r.method, r.path, r.body) for r in requests] == [
        (1, b"POST", b"/api", b'{"name": "John"}'),
        (2, b"PUT", b"/api", b'{"a":1}'),
        (3, b"HEAD", b"/stats", b""),
        (4, b"OPTIONS", b"*", b""),
        (5, b"POST", b"/api", b"[1,2]"),
        (6, b"POST", b"/api", b"null"),
    ]
    assert [(r.version, r.keep_alive) for r in requests] == [
        *[("1.1", True)] * 4,
        ("1.0", True),
        ("1.1", False),
    ]
    assert reader.refusal is None


def test_trailers_stay_out_of_this_request_and_the_next() -> None:
    requests, _ = read(CHUNKED + get("/api"))
    assert requests[0].headers == (
        (b"Host", b"localhost"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Empty", b""),
    )
    assert requests[1].headers == ((b"Host", b"localhost"),)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_requests(cuts: list[int]) -> None:
    ends = [*sorted(cuts), len(STREAM)]
    feeds = [STREAM[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]
    whole, _ = read(STREAM)
    split, reader = read(*feeds)
    assert reader.refusal is None
    assert split == whole


@given(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET", "PURGE"]),
    st.lists(st.binary(max_size=80), max_size=4),
    st.booleans(),
)
def test_what_h11_writes_is_read_as_it_was_meant(method: str, parts: list[bytes], chunked: bool) -> None:
    body = b"".join(parts)
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    client = h11.Connection(h11.CLIENT)
    data = client.send(h11.Request(method=method, target="/api", headers=[("Host", "localhost"), framing]))
    assert data is not None
    for part in parts:
        data += client.send(h11.Data(data=part)) or b""
    data += client.send(h11.EndOfMessage()) or b""
    (request,), _ = read(data)
    assert (request.method, request.body) == (method.encode(), body)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "Invalid method encountered"),
        (b"FOO /api HTTP/1.1\r\n\r\n", "Invalid method encountered"),
        (b"GET /api HTTP/1.1\nHost: a\n\n", "Expected CRLF after version"),
        (b"GET /a\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "Invalid char in url path"),
        (get("/api", "Host : b"), "Invalid header token"),
        (get("/api", "X: a", " folded"), "Unexpected whitespace after header value"),
        (get("/api", "X: a\x00b"), "Invalid header value char"),
        (get("/api", "Content-Length: 3", "Content-Length: 3"), "Duplicate Content-Length"),
        (get("/api", "Content-Length: -1"), "Invalid character in Content-Length"),
        (get("/api", "Content-Length: 99999999999999999999"), "Content-Length overflow"),
        (get("/api", "Content-Length:"), "Empty Content-Length"),
        (
            get("/api", "Transfer-Encoding: chunked", "Content-Length: 3"),
            "Content-Length can't be present with Transfer-Encoding",
        ),
        (get("/api", "Transfer-Encoding: gzip"), "Request has invalid `Transfer-Encoding`"),
        (get("/api", "Transfer-Encoding: chunked") + b"zz\r\n", "Invalid character in chunk size"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Pause on PRI/Upgrade"),
    ],
)
def test_malformed_is_400(data: bytes, reason: str) -> None:
    assert refused(data) == (400, f"malformed request: {reason}")


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"GET /api HTTP/1.1\r\nX: y\r\n\r\n", 400, "there are 0 Host fields"),
        (get("/api", "host: b"), 400, "there are 2 Host fields"),
        (get("/api", "host: b", version="1.0"), 400, "there are 2 Host fields"),
        (get("http://[/api"), 400, "the request target is malformed"),
        (get("/api", "Expect: 200-ok"), 417, "the only expectation met here is 100-continue"),
        (
            get("/api", "Connection: Upgrade", "Upgrade: h2c"),
            501,
            "this server neither upgrades nor tunnels",
        ),
        (get("localhost:443", method="CONNECT"), 501, "this server neither upgrades nor tunnels"),
        (get("/api", version="2.0"), 505, "HTTP/2.0 is not spoken here"),
        (b"GET /api\r\n\r\n", 505, "HTTP/0.9 is not spoken here"),
    ],
)
def test_well_formed_but_refused(data: bytes, status: int, reason: str) -> None:
    assert refused(data) == (status, reason)


def test_http_1_0_needs_no_host() -> None:
    (request,), _ = read(b"GET /api HTTP/1.0\r\n\r\n")
    assert (request.version, request.keep_alive) == ("1.0", False)


def test_requests_before_a_malformed_one_are_returned() -> None:
    requests, reader = read(post() + post() + b"nonsense\r\n\r\n")
    assert [request.request_on_connection for request in requests] == [1, 2]
    assert reader.refusal is not None
    assert reader.refusal.status == 400


@pytest.mark.parametrize("cut", [1, 30, HEAD_LIMIT - 1])
def test_a_head_may_be_as_long_as_the_limit_and_not_a_byte_longer(cut: int) -> None:
    for feeds in ([head_of(HEAD_LIMIT)], [head_of(HEAD_LIMIT)[:cut], head_of(HEAD_LIMIT)[cut:]]):
        requests, _ = read(*feeds)
        assert len(requests) == 1
    longer = head_of(HEAD_LIMIT + 1)
    for feeds in ([longer], [longer[:cut], longer[cut:]]):
        assert refused(*feeds) == (431, "the request head is larger than 200 bytes")


def test_what_comes_before_and_after_a_head_does_not_count_as_head() -> None:
    for _ in range(3):
        requests, reader = read(post(b"1" * 900) + head_of(150)[:140], head_of(150)[140:] + post(b"1" * 900))
        assert len(requests) == 3
        assert reader.refusal is None


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX-Endless: "])
def test_an_endless_head_is_refused_while_it_comes(start: bytes) -> None:
    reader = RequestReader(1, max_head_bytes=HEAD_LIMIT)
    fed = 0
    while reader.refusal is None:
        fed += len(start)
        reader.receive(start)
        start = b"x" * 10
    assert reader.refusal.status == 431
    assert HEAD_LIMIT < fed <= HEAD_LIMIT + 40


def test_a_body_announced_too_large_is_refused_before_it_comes() -> None:
    assert refused(get("/api", "Content-Length: 1001", "Expect: 100-continue")) == (
        413,
        "the request body is larger than 1000 bytes",
    )
    (request,), _ = read(post(b"1" * 1000))
    assert len(request.body) == 1000


def test_a_chunked_body_is_refused_once_it_is_too_large() -> None:
    head, chunk = get("/api", "Transfer-Encoding: chunked"), b"1f4\r\n" + b"1" * 500 + b"\r\n"
    (request,), _ = read(head, chunk, chunk, b"0\r\n\r\n")
    assert len(request.body) == 1000
    assert refused(head, chunk, chunk, b"1\r\n1") == (413, "the request body is larger than 1000 bytes")


@pytest.mark.parametrize(
    ("feeds", "status"),
    [
        ([b"nonsense\r\n\r\n"], 400),
        ([get("/", "Content-Length: 1001")], 413),
        ([head_of(900)[:10], head_of(900)[10:800], head_of(900)[800:]], 431),
    ],
)
def test_nothing_is_read_after_a_refusal(feeds: list[bytes], status: int) -> None:
    requests, reader = read(*feeds, post())
    assert requests == []
    assert reader.refusal is not None
    assert reader.refusal.status == status


@pytest.mark.parametrize("feeds", [[post(b"1", "Connection: close") + post()], [post(version="1.0"), post()]])
def test_nothing_is_read_after_a_request_that_ends_the_connection(feeds: list[bytes]) -> None:
    requests, reader = read(*feeds)
    assert [request.keep_alive for request in requests] == [False]
    assert reader.refusal is None


def test_the_go_ahead_is_due_once_while_the_body_is_held_back() -> None:
    reader = RequestReader(1)
    head, body = post(b"{}", "expect: 100-Continue")[:-2], b"{}"
    reader.receive(head[:-1])
    assert not reader.take_go_ahead()
    reader.receive(head[-1:])
    assert reader.take_go_ahead()
    assert not reader.take_go_ahead()
    assert len(reader.receive(body)) == 1
    assert not reader.take_go_ahead()


@pytest.mark.parametrize(
    "data",
    [
        post(b"{}", "Expect: 100-continue"),
        post(b"{}", "Expect: 100-continue", version="1.0")[:-2],
        get("/api", "Expect: 100-continue"),
        post(b"{}", "Expect: 100-continue", "Host: b")[:-2],
    ],
    ids=["body came along", "HTTP/1.0", "no body", "refused"],
)
def test_no_go_ahead(data: bytes) -> None:
    reader = RequestReader(1)
    reader.receive(data)
    assert not reader.take_go_ahead()


def test_a_fault_of_our_own_is_not_taken_for_the_clients() -> None:
    class Broken(RequestReader):
        def on_url(self, url: bytes) -> None:
            raise ZeroDivisionError

    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        Broken(1).receive(post())
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_each_head_is_shown_before_its_body_is_read() -> None:
    heads: list[tuple[bytes, ...]] = []

    def on_head(method: bytes, target: bytes, path: bytes, headers: object) -> bool:
        heads.append((method, target, path))
        assert headers == ((b"Host", b"localhost"), (b"Content-Length", b"2"))
        return False

    reader = HeadReader(1, on_head)
    assert reader.receive(post(target="/api?x")[:-1]) == []
    assert heads == [(b"POST", b"/api?x", b"/api")]
    assert [request.body for request in reader.receive(b"}" + post(b"[]"))] == [b"{}", b"[]"]
    assert len(heads) == 2


def test_the_reading_ends_at_a_head_if_that_is_wished() -> None:
    answers = iter((False, True))
    reader = HeadReader(1, lambda *head: next(answers))
    requests = reader.receive(post() + post(b"{}", "Expect: 100-continue") + post())
    assert [request.request_on_connection for request in requests] == [1]
    assert (reader.refusal, reader.take_go_ahead(), reader.receive(post())) == (None, False, [])


def test_a_head_that_is_refused_is_not_shown() -> None:
    reader = HeadReader(1, lambda *head: pytest.fail("shown"))
    reader.receive(post(version="2.0"))
    assert reader.refusal is not None
