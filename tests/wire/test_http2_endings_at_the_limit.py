"""Every exchange ends exactly once, also where the server asks for more answers than it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from http2_talk import TWO_BYTES, Frame, Http2Talk, frame, goaway, rst_stream, window_update
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_talk import EXPECT, HEAD, POST

from livepost.model import Sent
from livepost.wire import flow
from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    ErrorCode,
    settings_frame,
)
from livepost.wire.machine import Event, Failed
from livepost.wire.message import Exchange, Response

WHOLE = END_HEADERS | END_STREAM
PING_BYTES = 17
# One more is too many.
PINGS = frame(PING, 0, 0, bytes(8)) * (65_536 // PING_BYTES)


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    """The streams that were reset, and with what."""
    return [
        (reset.stream_id, int.from_bytes(reset.payload, "big"))
        for reset in frames
        if reset.kind == RST_STREAM
    ]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (lambda talk: window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (lambda talk: talk.head(1, (b"connection", b"close")), ErrorCode.PROTOCOL_ERROR),
        (lambda talk: talk.data(1), ErrorCode.PROTOCOL_ERROR),
    ],
    ids=["window", "head", "body"],
)
def test_a_stream_is_refused_although_many_answers_wait(
    bad: Callable[[Http2Talk], bytes], code: ErrorCode
) -> None:
    talk = Http2Talk(POST, POST)
    talk.take()
    talk.receive(PINGS + bad(talk))
    assert talk.outcomes() == [(1, Sent.ALL)]
    assert resets(talk.take()) == [(1, code)]
    talk.receive(talk.ok(3))
    assert [number for number, _ in talk.outcomes()] == [1, 3]


def test_an_early_answer_is_taken_although_many_answers_wait() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10})
    talk.send(POST, b"x" * 1_000)
    talk.take()
    talk.receive(PINGS + talk.head(1, status=413, flags=WHOLE))
    assert talk.response() == Response(413, (), b"")
    assert resets(talk.take()) == [(1, ErrorCode.CANCEL)]


def test_what_an_answer_cut_short_leaves_is_taken_although_many_answers_wait() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10}, max_response_bytes=1)
    talk.send(POST, b"x" * 1_000)
    talk.take()
    talk.receive(PINGS + talk.head(1) + talk.data(1, b"hi"))
    assert talk.response() == Response(200, (), b"h", complete=False)
    assert resets(talk.take()) == [(1, ErrorCode.CANCEL)]


class World:
    """A machine that gives up after a few unread answers, and a server that does anything."""

    LIMIT_BYTES = 160

    def __init__(self, window: int, max_response_bytes: int) -> None:
        self.talk = Http2Talk(
            settings={INITIAL_WINDOW_SIZE: window}, is_greeted=True, max_response_bytes=max_response_bytes
        )
        self.sent: list[Exchange] = []
        self.ended: Counter[int] = Counter()

    def act(self, action: str, number: int) -> None:
        talk, machine = self.talk, self.talk.machine
        if action == "send":
            if machine.room:
                head = (POST, POST, EXPECT, HEAD)[number % 4]
                body = (b"", b"hi", b"x" * 200, b"y" * 70_000)[number // 4 % 4]
                self.sent.append(talk.exchanges[talk.send(head, body)])
        elif action == "write":
            talk.output += machine.take_output()
        elif action == "cancel":
            if self.sent:
                self.note(machine.cancel(self.sent[number % len(self.sent)]))
        elif action == "release":
            machine.release_body()
        elif action == "ping":
            machine.ping()
        else:
            self.note(machine.receive(self.said(action, number)))

    def said(self, action: str, number: int) -> bytes:
        """By the server, mostly on a stream that is open."""
        talk = self.talk
        still_open = [
            stream_id for stream_id, exchange in talk.exchanges.items() if not self.ended[id(exchange)]
        ]
        stream_id = still_open[number % len(still_open)] if still_open else 1
        status = (200, 100, 413, 204)[number % 4]
        frames = {
            "pings": frame(PING, 0, 0, bytes(8)) * (1 + number % 9),
            "settings": settings_frame({INITIAL_WINDOW_SIZE: number * 10}),
            "fewer streams": settings_frame({MAX_CONCURRENT_STREAMS: number}),
            "answer": talk.ok(stream_id),
            "head": talk.head(stream_id, *(TWO_BYTES if number % 2 else ()), status=status),
            "whole head": talk.head(stream_id, status=status, flags=WHOLE),
            "body": talk.data(stream_id, b"z" * number, flags=number % 2),
            "padded": frame(DATA, PADDED | number % 2, stream_id, b"\x03hi\0\0\0"),
            "malformed head": talk.head(stream_id, (b"connection", b"x")),
            "empty priority": frame(PRIORITY, 0, stream_id, bytes(4)),
            "prioritized": frame(HEADERS, END_HEADERS | HAS_PRIORITY, stream_id, bytes(5) + b"\x88"),
            "reset": rst_stream(stream_id, (0, 7, 8, 11, 13)[number % 5]),
            "goodbye": goaway(number, (0, 11)[number % 2]),
            "no window": window_update(stream_id, 0),
            "window": window_update(number % 2 and stream_id, 1 << number % 31),
        }
        # As many as may just wait.
        before = frame(PING, 0, 0, bytes(8)) * (self.LIMIT_BYTES // PING_BYTES) if number >= 32 else b""
        return before + frames[action]

    def note(self, events: list[Event]) -> None:
        self.ended.update(id(event.exchange) for event in events)

    def end(self) -> None:
        self.note(self.talk.machine.end(written=len(self.talk.output), reason="", orderly=False))


OURS = ["send", "send", "send", "write", "cancel", "release", "ping"]
THEIRS = [
    *("pings", "pings", "settings", "fewer streams", "answer", "head", "whole head", "body", "padded"),
    *("malformed head", "empty priority", "prioritized", "reset", "goodbye", "no window", "window"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OURS + THEIRS), st.integers(0, 63)), min_size=15, max_size=40),
    st.sampled_from([0, 5, 100, 65_535]),
    st.sampled_from([1, 50, 1_000_000]),
)
def test_every_exchange_ends_exactly_once(
    actions: list[tuple[str, int]], window: int, max_response_bytes: int
) -> None:
    world = World(window, max_response_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_CONTROL_BYTES_LIMIT", World.LIMIT_BYTES)
        for action, number in actions:
            world.act(action, number)
            open_ones = sum(not world.ended[id(exchange)] for exchange in world.sent)
            assert world.talk.machine.open_exchanges == open_ones
        world.end()
        assert world.ended == Counter(id(exchange) for exchange in world.sent)


def test_the_limit_of_this_module_is_reached() -> None:
    talk = Http2Talk(POST)
    talk.take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_CONTROL_BYTES_LIMIT", World.LIMIT_BYTES)
        talk.receive(frame(PING, 0, 0, bytes(8)) * (World.LIMIT_BYTES // PING_BYTES + 1))
        (event,) = talk.events
        assert isinstance(event, Failed)
        assert talk.goodbye() is ErrorCode.ENHANCE_YOUR_CALM
