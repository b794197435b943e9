"""No more streams and no more requests than the server takes, whatever it says of that meanwhile."""

from __future__ import annotations

import pytest
from net_line import MakeLine, greeted, numbered
from server_ends import STREAMS, Http2End

from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.net.hand_over import HandOver
from livepost.wire.http2 import Http2Machine


def test_most_open_bounds_what_is_open(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), machine=Http2Machine(most_open=7))
    line.greet()
    line.post(*numbered(20))
    line.serve(7)
    assert (line.connection.capacity, line.work.waiting) == (7, 13)
    line.peer.reset()
    line.until_closed()
    assert len(line.work.failures) == 7


def test_fewer_streams(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(*numbered(10))
    line.serve(10)
    line.say(line.http2.change({STREAMS: 3}))
    assert (line.connection.capacity, line.connection.room, line.changed) == (3, 0, [3])
    line.post(b"11")
    line.answer(7)
    assert line.work.waiting == 1
    line.answer()
    assert line.work.waiting == 0


def test_more_streams_are_used_at_once(make_line: MakeLine) -> None:
    line = greeted(make_line, {STREAMS: 1})
    line.post(*numbered(5))
    line.serve(1)
    line.say(line.http2.change({STREAMS: 4}))
    line.serve(4)
    assert line.http2.bodies == numbered(4)
    assert line.changed == [4]


@pytest.mark.parametrize("has_answered", [True, False])
def test_streams_again_after_there_were_none(make_line: MakeLine, has_answered: bool) -> None:
    line = greeted(make_line)
    if has_answered:
        line.post(b"0")
        line.serve(1)
        line.answer()
    line.say(line.http2.change({STREAMS: 0}))
    line.serve()
    assert (line.connection.state, line.connection.spare) == (ConnectionState.IDLE, 0)
    line.work.add(b"1")
    line.say(line.http2.change({STREAMS: 1}))
    line.serve(1 + has_answered)
    # A new connection would be no better off where there were none from the beginning.
    assert line.changed == [0 if has_answered else 2**31, 1]


def test_never_any_room(make_line: MakeLine) -> None:
    line = make_line(end=Http2End({STREAMS: 0}), idle_conn_timeout=90.0)
    line.greet()
    line.time.advance(90.0)
    assert line.reason is CloseReason.TIMEOUT


def test_a_call_for_calm_on_a_stream_is_no_reason_for_another_connection(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(*numbered(20))
    line.serve(20)
    line.say(line.http2.refuse(0xB))
    assert line.connection.room == 0
    assert (line.connection.capacity, line.changed) == (100, [])


def test_when_the_connections_window_is_full_no_more_is_taken(make_line: MakeLine) -> None:
    line = greeted(make_line)
    end = line.http2
    end.open_no_more_window()
    body = b"x" * 10_000
    line.post(*[body] * 20)
    line.turn()
    # Twenty were taken at once; what comes later waits with the schedule, for this or another connection.
    assert (len(line.work.pulled), line.connection.room) == (20, 0)
    line.post(body)
    assert line.work.waiting == 1
    assert line.connection.capacity == 100
    line.serve()
    assert len(end.bodies) == 6
    end.connection.increment_flow_control_window(1_000_000)
    line.say(end.connection.data_to_send())
    line.serve(21)
    assert line.work.waiting == 0


def test_never_more_requests_than_the_server_takes(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.connection.follow(HandOver(requests=7, requests_limit=10))
    line.post(*numbered(15))
    line.serve(10)
    assert (line.connection.room, line.connection.requests_left, line.work.waiting) == (0, 0, 5)
    line.answer(9)
    assert line.work.waiting == 5
    line.say(line.http2.answer_and_announce_the_end())
    assert line.work.failures == []
    assert line.connection.requests_served == 10


def test_a_limit_that_turns_out_to_be_none(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.connection.follow(HandOver(requests=7, requests_limit=10))
    line.on_changed = lambda connection: (
        connection.follow(HandOver()) if connection.has_outlived_limit else None
    )
    line.post(*numbered(15))
    line.serve(10)
    line.answer(9)
    assert line.work.waiting == 5
    line.answer()
    line.serve(15)
    assert line.http2.bodies == numbered(15)
    assert line.connection.capacity == 100


def test_frames_are_answered_also_when_no_request_is_left(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.connection.follow(HandOver(requests=1, requests_limit=2))
    line.post(b"1", b"2")
    line.serve(2)
    line.http2.connection.ping(b"12345678")
    line.peer.send(line.http2.connection.data_to_send() + line.http2.answer())
    line.turn()
    assert b"12345678" in line.peer.read_some()
    line.connection.close(CloseReason.STOPPED)
