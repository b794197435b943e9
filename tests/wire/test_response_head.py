from __future__ import annotations

import time
import tracemalloc

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.wire.message import Fields
from livepost.wire.response_head import (
    REMEMBERED_HEAD_BYTES,
    Framing,
    ProtocolError,
    ResponseHead,
    read_fields,
    read_response_head,
    read_short_response_head,
)

LENGTH, CHUNKED, UNTIL_CLOSE = Framing.LENGTH, Framing.CHUNKED, Framing.UNTIL_CLOSE


def read(*lines: bytes) -> ResponseHead:
    return read_response_head(b"".join(line + b"\r\n" for line in (*lines, b"")))


def answer(*lines: bytes, status: int = 200, version: bytes = b"1.1") -> ResponseHead:
    return read(b"HTTP/%b %d Any" % (version, status), *lines)


def test_what_a_head_says() -> None:
    head = read(
        b"HTTP/1.1 201 Created",
        b"Server: nginx/1.24",
        b"SET-Cookie:\t a=b; c \t",
        b"set-cookie:d",
        b"X-Empty:",
        b"Content-Length: 7",
    )
    assert head == ResponseHead(
        status=201,
        fields=(
            (b"server", b"nginx/1.24"),
            (b"set-cookie", b"a=b; c"),
            (b"set-cookie", b"d"),
            (b"x-empty", b""),
            (b"content-length", b"7"),
        ),
        keep_alive=True,
        framing=LENGTH,
        length=7,
        is_plain=True,
    )


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK", 200),
        (b"HTTP/1.1 200 ", 200),
        (b"HTTP/1.1 200", 200),
        (b"HTTP/1.0 404 Not Found", 404),
        (b"HTTP/1.1 999 \t Any \xe4\xff", 999),
        (b"HTTP/1.1 100 Continue", 100),
    ],
)
def test_status_lines(line: bytes, status: int) -> None:
    assert read(line).status == status


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" HTTP/1.1 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/11 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 OK\nA: b",
        b"HTTP/1.1 \xb2\xb2\xb2 OK",
        b"ICY 200 OK",
        b"SSH-2.0-OpenSSH_9.2",
    ],
)
def test_what_is_no_status_line(line: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^not an HTTP/1 answer: it begins b'") as caught:
        read(line, b"Content-Length: 0")
    assert len(str(caught.value)) < 140


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b": no name",
        b"Name : space before the colon",
        b"Name\t: tab before the colon",
        b"Na me: b",
        b"Na\x00me: b",
        b"Na\xe4me: b",
        b"Na(me: b",
        b"Name: bare \n LF",
        b"Name: bare \r CR",
        b"Name: at the end\r",
        b"Name: NUL \x00",
        b"Name: DEL \x7f",
        b"Name: vertical \x0b tab",
        b"Content-Length: 0\nName: b",
    ],
)
def test_malformed_lines(line: bytes) -> None:
    for lines in ((line,), (b"A: b", line, b"C: d")):
        with pytest.raises(ProtocolError, match=r"^malformed header line b'"):
            answer(*lines)
        with pytest.raises(ProtocolError, match=r"^malformed header line b'"):
            read_fields(b"\r\n".join((*lines, b"", b"")))


def test_the_first_line_continues_nothing() -> None:
    with pytest.raises(ProtocolError, match=r"^malformed header line b' A: b'$"):
        answer(b" A: b")
    with pytest.raises(ProtocolError, match=r"^malformed header line b' A: b'$"):
        read_fields(b" A: b\r\n\r\n")


def test_a_malformed_line_is_shown_up_to_its_end_and_a_bound() -> None:
    with pytest.raises(ProtocolError, match=r"^malformed header line b'no colon'$"):
        answer(b"no colon", b"A: b")
    with pytest.raises(ProtocolError, match=rf"^malformed header line b'{'x' * 40}'$"):
        answer(b"x" * 41)


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ((b"A: b", b" c"), ((b"a", b"b c"),)),
        ((b"A: b", b"\t \tc", b"D: e"), ((b"a", b"b c"), (b"d", b"e"))),
        ((b"A:", b" b"), ((b"a", b"b"),)),
        ((b"A: b", b" "), ((b"a", b"b"),)),
        ((b"A: b", b" ", b" c"), ((b"a", b"b  c"),)),
        ((b"A: b", b" c: d"), ((b"a", b"b c: d"),)),
        ((b"A: b", b" Content-Length: 9"), ((b"a", b"b Content-Length: 9"),)),
    ],
)
def test_a_folded_value_is_unfolded(lines: tuple[bytes, ...], fields: Fields) -> None:
    assert answer(*lines).fields == fields
    assert read_fields(b"\r\n".join((*lines, b"", b""))) == fields


def test_white_space_never_costs_quadratic_time() -> None:
    # 65 000 blanks take milliseconds; looking for their end from each of them takes many seconds.
    started = time.process_time()
    assert answer(b"A: b" + b" " * 65_000 + b"c", b" d").fields == ((b"a", b"b" + b" " * 65_000 + b"c d"),)
    assert answer(b"A: " + b" \t" * 30_000, b" d").fields == ((b"a", b"d"),)
    with pytest.raises(ProtocolError):
        answer(b"A: " + b" " * 65_000 + b"\x00")
    assert time.process_time() - started < 1.0


def test_no_fields() -> None:
    assert answer().fields == ()
    assert read_fields(b"\r\n") == ()


KEEP_ALIVE = [
    # version, Connection fields, whether another exchange may follow
    (b"1.1", [], True),
    (b"1.1", [b"keep-alive"], True),
    (b"1.1", [b"close"], False),
    (b"1.1", [b"CLOSE"], False),
    (b"1.1", [b"cLoSe"], False),
    (b"1.1", [b"upgrade, close"], False),
    (b"1.1", [b"close,upgrade"], False),
    (b"1.1", [b",,\t close \t,"], False),
    (b"1.1", [b"keep-alive", b"close"], False),
    (b"1.1", [b"close", b"keep-alive"], False),
    (b"1.1", [b"keep-alive, close"], False),
    (b"1.1", [b"closed"], True),
    (b"1.1", [b"not close"], True),
    (b"1.1", [b'"close"'], True),
    (b"1.1", [b""], True),
    (b"1.0", [], False),
    (b"1.0", [b""], False),
    (b"1.0", [b"keep-alive"], True),
    (b"1.0", [b"Keep-Alive"], True),
    (b"1.0", [b"foo, KEEP-ALIVE"], True),
    (b"1.0", [b"foo", b"keep-alive"], True),
    (b"1.0", [b"keep-alive, close"], False),
    (b"1.0", [b"keepalive"], False),
]


@pytest.mark.parametrize(("version", "connection", "kept"), KEEP_ALIVE)
def test_keep_alive(version: bytes, connection: list[bytes], kept: bool) -> None:
    for name in (b"Connection", b"connection", b"CONNECTION"):
        lines = [name + b": " + value for value in connection]
        assert answer(b"Content-Length: 0", *lines, version=version).keep_alive is kept
        assert answer(*lines, b"Content-Length: 0", version=version).keep_alive is kept


def test_fields_that_only_look_like_connection_decide_nothing() -> None:
    assert answer(b"Proxy-Connection: close", b"Keep-Alive: close", b"X-Connection: close").keep_alive is True
    head = answer(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", version=b"1.0")
    assert head.keep_alive is False


FRAMING = [
    # version, status, lines, framing, length, whether the connection may be used again
    (b"1.1", 200, [b"Content-Length: 5"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 0"], LENGTH, 0, True),
    (b"1.1", 200, [b"Content-Length:5"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: \t5\t "], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 005"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 5, 5"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 5,5,\t5"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 5", b"content-length: 5"], LENGTH, 5, True),
    (b"1.1", 200, [b"Content-Length: 999999999999999999"], LENGTH, 10**18 - 1, True),
    (b"1.1", 200, [], UNTIL_CLOSE, 0, True),
    (b"1.0", 200, [b"Content-Length: 5", b"Connection: keep-alive"], LENGTH, 5, True),
    (b"1.1", 200, [b"Transfer-Encoding: chunked"], CHUNKED, 0, True),
    (b"1.1", 200, [b"transfer-encoding: \tChunKed "], CHUNKED, 0, True),
    (b"1.1", 200, [b"Transfer-Encoding: gzip, chunked"], CHUNKED, 0, True),
    (b"1.1", 200, [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"], CHUNKED, 0, True),
    # With both, or in HTTP/1.0, somebody may be lying.
    (b"1.1", 200, [b"Content-Length: 5", b"Transfer-Encoding: chunked"], CHUNKED, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked", b"Content-Length: 5"], CHUNKED, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked", b"Content-Length: x"], CHUNKED, 0, False),
    (b"1.0", 200, [b"Transfer-Encoding: chunked", b"Connection: keep-alive"], CHUNKED, 0, False),
    # A coding that does not end.
    (b"1.1", 200, [b"Transfer-Encoding: gzip"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: identity", b"Content-Length: 5"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked, gzip"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked, chunked"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: xchunked"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding: chunked;q=1"], UNTIL_CLOSE, 0, False),
    (b"1.1", 200, [b"Transfer-Encoding:"], UNTIL_CLOSE, 0, False),
    # No body, whatever is announced.
    (b"1.1", 100, [b"Content-Length: 5"], LENGTH, 0, True),
    (b"1.1", 103, [b"Transfer-Encoding: chunked"], LENGTH, 0, True),
    (b"1.1", 204, [], LENGTH, 0, True),
    (b"1.1", 304, [], LENGTH, 0, True),
    (b"1.1", 304, [b"Content-Length: 5"], LENGTH, 0, True),
    (b"1.1", 304, [b"Transfer-Encoding: chunked"], LENGTH, 0, True),
    (b"1.1", 204, [b"Content-Length: 0"], LENGTH, 0, True),
    # A body that a 204 may not have: it could come later.
    (b"1.1", 204, [b"Content-Length: 5"], LENGTH, 0, False),
    (b"1.1", 204, [b"Content-Length: 0", b"Content-Length: 5"], LENGTH, 0, False),
    (b"1.1", 204, [b"Transfer-Encoding: chunked"], LENGTH, 0, False),
    (b"1.1", 205, [b"Content-Length: 5"], LENGTH, 5, True),
]


@pytest.mark.parametrize(("version", "status", "lines", "framing", "length", "kept"), FRAMING)
def test_framing(
    version: bytes, status: int, lines: list[bytes], framing: Framing, length: int, kept: bool
) -> None:
    head = answer(*lines, status=status, version=version)
    assert (head.framing, head.length, head.keep_alive) == (framing, length, kept)


def test_framing_is_trusted_only_as_far_as_the_connection_is_kept() -> None:
    assert answer(b"Content-Length: 5", b"Connection: close").keep_alive is False
    assert answer(b"Transfer-Encoding: chunked", b"Connection: close").keep_alive is False


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5, 6"],
        [b"Content-Length: 5", b"Content-Length: 05"],
        [b"Content-Length: 5,"],
        [b"Content-Length: "],
        [b"Content-Length: +5"],
        [b"Content-Length: -5"],
        [b"Content-Length: 5 5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5_0"],
        [b"Content-Length: 5.0"],
        [b"Content-Length: 1e3"],
        [b"Content-Length: \xb2"],
        [b"Content-Length: five"],
        [b"Content-Length: 1000000000000000000"],
        [b"Content-Length: " + b"9" * 60_000],
        [b"Content-Length: " + b"0" * 18 + b"5"],
    ],
)
def test_a_length_that_cannot_be_believed(lines: list[bytes]) -> None:
    with pytest.raises(ProtocolError, match=r"^contradictory or malformed Content-Length$"):
        answer(*lines)


@pytest.mark.parametrize(
    ("lines", "status", "is_plain"),
    [
        ([b"Content-Length: 5"], 200, True),
        ([b"Content-Length: 5"], 500, True),
        ([], 204, True),
        ([], 304, True),
        ([b"Content-Length: 5", b"Connection: close"], 200, False),
        ([b"Transfer-Encoding: chunked"], 200, False),
        ([b"Transfer-Encoding: chunked"], 204, False),
        ([], 200, False),
        ([], 100, False),
        ([b"Content-Length: 5"], 199, False),
    ],
)
def test_the_answer_that_needs_no_thought(lines: list[bytes], status: int, is_plain: bool) -> None:
    assert answer(*lines, status=status).is_plain is is_plain


def test_a_short_head_seen_before_is_remembered() -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: " + b"b" * (REMEMBERED_HEAD_BYTES - 24) + b"\r\n\r\n"
    assert len(raw) == REMEMBERED_HEAD_BYTES
    assert read_short_response_head(raw) is read_short_response_head(bytes(bytearray(raw)))
    assert read_short_response_head(raw) == read_response_head(raw)


def test_what_is_remembered_is_bounded() -> None:
    fields = b"a1:bc\r\n" * ((REMEMBERED_HEAD_BYTES - 40) // 7)
    tracemalloc.start()
    for number in range(80):
        head = read_short_response_head(b"HTTP/1.1 200 OK\r\nN: %d\r\n%b\r\n" % (number, fields))
        assert len(head.fields) == 287
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 4_000_000


token = st.text(st.sampled_from("!#$%&'*+-.^_`|~09azAZ"), min_size=1, max_size=6).map(str.encode)
text = st.binary(max_size=9).map(
    lambda raw: bytes(code for code in raw if code in b"\t \xff" or 33 <= code < 127)
)
own_meaning = (b"content-length", b"transfer-encoding", b"connection")
lines_of_a_head = st.lists(
    st.tuples(token.filter(lambda name: name.lower() not in own_meaning), text), max_size=5
)


@settings(deadline=None)
@given(st.integers(200, 999), text, lines_of_a_head)
def test_reads_as_h11_does(status: int, reason: bytes, lines: list[tuple[bytes, bytes]]) -> None:
    raw = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    raw += b"".join(name + b":" + value + b"\r\n" for name, value in lines) + b"\r\n"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    expected = client.next_event()
    assert isinstance(expected, h11.Response)
    head = read_response_head(raw)
    assert head.status == expected.status_code == status
    assert head.fields == tuple(expected.headers)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for raw in (noise + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n"):
        try:
            head = read_response_head(raw[: raw.index(b"\r\n\r\n") + 4])
        except ProtocolError:
            continue
        assert 100 <= head.status <= 999
        assert all(name and value == value.strip(b" \t") for name, value in head.fields)
