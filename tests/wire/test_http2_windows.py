"""Bodies over HTTP/2, and the windows of both sides."""

from __future__ import annotations

from http2_talk import Frame, Http2Talk, sizes, window_update
from machine_talk import BODY, POST

from livepost.wire.flow import CONNECTION_WINDOW, UPLOAD_STEP_BYTES
from livepost.wire.frames import (
    END_STREAM,
    FRAME_BYTES,
    INITIAL_WINDOW_SIZE,
    PADDED,
    WINDOW_UPDATE,
    settings_frame,
)


def test_a_large_body_goes_as_the_windows_allow() -> None:
    body = bytes(range(256)) * 400
    talk = Http2Talk()
    talk.send(POST, body)
    frames = talk.take()
    assert sizes(frames) == [(1, 16_384)] * 3 + [(1, 16_383)]
    assert talk.machine.room == 99
    talk.receive(window_update(1, 10_000))
    assert talk.take() == []
    talk.receive(window_update(0, 9_000))
    frames += talk.take()
    talk.receive(window_update(0, 50_000))
    frames += talk.take()
    assert sizes(frames[5:]) == [(1, 9_000), (1, 1_000)]
    assert talk.machine.room == 99
    talk.receive(window_update(1, 50_000))
    frames += talk.take()
    assert sizes(frames[7:]) == [(1, 16_384), (1, 10_481)]
    assert b"".join(sent.payload for sent in frames[1:]) == body
    assert [sent.flags for sent in frames[1:]] == [0] * 7 + [END_STREAM]


def test_a_slow_stream_does_not_stall_the_others() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 1_000})
    talk.send(POST, b"x" * 5_000)
    for _ in range(5):
        talk.send()
    assert sizes(talk.take()) == [(1, 1_000), *[(number, len(BODY)) for number in (3, 5, 7, 9, 11)]]
    for _ in range(3):
        talk.send()
    assert sizes(talk.take()) == [(number, len(BODY)) for number in (13, 15, 17)]
    talk.receive(talk.ok(3, 5, 17) + window_update(1, 10_000))
    assert sizes(talk.take()) == [(1, 4_000)]
    assert talk.machine.open_exchanges == 6


def test_bodies_take_turns_and_come_in_steps() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 10_000_000})
    talk.receive(window_update(0, 10_000_000))
    for _ in range(2):
        talk.send(POST, b"x" * 1_000_000)
    first = talk.machine.take_output()
    assert UPLOAD_STEP_BYTES < len(first) < UPLOAD_STEP_BYTES + 1_000
    # What comes now does not wait for all of the two million bytes.
    talk.send()
    talk.output += first
    frames = talk.take()
    assert not talk.machine.take_output()
    assert [number for number, _ in sizes(frames)[:6]] == [1, 3, 5, 1, 3, 1]
    per_stream = {number: sum(size for one, size in sizes(frames) if one == number) for number in (1, 3, 5)}
    assert per_stream == {1: 1_000_000 - 131_072, 3: 1_000_000 - 131_072, 5: len(BODY)}


def test_a_changed_window_changes_the_streams_that_are_open() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 1_000})
    for _ in range(2):
        talk.send(POST, b"x" * 3_000)
    assert sizes(talk.take()) == [(1, 1_000), (3, 1_000)]
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 1_500}))
    assert sizes(talk.take()) == [(1, 500), (3, 500)]
    # Now it goes below zero: 100 bytes of the next 200 only make up for that.
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 1_400}))
    assert sizes(talk.take()) == []
    talk.receive(window_update(1, 200))
    assert sizes(talk.take()) == [(1, 100)]
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 65_535}))
    assert sizes(talk.take()) == [(3, 1_500), (1, 1_400)]


def test_a_window_that_shrinks_holds_for_requests_that_were_small_enough_before() -> None:
    talk = Http2Talk(POST, POST, POST, settings={INITIAL_WINDOW_SIZE: 100})
    talk.take()
    talk.receive(settings_frame({INITIAL_WINDOW_SIZE: 3}))
    talk.send()
    assert sizes(talk.take()) == [(7, 3)]


def test_the_connections_window_limits_small_requests_too() -> None:
    talk = Http2Talk(most_open=1_000)
    body = b"x" * 10_000
    while talk.machine.room:
        talk.send(POST, body)
        talk.take()
    # The seventh has not gone wholly, and with it wait eight.
    assert talk.machine.open_exchanges == 6 + 8
    rooms = [0]
    for increment in (4_465, 70_001):
        talk.receive(window_update(0, increment))
        rooms.append(talk.machine.room)
        if increment == 4_465:
            assert sizes(talk.take())[0] == (13, 4_465)
    assert rooms == [0, 0, 986]
    assert sizes(talk.take()) == [(number, 10_000) for number in range(15, 29, 2)]


def test_windows_that_we_give_are_made_full_in_large_steps() -> None:
    talk = Http2Talk(max_response_bytes=20_000_000)
    talk.send()
    talk.take()
    talk.receive(talk.head(1))
    received, piece = 0, talk.data(1, b"x" * FRAME_BYTES, 0)
    updates = []
    while received < 3 * CONNECTION_WINDOW // 2 - FRAME_BYTES:
        talk.receive(piece)
        received += FRAME_BYTES
        updates += talk.take()
        if len(updates) == 2:
            break
    half = CONNECTION_WINDOW // 2
    assert updates == [Frame(WINDOW_UPDATE, 0, 0, half.to_bytes(4, "big"))] * 2
    assert received == CONNECTION_WINDOW


def test_padding_is_given_back() -> None:
    talk = Http2Talk(POST)
    talk.take()
    talk.receive(talk.head(1))
    # A pad of 255 bytes and the byte that says so.
    piece = talk.data(1, b"\xff" + b"x" + bytes(255), PADDED)
    talk.receive(piece * 128)
    assert talk.take() == [(WINDOW_UPDATE, 0, 1, (128 * 256).to_bytes(4, "big"))]
    talk.receive(talk.data(1, b"", END_STREAM))
    assert talk.response().body == b"x" * 128
