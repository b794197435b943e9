"""A request that is late while nothing else is under way, and what is done with its connection then."""

from __future__ import annotations

import pytest
from http2_talk import Http2Talk
from net_line import Line, MakeLine, greeted

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.wire import places


def late_alone(make_line: MakeLine) -> Line:
    """The first of two takes 60 s, in which the second was answered: then nothing else is under way."""
    line = greeted(make_line, max_time=60.0)
    line.post(b"late")
    line.time.advance(50.0)
    line.post(b"2")
    line.serve(2)
    line.http2.unanswered.reverse()
    line.answer()
    line.time.advance(10.0)
    assert line.work.failures == [(b"late", Sent.ALL, "no answer within 60 s")]
    return line


def test_a_server_that_has_answered_meanwhile_is_asked_before_its_connection_is_used_again(
    make_line: MakeLine,
) -> None:
    line = late_alone(make_line)
    assert (line.connection.state, line.connection.room) == (ConnectionState.TESTING, 0)
    line.work.add(b"3")
    line.serve(3)
    assert (line.http2.reset, line.http2.bodies) == ([1], [b"late", b"2", b"3"])
    assert line.connection.state is ConnectionState.BUSY
    line.http2.unanswered[:] = [5]
    line.answer()
    assert line.closed == []


def test_with_nothing_to_do_it_is_idle_from_then_on(make_line: MakeLine) -> None:
    line = late_alone(make_line)
    line.time.advance(1.0)
    line.serve()
    assert line.connection.state is ConnectionState.IDLE
    assert line.connection.idle_since == line.time.now


def test_a_server_that_is_gone_meanwhile_is_given_nothing(make_line: MakeLine) -> None:
    line = late_alone(make_line)
    line.work.add(b"3")
    line.time.advance(4.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.reason is CloseReason.TIMEOUT
    assert line.work.waiting == 1


def test_a_server_that_owes_an_answer_to_a_ping_is_not_asked_again(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0)
    line.post(b"1")
    line.time.advance(10.0)
    line.post(b"2")
    # The first is late, which brings a PING.
    line.time.advance(50.0)
    line.post(b"3")
    line.say(Http2Talk().ok(5))
    line.time.advance(10.0)
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2"]
    assert line.reason is CloseReason.TIMEOUT


def test_one_whose_streams_are_all_taken_by_what_nobody_waits_for_ends(
    make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_ABANDONED_AT_MOST", 1)
    line = late_alone(make_line)
    for served in (4, 6, 8, 10):
        assert line.closed == []
        line.serve()
        line.post(b"late", b"2")
        line.serve(served)
        line.http2.unanswered[:] = [2 * served - 1, 2 * served - 3]
        line.answer()
        line.time.advance(60.0)
    # So many resets are borne; the fifth stream is left to the server.
    assert line.http2.reset == [1, 5, 9, 13]
    assert line.reason is CloseReason.EXHAUSTED
    assert len(line.work.failures) == 5


@pytest.mark.parametrize("is_later", [False, True])
def test_an_answer_tells_only_of_the_time_after_its_request(make_line: MakeLine, is_later: bool) -> None:
    line = greeted(make_line, max_time=60.0)
    bodies = [b"late", b"other"]
    if not is_later:
        bodies.reverse()
    for body in bodies:
        line.post(body)
    line.serve(2)
    line.http2.unanswered[:] = [3, 1] if is_later else [1, 3]
    line.answer()
    line.time.advance(60.0)
    assert [body for body, _, _ in line.work.failures] == [b"late"]
    assert line.connection.state is (ConnectionState.TESTING if is_later else ConnectionState.CLOSED)
    assert line.closed == ([] if is_later else [CloseReason.TIMEOUT])
