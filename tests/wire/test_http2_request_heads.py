"""Heads of requests over HTTP/2: told once, and what cannot be sent."""

from __future__ import annotations

import pytest
from hpack.struct import NeverIndexedHeaderTuple
from http2_talk import Http2Talk, fields_of, window_update
from machine_talk import BODY, POST, request_head

from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    settings_frame,
)
from livepost.wire.message import RequestHead

GET = request_head(b"GET")
WHOLE = END_HEADERS | END_STREAM


def test_a_request_head_is_told_once_and_then_takes_a_few_bytes() -> None:
    talk = Http2Talk(POST, POST, POST)
    frames = talk.take()
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        (HEADERS, END_HEADERS, 1),
        (DATA, END_STREAM, 1),
        (HEADERS, END_HEADERS, 3),
        (DATA, END_STREAM, 3),
        (HEADERS, END_HEADERS, 5),
        (DATA, END_STREAM, 5),
    ]
    first, second, third = frames[::2]
    for sent in (first, second, third):
        assert fields_of(talk, sent) == [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"localhost:8080"),
            (b":path", b"/api"),
            (b"accept", b"*/*"),
            (b"content-length", b"8"),
        ]
    assert len(first.payload) == 33
    assert second.payload == third.payload == bytes.fromhex("8386c0bfbe" + "0f0d0138")
    assert {sent.payload for sent in frames[1::2]} == {BODY}


def test_heads_that_take_turns_are_all_understood() -> None:
    heads = [request_head(method) for method in (b"POST", b"PUT", b"PATCH", b"X-1")]
    order = [0, 0, 0, 1, 0, 0, 2, 1, 0, 3, 3, 3, 0, 2, 1]
    talk = Http2Talk()
    for number in order:
        talk.send(heads[number])
    methods = [fields_of(talk, sent)[0][1] for sent in talk.take() if sent.kind == HEADERS]
    assert methods == [heads[number].method for number in order]


def test_a_smaller_header_table_of_the_server_is_kept_to() -> None:
    talk = Http2Talk(POST, POST, POST)
    for sent in talk.take()[::2]:
        fields_of(talk, sent)
    for size in (0, 40, 4_096, 65_536):
        talk.receive(settings_frame({HEADER_TABLE_SIZE: size}))
        talk.decoder.max_allowed_table_size = size
        talk.decoder.header_table_size = min(size, talk.decoder.header_table_size)
        for _ in range(3):
            talk.send()
        _, *frames = talk.take()
        assert [len(fields_of(talk, sent)) for sent in frames[::2]] == [6, 6, 6]
        assert talk.decoder.header_table_size <= size


def test_fields_of_one_request_leave_everything_constant() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.send(fields=((b"Idempotency-Key", b'"a-1"'), (b"Traceparent", b"00-" + b"f" * 300)))
    talk.send(fields=((b"Idempotency-Key", b'"a-2"'),))
    talk.send()
    talk.send(request_head(b"PUT"), fields=((b"Idempotency-Key", b'"a-3"'),))
    heads = [sent for sent in talk.take() if sent.kind == HEADERS]
    decoded = [list(talk.decoder.decode(sent.payload, raw=True)) for sent in heads]
    assert [fields[6:] for fields in decoded] == [
        [],
        [],
        [],
        [(b"idempotency-key", b'"a-1"'), (b"traceparent", b"00-" + b"f" * 300)],
        [(b"idempotency-key", b'"a-2"')],
        [],
        [(b"idempotency-key", b'"a-3"')],
    ]
    assert isinstance(decoded[3][6], NeverIndexedHeaderTuple)
    assert heads[5].payload == heads[2].payload
    assert heads[4].payload.startswith(heads[2].payload)


@pytest.mark.parametrize(
    "fields",
    [
        ((b"Key", b"a\r\nb"),),
        ((b"Key", b"\x00"),),
        ((b"", b"a"),),
        ((b"a b", b"a"),),
        ((b":path", b"/"),),
        ((b"Content-Length", b"1"),),
        ((b"Connection", b"close"),),
        ((b"Proxy-Connection", b"close"),),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_fields_that_cannot_be_sent_change_nothing(
    fields: tuple[tuple[bytes, bytes], ...], before: int
) -> None:
    talk = Http2Talk(*[POST] * before)
    talk.take()
    with pytest.raises(ValueError, match=r"header|set by|holds"):
        talk.send(fields=fields)
    assert (talk.machine.open_exchanges, talk.machine.take_output()) == (before, b"")
    talk.send()
    assert talk.take()[0].stream_id == 1 + 2 * before


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"GET /", b"/", b"h", b"http", ()),
        RequestHead(b"GET", b"/ x", b"h", b"http", ()),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"Host", b"h"),)),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"TE", b"trailers"),)),
        RequestHead(b"GET", b"/", b"h", b"http", ((b"A", b"\n"),)),
    ],
)
def test_a_head_that_cannot_be_sent_changes_nothing(head: RequestHead) -> None:
    talk = Http2Talk()
    with pytest.raises(ValueError, match=r"request|header|set by|holds"):
        talk.send(head)
    assert (talk.machine.open_exchanges, talk.machine.take_output()) == (0, b"")
    talk.send()
    assert len(fields_of(talk, talk.take()[0])) == 6


def test_proxy_connection_is_not_for_http_2() -> None:
    talk = Http2Talk()
    talk.send(RequestHead(b"GET", b"/", b"h", b"http", ((b"Proxy-Connection", b"close"), (b"A", b"b"))), b"")
    assert fields_of(talk, talk.take()[0])[4:] == [(b"a", b"b")]


def test_a_head_larger_than_a_frame_goes_on_in_the_next() -> None:
    large = RequestHead(b"PUT", b"/", b"h", b"http", ((b"Large", b"x" * 40_000),))
    talk = Http2Talk(large, large)
    talk.send(fields=((b"Large", b"y" * 20_000),))
    talk.send(POST, b"")
    frames = talk.take()
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        *[(HEADERS, 0, 1), (9, 0, 1), (9, END_HEADERS, 1), (DATA, END_STREAM, 1)],
        *[(HEADERS, 0, 3), (9, 0, 3), (9, END_HEADERS, 3), (DATA, END_STREAM, 3)],
        *[(HEADERS, 0, 5), (9, END_HEADERS, 5), (DATA, END_STREAM, 5)],
        (HEADERS, WHOLE, 7),
    ]
    talk.decoder.max_header_list_size = 100_000
    block = b"".join(sent.payload for sent in frames if sent.stream_id == 1 and sent.kind != DATA)
    assert len(list(talk.decoder.decode(block, raw=True))[4][1]) == 40_000


def test_fields_of_one_request_larger_than_a_frame_behind_a_head_that_is_known() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.send(fields=((b"Large", b"y" * 20_000),))
    talk.send()
    frames = talk.take()[6:]
    assert [(sent.kind, sent.flags, sent.stream_id) for sent in frames] == [
        *[(HEADERS, 0, 7), (9, END_HEADERS, 7), (DATA, END_STREAM, 7)],
        *[(HEADERS, END_HEADERS, 9), (DATA, END_STREAM, 9)],
    ]
    assert len(frames[0].payload) == FRAME_BYTES
    assert talk.machine._output.end == talk.machine._output.taken == len(talk.output)


def test_of_many_heads_only_some_are_kept() -> None:
    """Each is compared by identity, and all of these say the same."""
    heads = [request_head() for _ in range(200)]
    talk = Http2Talk(*heads[:2])
    sent = [talk.take()[0].payload]
    kept = talk.machine._requests._blocks._kept
    for head in heads:
        number = talk.send(head)
        (block, _) = talk.take()
        sent.append(block.payload)
        talk.receive(talk.ok(number) + window_update(0, 8))
        assert 1 <= len(kept) <= 64
    assert set(sent[1:]) == {bytes.fromhex("8386c0bfbe" + "0f0d0138")}
