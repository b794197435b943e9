"""Whether the server is still there: asked by a PING, after a pause or when exchanges were cancelled."""

from __future__ import annotations

from typing import Any

from http2_talk import Http2Talk, read_frames, window_update
from net_fakes import ClosingWork
from net_line import Line, MakeLine, greeted
from server_ends import STREAMS

from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.wire.frames import PING


def idle(make_line: MakeLine, seconds: float, **timeouts: Any) -> Line:
    line = greeted(make_line, **timeouts)
    line.post(b"0")
    line.serve(1)
    line.answer()
    line.work.forget()
    line.time.advance(seconds)
    return line


def ask(line: Line, *bodies: bytes) -> None:
    """Work arrives, and the pool does not trust the connection any more."""
    line.work.add(*bodies)
    line.connection.ping(line.time.now)


def test_asked_whether_it_is_there_it_takes_work_when_it_has_said_so(make_line: MakeLine) -> None:
    line = idle(make_line, 4.1)
    ask(line, b"1")
    assert (line.connection.state, line.work.waiting) == (ConnectionState.TESTING, 1)
    assert (line.connection.room, line.connection.spare) == (0, 100)
    # The PING reaches the server, and its answer brings the work.
    line.serve(2)
    assert line.http2.bodies == [b"0", b"1"]
    assert line.connection.state is ConnectionState.BUSY
    # Its time to answer the PING is not that of the request.
    line.time.advance(50.0)
    assert line.closed == []
    line.answer()


def test_without_a_request_in_between_it_is_asked_once_in_thirty_seconds_at_most(
    make_line: MakeLine,
) -> None:
    line = idle(make_line, 10.0, idle_conn_timeout=None)
    asked = []
    for second in range(0, 100, 10):
        if line.connection.can_ping(line.time.now):
            ask(line)
            asked.append(second)
        line.serve()
        assert line.connection.state is ConnectionState.IDLE
        line.time.advance(10.0)
    assert asked == [0, 30, 60, 90]


def test_once_a_request_was_sent_it_may_be_asked_again(make_line: MakeLine) -> None:
    line = idle(make_line, 10.0)
    ask(line)
    line.serve()
    assert not line.connection.can_ping(line.time.now)
    line.post(b"1")
    line.serve(2)
    line.answer()
    assert line.connection.can_ping(line.time.now)


def test_a_connection_that_is_gone_without_a_word_loses_no_record(make_line: MakeLine) -> None:
    line = idle(make_line, 60.0)
    ask(line, b"1")
    line.time.advance(4.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.reason is CloseReason.TIMEOUT
    assert line.work.waiting == 1
    assert line.work.failures == []


def test_a_goodbye_instead_of_an_answer_to_that(make_line: MakeLine) -> None:
    line = idle(make_line, 60.0)
    ask(line, b"1")
    line.say(line.http2.announce_the_end(1))
    assert line.reason is CloseReason.SERVER_IDLE
    assert line.work.waiting == 1


def test_there_but_without_room(make_line: MakeLine) -> None:
    line = idle(make_line, 60.0)
    ask(line, b"1")
    line.say(line.http2.change({STREAMS: 0}))
    line.serve()
    assert line.connection.room == 0
    line.time.advance(20.0)
    assert line.closed == []
    line.say(line.http2.change({STREAMS: 5}))
    line.serve(2)
    assert line.http2.bodies == [b"0", b"1"]


def test_a_test_that_the_socket_refuses_ends_the_connection(make_line: MakeLine) -> None:
    line = idle(make_line, 60.0)
    line.peer.reset()
    line.arrives()
    ask(line, b"1")
    assert line.closed == [CloseReason.RESET]
    assert line.work.waiting == 1


def test_the_servers_own_pings_are_answered_whatever_it_is_doing(make_line: MakeLine) -> None:
    line = greeted(make_line, {STREAMS: 1}, idle_conn_timeout=90.0)
    acknowledged = []
    for when in ("idle", "full"):
        line.http2.connection.ping(b"12345678")
        line.peer.send(line.http2.connection.data_to_send())
        line.turn()
        acknowledged.append(bytes.fromhex("000008060100000000") + b"12345678" in line.peer.read_some())
        if when == "idle":
            line.time.advance(60.0)
            line.post(b"1")
            line.serve(1)
    assert acknowledged == [True, True]
    line.connection.close(CloseReason.STOPPED)


def test_a_servers_ping_does_not_keep_an_idle_connection(make_line: MakeLine) -> None:
    line = greeted(make_line, idle_conn_timeout=90.0)
    line.time.advance(80.0)
    line.http2.connection.ping(b"12345678")
    line.say(line.http2.connection.data_to_send())
    line.time.advance(10.0)
    assert line.reason is CloseReason.IDLE_TIMEOUT


def pings(line: Line) -> int:
    """How many are among what the server did not read yet; it reads that, and says nothing."""
    line.turn()
    return sum(sent.kind == PING for sent in read_frames(line.peer.read_some()))


def late_ones(make_line: MakeLine, *waits: float, **timeouts: Any) -> Line:
    """One exchange after another, each so long after the one before; the first is overdue at 60 s."""
    line = greeted(make_line, {STREAMS: 100}, max_time=60.0, **timeouts)
    line.post(b"1")
    for number, wait in enumerate(waits, 2):
        line.time.advance(wait)
        line.post(b"%d" % number)
    line.time.advance(60.0 - sum(waits))
    return line


def test_a_server_that_says_nothing_after_a_cancel_is_sent_nothing_more(make_line: MakeLine) -> None:
    line = late_ones(make_line, 20.0)
    assert [body for body, _, _ in line.work.failures] == [b"1"]
    assert pings(line) == 1
    assert (line.connection.room, line.connection.capacity) == (98, 100)
    line.time.advance(4.9)
    assert (line.connection.closing, line.changed) == (None, [])
    line.time.advance(0.1)
    assert (line.connection.closing, line.changed) == (CloseReason.TIMEOUT, [0])
    line.post(b"3")
    assert line.work.waiting == 1
    # What is open may be answered all the same.
    line.say(Http2Talk().ok(3))
    assert [body for body, _ in line.work.answers] == [b"2"]
    assert line.reason is CloseReason.TIMEOUT


def test_a_server_that_is_gone_ends_with_what_was_open_last(make_line: MakeLine) -> None:
    line = late_ones(make_line, 20.0, 1.0)
    line.time.advance(5.0)
    assert line.connection.closing is CloseReason.TIMEOUT
    line.time.advance(15.9)
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2"]
    assert line.closed == []
    line.time.advance(0.1)
    assert line.reason is CloseReason.TIMEOUT
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2", b"3"]
    assert pings(line) == 1


def test_whatever_is_read_after_a_cancel_shows_that_the_server_lives(make_line: MakeLine) -> None:
    line = late_ones(make_line, 20.0)
    line.say(window_update(0, 1))
    assert line.connection.room == 99
    line.time.advance(19.9)
    assert line.connection.closing is None
    line.post(b"3")
    assert len(line.work.pulled) == 3


def test_each_cancel_gives_the_server_its_time_anew(make_line: MakeLine) -> None:
    line = late_ones(make_line, 4.0, 30.0)
    line.say(window_update(0, 1))
    # The first PING was not answered, but that it lives was shown.
    line.time.advance(4.0)
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2"]
    line.time.advance(4.9)
    assert line.connection.closing is None
    line.time.advance(0.1)
    assert line.connection.closing is CloseReason.TIMEOUT


def test_cancels_bring_one_ping_in_thirty_seconds_at_most(make_line: MakeLine) -> None:
    line = late_ones(make_line, 10.0, 40.0)
    line.serve(3)
    line.time.advance(10.0)
    assert [body for body, _, _ in line.work.failures] == [b"1", b"2"]
    assert (pings(line), line.connection.room) == (0, 98)
    # Nothing shows that it lives, and it may be asked again.
    line.time.advance(19.9)
    assert pings(line) == 0
    line.time.advance(0.1)
    assert pings(line) == 1
    assert line.connection.closing is None
    line.time.advance(5.0)
    assert line.connection.closing is CloseReason.TIMEOUT


def test_a_connection_that_is_to_end_is_not_asked_when_exchanges_are_cancelled(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0)
    line.post(b"1")
    line.time.advance(20.0)
    line.post(b"2")
    line.connection.drain()
    line.time.advance(40.0)
    assert [body for body, _, _ in line.work.failures] == [b"1"]
    assert pings(line) == 0


def test_a_cancel_that_the_socket_refuses_ends_the_connection(make_line: MakeLine) -> None:
    line = late_ones(make_line, 10.0, 40.0)
    line.serve(3)
    line.time.advance(10.0)
    line.peer.reset()
    line.arrives()
    line.time.advance(20.0)
    assert line.closed == [CloseReason.RESET]
    assert len(line.work.failures) == 3


def test_whoever_hears_of_a_cancel_may_close_the_connection(make_line: MakeLine) -> None:
    work = ClosingWork("failed")
    line = greeted(make_line, max_time=60.0, work=work)
    work.close = lambda: line.connection.close(CloseReason.STOPPED)
    line.post(b"1")
    line.time.advance(20.0)
    line.post(b"2")
    line.time.advance(40.0)
    assert [(body, why) for body, _, why in line.work.failures] == [
        (b"1", "no answer within 60 s"),
        (b"2", "the connection was closed (stopped)"),
    ]
    assert line.reason is CloseReason.STOPPED
    assert pings(line) == 0
