"""Each exchange has its deadline, and one that is late is cancelled alone."""

from __future__ import annotations

import dataclasses

from http2_talk import window_update
from net_fakes import HEAD
from net_line import MakeLine, greeted, numbered
from server_ends import STREAMS, WINDOW, Http2End

from livepost.events import CloseReason
from livepost.model import Sent


def test_an_exchange_that_takes_too_long_is_cancelled_alone(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0)
    line.post(b"1")
    line.time.advance(20.0)
    line.post(b"2")
    line.time.advance(39.9)
    assert line.work.failures == []
    line.time.advance(0.1)
    line.serve(2)
    assert line.failure == (b"1", Sent.ALL, "no answer within 60 s")
    assert line.work.causes == [CloseReason.TIMEOUT]
    assert line.http2.reset == [1]
    assert line.closed == []
    line.time.advance(19.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2"]
    assert line.reason is CloseReason.TIMEOUT


def test_the_place_of_a_cancelled_exchange_is_given_away_once_the_server_shows_that_it_lives(
    make_line: MakeLine,
) -> None:
    line = greeted(make_line, {STREAMS: 2}, max_time=60.0)
    line.post(b"1")
    line.time.advance(20.0)
    line.post(b"2", b"3")
    assert line.work.waiting == 1
    line.time.advance(40.0)
    assert (line.connection.room, line.connection.capacity, line.work.waiting) == (0, 2, 1)
    line.serve(3)
    assert line.http2.bodies == numbered(3)
    assert line.http2.reset == [1]


def test_streams_are_given_up_without_a_reset_where_that_would_look_like_an_attack(
    make_line: MakeLine,
) -> None:
    """Two resets, and one more for every four requests: the rest keep their places."""
    line = greeted(make_line, {STREAMS: 10}, max_time=60.0)
    line.post(*numbered(9))
    line.time.advance(20.0)
    line.post(b"10")
    line.time.advance(40.0)
    line.serve(10)
    assert len(line.work.failures) == 9
    assert line.http2.reset == [1, 3, 5, 7]
    assert (line.connection.capacity, line.connection.room) == (5, 4)
    assert line.changed == [5]
    # An answer that nobody waits for frees the place.
    line.http2.unanswered[:] = [9, 11, 13, 15, 17, 19]
    line.say(line.http2.answer())
    assert (line.connection.capacity, line.work.answers) == (6, [])


def test_a_server_that_does_not_greet_gets_the_body_at_last(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), expect_continue_timeout=1.0, max_time=60.0)
    line.post(b"1", b"2")
    line.time.advance(1.0)
    line.arrives_at_the_server()
    line.http2.receive(line.peer.read_some())
    assert line.http2.bodies == [b"1"]
    line.time.advance(59.0)
    assert line.failure == (b"1", Sent.ALL, "no answer within 60 s")
    assert line.reason is CloseReason.TIMEOUT


def test_a_head_may_be_late_on_one_stream_alone(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0, response_header_timeout=5.0)
    line.post(b"1", b"2", b"3")
    line.serve(3)
    line.say(line.http2.begin(2))
    line.time.advance(2.0)
    line.post(b"4")
    line.time.advance(3.0)
    assert [(body, why) for body, _, why in line.work.failures] == [
        (b"2", "no answer within 5 s"),
        (b"3", "no answer within 5 s"),
    ]
    line.time.advance(2.0)
    assert [body for body, _, _ in line.work.failures] == [b"2", b"3", b"4"]
    line.say(line.http2.go_on(b"ok", is_last=True))
    assert [body for body, _ in line.work.answers] == [b"1"]


def test_the_wait_for_a_head_begins_for_each_when_it_is_written(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000}, max_time=60.0, response_header_timeout=5.0)
    line.http2.open_no_more_window()
    big = b"x" * 1500
    line.post(big)
    line.time.advance(20.0)
    line.post(b"small")
    line.time.advance(4.0)
    line.say(window_update(1, 500))
    line.time.advance(1.0)
    assert line.work.failures == [(b"small", Sent.ALL, "no answer within 5 s")]
    line.time.advance(3.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.work.failures[1] == (big, Sent.ALL, "no answer within 29 s")


def test_a_body_that_is_released_postpones_no_other_deadline(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), max_time=60.0, response_header_timeout=10.0, expect_continue_timeout=1.0)
    line.greet()
    line.post(b"A")
    line.time.advance(1.0)
    line.post(b"B")
    line.time.advance(8.5)
    line.work._head = dataclasses.replace(HEAD, expect_continue=True)
    line.post(b"E")
    ends: list[tuple[bytes, float]] = []
    for _ in range(60):
        line.time.advance(0.25)
        ends += [(body, line.time.now - 1000.0) for body, _, _ in line.work.failures[len(ends) :]]
    # A at 0, B at 1; E at 9.5, whose body was written at 10.5.
    assert ends == [(b"A", 10.0), (b"B", 11.0), (b"E", 20.5)]
    assert {sent for _, sent, _ in line.work.failures} == {Sent.ALL}
    assert len(line.closed) == 1
