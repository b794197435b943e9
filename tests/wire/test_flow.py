"""Windows and turns; how they look from outside is in the tests of the machine."""

from __future__ import annotations

import pytest
from machine_talk import POST

from livepost.wire.flow import CONNECTION_WINDOW, UPLOAD_STEP_BYTES, Intake, Output, Uploads
from livepost.wire.frames import LARGEST_WINDOW, ConnectionFault, ErrorCode
from livepost.wire.message import Exchange
from livepost.wire.stream import UNFINISHED, Stream


def stream(size: int) -> Stream:
    return Stream(Exchange(POST, b""), 0, UNFINISHED, unsent=memoryview(bytes(size)))


def filled(uploads: Uploads) -> list[tuple[int, int]]:
    """Stream and size of each frame of one step."""
    output = Output()
    uploads.fill(output)
    heads = [bytes(part) for part in output.parts[::2]]
    assert output.end == len(output.take())
    return [(int.from_bytes(head[5:9], "big"), int.from_bytes(head[:3], "big")) for head in heads]


def test_bodies_take_turns_until_one_is_over() -> None:
    uploads = Uploads()
    for number, size in ((1, 40_000), (3, 10), (5, 17_000)):
        uploads.add(number, stream(size), is_held=False)
    assert uploads.is_ready
    assert filled(uploads) == [(1, 16_384), (3, 10), (5, 16_384), (1, 16_384), (5, 616), (1, 7_232)]
    assert (uploads.window, uploads.is_ready) == (65_535 - 57_010, False)
    assert filled(uploads) == []


def test_a_step_is_bounded_and_the_next_goes_on() -> None:
    uploads = Uploads()
    uploads.window = uploads.initial_window = 1_000_000
    uploads.add(1, stream(UPLOAD_STEP_BYTES + 1), is_held=False)
    assert sum(size for _, size in filled(uploads)) == UPLOAD_STEP_BYTES
    assert uploads.is_ready
    assert filled(uploads) == [(1, 1)]
    assert not uploads.is_ready


def test_a_body_that_is_held_takes_no_turn() -> None:
    uploads = Uploads()
    uploads.add(1, stream(10), is_held=True)
    assert (uploads.is_ready, list(uploads.held)) == (False, [1])
    uploads.release(1)
    uploads.release(3)
    assert (uploads.is_ready, list(uploads.held)) == (True, [])
    assert filled(uploads) == [(1, 10)]


def test_a_body_that_is_not_wanted_takes_no_turn() -> None:
    uploads = Uploads()
    uploads.add(1, stream(10), is_held=True)
    uploads.add(3, stream(10), is_held=False)
    for number in (1, 3, 5):
        uploads.drop(number)
    assert (filled(uploads), list(uploads.held)) == ([], [])


def test_a_window_that_is_used_up_stops_all_and_one_of_a_stream_only_that() -> None:
    uploads = Uploads()
    uploads.set_initial_window(100)
    streams = {number: stream(150) for number in (1, 3)}
    for number, one in streams.items():
        uploads.add(number, one, is_held=False)
    assert filled(uploads) == [(1, 100), (3, 100)]
    assert uploads.takes_now(100)
    assert not uploads.takes_now(101)
    assert uploads.widen_stream(streams[3], 20)
    assert not uploads.takes_now(1)
    assert filled(uploads) == [(3, 20)]
    uploads.window = 10
    uploads.set_initial_window(130)
    assert filled(uploads) == [(1, 10)]
    assert uploads.window == 0
    uploads.widen(15)
    assert sum(size for _, size in filled(uploads)) == 15


def test_eight_that_wait_for_the_connections_window_are_enough() -> None:
    uploads = Uploads()
    for number in range(7):
        uploads.add(number, stream(10_000), is_held=False)
    assert not uploads.is_blocked()
    uploads.add(7, stream(10_000), is_held=False)
    assert uploads.is_blocked()
    uploads.widen(14_466)
    assert not uploads.is_blocked()
    # Those that wait for their own windows do not count.
    uploads.window = 100
    uploads.set_initial_window(10)
    assert not uploads.is_blocked()


def test_windows_have_a_largest_size() -> None:
    uploads = Uploads()
    one = stream(10)
    uploads.add(1, one, is_held=True)
    uploads.widen(LARGEST_WINDOW - 65_535)
    assert uploads.widen_stream(one, LARGEST_WINDOW - 65_535)
    assert not uploads.widen_stream(one, 1)
    for action, value in ((uploads.widen, 1), (uploads.set_initial_window, 65_536)):
        with pytest.raises(ConnectionFault) as caught:
            action(value)
        assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_what_is_output_is_taken_once_or_dropped() -> None:
    output = Output()
    output.add_within_limit(b"abc")
    output.add_within_limit(b"de")
    assert (output.end, output.taken) == (5, 0)
    assert output.take() == b"abcde"
    assert (output.end, output.taken) == (5, 5)
    output.add_within_limit(b"f")
    output.drop()
    assert (output.end, output.taken, output.take()) == (5, 5, b"")


def test_answers_that_nobody_reads_are_bounded() -> None:
    output = Output()
    for _ in range(2):
        for _ in range(65_536 // 16):
            output.add_within_limit(bytes(16))
        output.take()
    output.add_within_limit(bytes(65_536))
    with pytest.raises(ConnectionFault) as caught:
        output.add_within_limit(b"x")
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_the_window_we_give_is_made_full_when_half_is_gone() -> None:
    intake, output = Intake(), Output()
    assert Intake.opening()[9:] == (CONNECTION_WINDOW - 65_535).to_bytes(4, "big")
    half = CONNECTION_WINDOW // 2
    intake.use(half - 1, output)
    assert output.take() == b""
    intake.use(3, output)
    assert output.take()[9:] == (half + 2).to_bytes(4, "big")
    intake.use(half - 1, output)
    with pytest.raises(ConnectionFault) as caught:
        intake.use(half + 2, output)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR
