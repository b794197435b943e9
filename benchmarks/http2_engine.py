"""The CPU an exchange costs in the HTTP/2 engine alone, without connection, sockets, kernel or server.

Run: .venv/bin/python benchmarks/http2_engine.py.  100 exchanges are sent, their output is taken, and their
answers, canned before, are received at once.  The minimum of several rounds is what a quiet machine needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    ErrorCode,
    frame_head,
    rst_stream_frame,
    settings_frame,
)
from livepost.wire.hpack import Encoder, encode_private, encode_value
from livepost.wire.http2 import Http2Machine
from livepost.wire.message import Exchange, Fields, RequestHead

STREAMS = 100
BATCHES = 100
ROUNDS = 15
REQUEST = b'{"id":123456,"name":"User 123456","email":"user123456@example.com","note":"%s"}' % (b"x" * 120)
ANSWER = b'{"id":123456,"created":"yes"}'
HEAD = RequestHead(
    b"POST", b"/api/users", b"localhost:8080", b"http", ((b"Content-Type", b"application/json"),)
)
ANSWER_FIELDS: Fields = (
    (b":status", b"201"),
    (b"server", b"nginx"),
    (b"date", b"Sun, 22 Nov 2026 13:00:00 GMT"),
    (b"content-type", b"application/json"),
    (b"content-length", b"29"),
)

Blocks = Iterator[bytes]


def indexed() -> Blocks:
    """A server that remembers what it said."""
    encoder = Encoder()
    while True:
        yield encoder.encode(ANSWER_FIELDS)


def literal() -> Blocks:
    """A server without a table, as nginx is."""
    while True:
        yield b"".join(encode_private(name) + encode_value(value) for name, value in ANSWER_FIELDS)


def unique() -> Blocks:
    """A server that gives each answer a name of its own."""
    encoder = Encoder()
    number = 0
    while True:
        number += 1
        yield (
            encoder.encode(ANSWER_FIELDS) + encode_private(b"x-request-id") + encode_value(b"%032x" % number)
        )


def adjacent(blocks: Blocks, stream_ids: range) -> bytes:
    return b"".join(headers(blocks, number) + data(number) for number in stream_ids)


def heads_first(blocks: Blocks, stream_ids: range) -> bytes:
    return b"".join([headers(blocks, number) for number in stream_ids] + [data(n) for n in stream_ids])


def headers(blocks: Blocks, stream_id: int, flags: int = END_HEADERS) -> bytes:
    block = next(blocks)
    return frame_head(HEADERS, len(block), flags, stream_id) + block


def data(stream_id: int) -> bytes:
    return frame_head(DATA, len(ANSWER), END_STREAM, stream_id) + ANSWER


def reset_behind(blocks: Blocks, stream_ids: range) -> bytes:
    """As nginx does where it has no use for the request's body."""
    return b"".join(
        headers(blocks, number) + data(number) + rst_stream_frame(number, ErrorCode.NO_ERROR)
        for number in stream_ids
    )


def without_body(blocks: Blocks, stream_ids: range) -> bytes:
    return b"".join(headers(blocks, number, END_HEADERS | END_STREAM) for number in stream_ids)


def no_content() -> Blocks:
    while True:
        yield b"\x89"


def carry(blocks: Blocks, arrange: Callable[[Blocks, range], bytes], fields: Fields) -> float:
    """Seconds of CPU an exchange."""
    machine = Http2Machine(most_open=STREAMS)
    machine.take_output()
    # A wide window, so that the canned peer need not widen it on the way.
    machine.receive(
        settings_frame({MAX_CONCURRENT_STREAMS: STREAMS})
        + bytes.fromhex("000004080000000000")
        + b"\x7f\xff\0\0"
    )
    answers = [
        arrange(blocks, range(1 + 2 * n, 1 + 2 * (n + STREAMS), 2))
        for n in range(0, STREAMS * BATCHES, STREAMS)
    ]
    exchanges = [Exchange(HEAD, REQUEST, fields=fields) for _ in range(STREAMS)]
    send, take_output, receive = machine.send, machine.take_output, machine.receive
    answered = 0
    started = time.process_time()
    for answer in answers:
        for exchange in exchanges:
            send(exchange)
        take_output()
        answered += len(receive(answer))
    seconds = time.process_time() - started
    assert answered == STREAMS * BATCHES
    return seconds / answered


CASES: dict[str, tuple[Callable[[], Blocks], Callable[[Blocks, range], bytes], Fields]] = {
    "heads known, then bodies": (indexed, heads_first, ()),
    "head and body in turn": (indexed, adjacent, ()),
    "and RST_STREAM behind": (indexed, reset_behind, ()),
    "literal heads": (literal, adjacent, ()),
    "every head different": (unique, adjacent, ()),
    "204": (no_content, without_body, ()),
    "with an Idempotency-Key": (
        indexed,
        adjacent,
        ((b"Idempotency-Key", b'"5f2b8e0d-9c7a-4b1e-8f3d-2c6a7b9e0f1d"'),),
    ),
}


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, (blocks, arrange, fields) in CASES.items():
        best = min(carry(blocks(), arrange, fields) for _ in range(ROUNDS))
        print(f"{name:28} {best * 1e6:6.2f} µs an exchange")


if __name__ == "__main__":
    main()
