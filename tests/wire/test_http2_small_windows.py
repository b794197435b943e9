"""Servers that widen their windows in small steps: those that read, and those that mean harm."""

from __future__ import annotations

import pytest
from http2_talk import Http2Talk, frame, window_update
from machine_talk import POST

from livepost.events import CloseReason
from livepost.wire.frames import DATA, END_STREAM, INITIAL_WINDOW_SIZE, SETTINGS, ErrorCode, settings_frame
from livepost.wire.machine import Answered
from livepost.wire.patience import BODY_BYTES_PER_FRAME, IDLE_FRAMES_LIMIT

MIB = 1024 * 1024


def upload(talk: Http2Talk, step: int) -> int:
    """The server widens both windows by each step that it reads, as Go's does; how many frames that takes."""
    updates = 0
    while talk.machine.open_exchanges:
        said = []
        for data in talk.take():
            if data.kind == DATA:
                left = len(data.payload)
                while left:
                    read = min(step, left)
                    left -= read
                    said += [window_update(0, read), window_update(data.stream_id, read)]
                if data.flags & END_STREAM:
                    said.append(talk.ok(data.stream_id))
        assert said
        updates += len(said)
        talk.receive(b"".join(said))
        talk.output = b""
    return updates


def write(talk: Http2Talk) -> None:
    """Without keeping it."""
    while talk.machine.take_output():
        pass


@pytest.mark.parametrize(
    ("bodies", "body_bytes", "step"),
    [(2, 16 * MIB, 4096), (1, 100 * MIB, 16_384), (1, 4 * MIB, 256), (64, 300_000, 512)],
)
def test_large_bodies_may_flow_in_small_steps(bodies: int, body_bytes: int, step: int) -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 65_535})
    body = b"x" * body_bytes
    for _ in range(bodies):
        talk.send(POST, body)
    assert upload(talk, step) >= min(10_000, 2 * bodies * body_bytes // step)
    assert talk.machine.closing is None
    assert [isinstance(event, Answered) for event in talk.events] == [True] * bodies


def test_windows_may_be_widened_long_after_the_bodies_have_gone() -> None:
    """All of sixty-four bodies, while their streams are open, and there are no others."""
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: MIB})
    talk.receive(window_update(0, 64 * MIB))
    body = b"x" * MIB
    for _ in range(64):
        talk.send(POST, body)
    write(talk)
    for _ in range(64 * MIB // 4096):
        talk.receive(window_update(0, 4096) + window_update(1, 4096))
    assert talk.machine.closing is None
    assert talk.machine.open_exchanges == 64


@pytest.mark.parametrize("frees_bytes", [True, False])
def test_a_window_that_grows_by_single_bytes_is_given_up(frees_bytes: bool) -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 0})
    talk.send(POST, b"x" * 1_000_000)
    talk.take()
    updates = 0
    while talk.machine.closing is None:
        updates += 1
        talk.receive(window_update(int(frees_bytes), 1))
        frames = [] if talk.machine.closing else talk.take()
        assert [len(frame.payload) for frame in frames] == [1] * (frees_bytes and len(frames))
        assert updates <= IDLE_FRAMES_LIMIT * BODY_BYTES_PER_FRAME // (BODY_BYTES_PER_FRAME - 1) + 1
    assert updates > IDLE_FRAMES_LIMIT
    assert talk.goodbye(CloseReason.PROTOCOL_ERROR) is ErrorCode.ENHANCE_YOUR_CALM
    assert len(talk.events) == 1


def test_what_bodies_make_up_for_is_bounded() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 1 << 30})
    talk.receive(window_update(0, 1 << 30))
    talk.send(POST, b"x" * (100 * MIB))
    write(talk)
    widening = window_update(1, 1) * 1_000
    frames = 0
    while talk.machine.closing is None:
        frames += 1_000
        talk.receive(widening)
    assert 100_000 < frames < 120_000


def test_settings_in_one_frame_count_as_many() -> None:
    """Each walks through all bodies that wait."""
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10})
    for _ in range(100):
        talk.send(POST, b"x" * 1_000)
    talk.take()
    windows = [
        INITIAL_WINDOW_SIZE.to_bytes(2, "big") + (number % 2).to_bytes(4, "big") for number in range(2_500)
    ]
    flood = frame(SETTINGS, 0, 0, b"".join(windows))
    for _ in range(IDLE_FRAMES_LIMIT // 2_500):
        talk.receive(flood)
    assert talk.machine.closing is None
    talk.receive(settings_frame({}))
    assert talk.goodbye(CloseReason.PROTOCOL_ERROR) is ErrorCode.ENHANCE_YOUR_CALM
    assert len(talk.events) == 100
