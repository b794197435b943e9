from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from h2.settings import SettingCodes
from http2_talk import Http2Talk, frame, goaway, read_frames, rst_stream, window_update
from net_fakes import FakeWork, tcp_pair
from net_line import Line, MakeLine, MakeTlsPair
from server_ends import Http2End

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.net.hand_over import HandOver
from livepost.wire.frames import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PUSH_PROMISE,
    SETTINGS,
    ErrorCode,
    frame_head,
)
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Event
from livepost.wire.message import Exchange

STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
LARGEST_STREAM = 2**31 - 1


def end_of(line: Line) -> Http2End:
    assert isinstance(line.end, Http2End)
    return line.end


def greeted(make_line: MakeLine, settings: dict[SettingCodes, int] | None = None, **timeouts: Any) -> Line:
    line = make_line(end=Http2End(settings), **timeouts)
    line.greet()
    line.hungry = line.idled = 0
    line.changed.clear()
    return line


@pytest.fixture
def line(make_line: MakeLine) -> Line:
    return greeted(make_line)


def state(line: Line) -> ConnectionState:
    return line.connection.state


def numbered(count: int, start: int = 1) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


# Before the server has greeted.


def test_before_the_greeting_one_request_goes_and_not_its_body(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    line.post(*numbered(3))
    line.arrives_at_the_server()
    said = end_of(line).receive(line.peer.read_some())
    assert (end_of(line).begun, end_of(line).bodies) == (1, [])
    assert line.work.waiting == 2
    # More than any limit: until it is known, it is taken to be enough.
    assert line.connection.capacity > 1_000_000
    line.say(said)
    line.serve(3)
    assert end_of(line).bodies == numbered(3)
    assert line.changed == [100]


def test_a_server_that_speaks_http_1_1_was_given_nothing(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    line.post(b"1")
    line.say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    assert line.failure == (b"1", Sent.REFUSED, "the server speaks HTTP/1.1, not HTTP/2")
    assert line.reason is CloseReason.HTTP_1_1_REQUIRED


def test_a_server_that_does_not_greet_gets_the_body_at_last(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), expect_continue_timeout=1.0, max_time=60.0)
    line.post(b"1", b"2")
    line.time.advance(1.0)
    line.arrives_at_the_server()
    end_of(line).receive(line.peer.read_some())
    assert end_of(line).bodies == [b"1"]
    line.time.advance(59.0)
    assert line.failure == (b"1", Sent.ALL, "no answer within 60 s")
    assert line.reason is CloseReason.TIMEOUT


# Many at a time.


def test_as_many_go_at_once_as_the_server_takes(line: Line) -> None:
    line.post(*numbered(150))
    assert len(line.work.pulled) == 100
    line.serve(100)
    assert end_of(line).bodies == numbered(100)
    assert line.hungry == 0
    line.say(b"".join(end_of(line).answer() for _ in range(100)))
    line.serve(150)
    # With fifty under way there is room for more.
    assert line.hungry == 1
    assert state(line) is ConnectionState.BUSY
    line.answer(50)
    assert state(line) is ConnectionState.IDLE
    assert line.idled == 1
    assert [exchange.request_on_connection for exchange in line.work.pulled] == list(range(1, 151))


def test_what_comes_later_goes_beside_what_is_under_way(line: Line) -> None:
    line.post(b"1")
    line.post(b"2")
    line.serve(2)
    assert end_of(line).begun == 2
    line.answer(2)
    assert [body for body, _ in line.work.answers] == [b"1", b"2"]


def test_a_slow_stream_does_not_hold_up_the_others(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000})
    end_of(line).connection.acknowledge_received_data = lambda *arguments: None  # type: ignore[method-assign]
    big = b"x" * 1500
    line.post(big, *numbered(3))
    line.serve(3)
    assert end_of(line).bodies == numbered(3)
    del end_of(line).unanswered[0]
    line.answer(3)
    assert [body for body, _ in line.work.answers] == numbered(3)
    line.say(bytes((0, 0, 4, 8, 0, 0, 0, 0, 1)) + (500).to_bytes(4, "big"))
    line.turn()
    assert line.connection.bytes_sent > 1500
    line.connection.close(CloseReason.STOPPED)
    assert line.work.failures == [(big, Sent.ALL, "the connection was closed (stopped)")]


def test_when_the_connections_window_is_full_no_more_is_taken(line: Line) -> None:
    end = end_of(line)
    end.connection.acknowledge_received_data = lambda *arguments: None  # type: ignore[method-assign]
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


def test_what_was_held_up_by_the_kernel_makes_room_when_it_has_gone(make_line: MakeLine) -> None:
    """The answers come while a frame waits to be written; nothing comes after that."""
    line = make_line(tcp_pair(8192), end=Http2End({WINDOW: 1 << 20}))
    line.greet()
    end_of(line).connection.increment_flow_control_window(1 << 20)
    line.say(end_of(line).connection.data_to_send())
    body = b"x" * 200_000
    line.post(body, *numbered(2))
    line.turn()
    line.work.add(b"later")
    # An answer to what the server has of the first; it needs no more of it.
    end_of(line).receive(line.peer.read_some())
    line.peer.send(end_of(line).answer(status=413))
    line.until(lambda: line.work.answers)
    line.serve(2)
    line.answer(2)
    line.serve(3)
    assert end_of(line).bodies[-1] == b"later"


# Deadlines.


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
    assert end_of(line).reset == [1]
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
    assert end_of(line).bodies == numbered(3)
    assert end_of(line).reset == [1]


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
    assert end_of(line).reset == [1, 3, 5, 7]
    assert (line.connection.capacity, line.connection.room) == (5, 4)
    assert line.changed == [5]
    # An answer that nobody waits for frees the place.
    end_of(line).unanswered[:] = [9, 11, 13, 15, 17, 19]
    line.say(end_of(line).answer())
    assert (line.connection.capacity, line.work.answers) == (6, [])


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


def test_a_server_that_reads_nothing_does_not_fill_the_memory(make_line: MakeLine) -> None:
    """Its answers come all the same, and make room; and there is always work."""
    machine = Http2Machine(most_open=1 << 31)
    line = make_line(tcp_pair(8192), end=Http2End({WINDOW: 1 << 20}), machine=machine)
    line.greet()
    line.say(window_update(0, 1 << 30))
    talk = Http2Talk()
    largest = offered = 0
    for number in range(1, 200, 2):
        line.work.add(*[b"x" * 16_000] * 10)
        if line.hungry > offered:
            # As the pool does.
            offered = line.hungry
            line.offer()
        assert line.connection._unsent is not None
        largest = max(largest, len(line.connection._unsent) + machine._output.end - machine._output.taken)
        if number < 20:
            line.say(talk.ok(number))
    assert (len(line.work.pulled), len(line.work.answers), line.work.waiting) == (10, 10, 990)
    assert largest < 170_000
    # Once it reads, as many more go as it takes at a time.
    while len(line.work.pulled) < 110:
        line.peer.read_some()
        line.turn()
    line.connection.close(CloseReason.STOPPED)


def test_a_head_may_be_late_on_one_stream_alone(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0, response_header_timeout=5.0)
    line.post(b"1", b"2", b"3")
    line.serve(3)
    line.say(end_of(line).begin(2))
    line.time.advance(2.0)
    line.post(b"4")
    line.time.advance(3.0)
    assert [(body, why) for body, _, why in line.work.failures] == [
        (b"2", "no answer within 5 s"),
        (b"3", "no answer within 5 s"),
    ]
    line.time.advance(2.0)
    assert [body for body, _, _ in line.work.failures] == [b"2", b"3", b"4"]
    line.say(end_of(line).go_on(b"ok", is_last=True))
    assert [body for body, _ in line.work.answers] == [b"1"]


def test_the_wait_for_a_head_begins_for_each_when_it_is_written(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000}, max_time=60.0, response_header_timeout=5.0)
    end_of(line).connection.acknowledge_received_data = lambda *arguments: None  # type: ignore[method-assign]
    big = b"x" * 1500
    line.post(big)
    line.time.advance(20.0)
    line.post(b"small")
    line.time.advance(4.0)
    line.say(bytes((0, 0, 4, 8, 0, 0, 0, 0, 1)) + (500).to_bytes(4, "big"))
    line.time.advance(1.0)
    assert line.work.failures == [(b"small", Sent.ALL, "no answer within 5 s")]
    line.time.advance(3.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.work.failures[1] == (big, Sent.ALL, "no answer within 29 s")


class StoppingWork(FakeWork):
    """Whoever hears of a failure stops the run."""

    def failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None:
        super().failed(exchange, sent, reason, now)
        self.stop()

    def stop(self) -> None:
        raise NotImplementedError


def test_whoever_hears_of_a_cancel_may_close_the_connection(make_line: MakeLine) -> None:
    work = StoppingWork()
    line = greeted(make_line, max_time=60.0, work=work)
    work.stop = lambda: line.connection.close(CloseReason.STOPPED)  # type: ignore[method-assign]
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


def refuse_to_write(line: Line) -> None:
    """The kernel knows that the connection is broken, but not yet when it is asked."""

    def write(data: bytes | memoryview) -> int:
        raise ConnectionResetError(104, "Connection reset by peer")

    line.connection._write = write


def test_a_reset_of_a_stream_that_cannot_be_written_ends_the_connection(make_line: MakeLine) -> None:
    line = greeted(make_line, max_time=60.0)
    line.post(b"1")
    line.time.advance(20.0)
    line.post(b"2")
    refuse_to_write(line)
    line.time.advance(40.0)
    assert line.reason is CloseReason.RESET
    assert [(body, sent) for body, sent, _ in line.work.failures] == [(b"1", Sent.ALL), (b"2", Sent.ALL)]


def test_requests_that_cannot_be_written_were_not_sent(line: Line) -> None:
    line.post(b"1")
    refuse_to_write(line)
    line.post(b"2", b"3")
    assert line.reason is CloseReason.RESET
    assert sorted((body, sent) for body, sent, _ in line.work.failures) == [
        *((b"1", Sent.ALL), (b"2", Sent.NOTHING), (b"3", Sent.NOTHING)),
    ]


def test_what_is_owed_to_the_server_and_cannot_be_written_ends_the_connection(line: Line) -> None:
    line.post(b"1")
    refuse_to_write(line)
    end_of(line).connection.ping(b"12345678")
    line.peer.send(end_of(line).connection.data_to_send())
    line.until_closed()
    assert line.reason is CloseReason.RESET
    assert line.failure[:2] == (b"1", Sent.ALL)


def test_one_that_is_too_old_ends_with_its_last_answer(line: Line) -> None:
    line.post(b"1", b"2")
    line.serve(2)
    line.connection.drain()
    line.work.add(b"3")
    line.answer()
    assert line.closed == []
    line.answer()
    assert line.reason is CloseReason.TOO_OLD
    assert line.work.waiting == 1


# A server that breaks the protocol.


HOSTILE = {
    "a frame that is too large": (frame_head(DATA, 16_385, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    "an answer on a stream that nobody opened": (frame(HEADERS, 5, 99, b"\x88"), ErrorCode.PROTOCOL_ERROR),
    "a second answer on a stream": (frame(HEADERS, 5, 1, b"\x88") * 2, ErrorCode.STREAM_CLOSED),
    "a window that overflows": (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "a head without an end": (
        frame(HEADERS, 0, 3, b"\x88") + frame(CONTINUATION, 0, 3) * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "settings without an end": (frame(SETTINGS, 0, 0) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "pings without an end": (frame(PING, 0, 0, bytes(8)) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "goodbyes without an end": (goaway(LARGEST_STREAM) * 10_001, ErrorCode.ENHANCE_YOUR_CALM),
    "resets without an end": (
        frame(HEADERS, 5, 1, b"\x88") + rst_stream(1, 0) * 10_001,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a table larger than agreed": (frame(HEADERS, 5, 3, b"\x3f\xe2\x1f\x88"), ErrorCode.COMPRESSION_ERROR),
    "a push": (frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_server_that_breaks_the_protocol_is_told_why_and_no_record_is_lost(
    make_line: MakeLine, tls_pair: MakeTlsPair, what: str, is_secure: bool
) -> None:
    line = make_line(tls_pair() if is_secure else tcp_pair(), end=Http2End())
    line.greet()
    line.post(*numbered(5))
    line.serve(5)
    said, code = HOSTILE[what]
    heard = b""
    for start in range(0, len(said), 20_000):
        line.say(said[start : start + 20_000])
        while line.peer.has_some():
            heard += line.peer.read_some()
    assert len(line.closed) == 1
    answered, failed = line.work.answers, line.work.failures
    assert sorted([body for body, _ in answered] + [body for body, _, _ in failed]) == numbered(5)
    assert {sent for _, sent, _ in failed} == {Sent.ALL}
    assert line.reason is (
        CloseReason.SERVER_ANNOUNCED if what.startswith("goodbyes") else CloseReason.PROTOCOL_ERROR
    )
    *_, last = read_frames(heard)
    assert (last.kind, last.payload[4:8]) == (GOAWAY, code.to_bytes(4, "big"))


# Whether it is still there.


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
    assert state(line) is ConnectionState.TESTING
    assert (line.connection.room, line.connection.spare, line.work.waiting) == (0, 100, 1)
    # The PING reaches the server, and its answer brings the work.
    line.serve(2)
    assert end_of(line).bodies == [b"0", b"1"]
    assert state(line) is ConnectionState.BUSY
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
        assert state(line) is ConnectionState.IDLE
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
    line.say(end_of(line).announce_the_end(1))
    assert line.reason is CloseReason.SERVER_IDLE
    assert line.work.waiting == 1


def test_there_but_without_room(make_line: MakeLine) -> None:
    line = idle(make_line, 60.0)
    ask(line, b"1")
    line.say(end_of(line).change({STREAMS: 0}))
    line.serve()
    assert line.connection.room == 0
    line.time.advance(20.0)
    assert line.closed == []
    line.say(end_of(line).change({STREAMS: 5}))
    line.serve(2)
    assert end_of(line).bodies == [b"0", b"1"]


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
        end_of(line).connection.ping(b"12345678")
        line.peer.send(end_of(line).connection.data_to_send())
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
    end_of(line).connection.ping(b"12345678")
    line.say(end_of(line).connection.data_to_send())
    line.time.advance(10.0)
    assert line.reason is CloseReason.IDLE_TIMEOUT


# What the server changes its mind about.


def test_fewer_streams(line: Line) -> None:
    line.post(*numbered(10))
    line.serve(10)
    line.say(end_of(line).change({STREAMS: 3}))
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
    line.say(end_of(line).change({STREAMS: 4}))
    line.serve(4)
    assert end_of(line).bodies == numbered(4)
    assert line.changed == [4]


@pytest.mark.parametrize("has_answered", [True, False])
def test_streams_again_after_there_were_none(line: Line, has_answered: bool) -> None:
    if has_answered:
        line.post(b"0")
        line.serve(1)
        line.answer()
    line.say(end_of(line).change({STREAMS: 0}))
    line.serve()
    assert (state(line), line.connection.spare) == (ConnectionState.IDLE, 0)
    line.work.add(b"1")
    line.say(end_of(line).change({STREAMS: 1}))
    line.serve(1 + has_answered)
    # A new connection would be no better off where there were none from the beginning.
    assert line.changed == [0 if has_answered else 2**31, 1]


def test_never_any_room(make_line: MakeLine) -> None:
    line = make_line(end=Http2End({STREAMS: 0}), idle_conn_timeout=90.0)
    line.greet()
    line.time.advance(90.0)
    assert line.reason is CloseReason.TIMEOUT


def test_what_a_goodbye_refuses_and_what_it_lets_go_on(line: Line) -> None:
    line.post(*numbered(3))
    line.serve(3)
    line.say(end_of(line).announce_the_end(LARGEST_STREAM))
    assert (line.connection.capacity, line.connection.room, line.changed) == (0, 0, [0])
    assert line.work.failures == []
    line.say(end_of(line).announce_the_end(3))
    assert [(body, sent) for body, sent, _ in line.work.failures] == [(b"3", Sent.REFUSED)]
    assert line.connection.requests_served == 2
    line.answer()
    assert line.closed == []
    line.answer()
    assert line.reason is CloseReason.SERVER_ANNOUNCED


def test_a_goodbye_while_idle(line: Line) -> None:
    line.say(end_of(line).announce_the_end(0))
    assert line.reason is CloseReason.SERVER_IDLE


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_an_end_after_a_goodbye_was_announced(line: Line, how: str) -> None:
    line.post(b"1", b"2")
    line.serve(2)
    line.say(end_of(line).announce_the_end(1))
    getattr(line.peer, how)()
    line.until_closed()
    assert line.reason is CloseReason.SERVER_ANNOUNCED
    assert [(body, sent) for body, sent, _ in line.work.failures] == [
        (b"2", Sent.REFUSED),
        (b"1", Sent.ALL),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0xB, CloseReason.ENHANCE_YOUR_CALM),
        (0xD, CloseReason.HTTP_1_1_REQUIRED),
        (0x1, CloseReason.SERVER_ERROR),
    ],
)
def test_why_the_server_says_goodbye(line: Line, code: int, reason: CloseReason) -> None:
    line.post(b"1")
    line.serve(1)
    line.say(end_of(line).announce_the_end(1, code))
    assert (line.connection.closing, line.changed) == (reason, [0])
    line.answer()
    assert line.reason is reason


def test_a_stream_that_is_refused_leaves_the_rest(line: Line) -> None:
    line.post(b"1", b"2")
    line.serve(2)
    line.say(end_of(line).refuse(0x7))
    assert line.failure == (b"1", Sent.REFUSED, "the server reset the stream (REFUSED_STREAM)")
    line.answer()
    assert line.closed == []


def test_a_call_for_calm_on_a_stream_is_no_reason_for_another_connection(line: Line) -> None:
    line.post(*numbered(20))
    line.serve(20)
    line.say(end_of(line).refuse(0xB))
    assert line.connection.room == 0
    assert (line.connection.capacity, line.changed) == (100, [])


# The server's limit of requests.


def test_never_more_requests_than_the_server_takes(line: Line) -> None:
    line.connection.follow(HandOver(requests=7, requests_limit=10))
    line.post(*numbered(15))
    line.serve(10)
    assert (line.connection.room, line.connection.left, line.work.waiting) == (0, 0, 5)
    line.answer(9)
    assert line.work.waiting == 5
    line.say(end_of(line).answer_and_announce_the_end())
    assert line.work.failures == []
    assert line.connection.requests_served == 10


def test_a_limit_that_turns_out_to_be_none(line: Line) -> None:
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
    assert end_of(line).bodies == numbered(15)
    assert line.connection.capacity == 100


def test_frames_are_answered_also_when_no_request_is_left(line: Line) -> None:
    line.connection.follow(HandOver(requests=1, requests_limit=2))
    line.post(b"1", b"2")
    line.serve(2)
    end_of(line).connection.ping(b"12345678")
    line.peer.send(end_of(line).connection.data_to_send() + end_of(line).answer())
    line.turn()
    assert b"12345678" in line.peer.read_some()
    line.connection.close(CloseReason.STOPPED)


def test_a_whole_answer_ends_an_unfinished_request_and_not_the_connection(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000})
    end_of(line).connection.acknowledge_received_data = lambda *arguments: None  # type: ignore[method-assign]
    line.post(b"x" * 1500)
    line.serve()
    line.say(end_of(line).answer(status=413))
    line.serve()
    assert line.response.status == 413
    assert end_of(line).reset == [1]
    assert state(line) is ConnectionState.IDLE


def test_most_open_bounds_what_is_open(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), machine=Http2Machine(most_open=7))
    line.greet()
    line.post(*numbered(20))
    line.serve(7)
    assert (line.connection.capacity, line.work.waiting) == (7, 13)
    line.peer.reset()
    line.until_closed()
    assert len(line.work.failures) == 7


# Over TLS.


class CountingWork(FakeWork):
    settled = 0

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        self.settled += 1
        super().settle(events, now, cause)


def test_many_tls_records_are_read_in_one_round(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    work = CountingWork()
    line = make_line(tls_pair(), end=Http2End(), work=work)
    line.greet()
    line.post(*numbered(50))
    line.serve(50)
    for _ in range(50):
        # A record for each answer, as many servers do, or more.
        line.peer.send(end_of(line).answer())
    line.until(lambda: len(line.work.answers) == 50)
    assert work.settled < 10
    assert state(line) is ConnectionState.IDLE


@pytest.mark.parametrize("how", ["goodbye", "no goodbye", "reset"])
def test_an_end_right_behind_the_last_record(make_line: MakeLine, tls_pair: MakeTlsPair, how: str) -> None:
    """It is seen although nothing more comes that would wake anybody, and after what came before it."""
    line = make_line(tls_pair(), end=Http2End())
    line.greet()
    line.post(b"1", b"2")
    line.serve(2)
    line.peer.send(end_of(line).answer())
    if how == "goodbye":
        line.peer.say_goodbye()
    elif how == "no goodbye":
        line.finish_tcp()
    else:
        line.peer.reset()
    line.until_closed()
    assert line.reason in (CloseReason.SERVER_CLOSED, CloseReason.RESET)
    if how != "reset":
        # Linux throws away what was not read when a reset comes.
        assert [body for body, _ in line.work.answers] == [b"1"]
        assert [(body, sent) for body, sent, _ in line.work.failures] == [(b"2", Sent.ALL)]


def test_a_large_answer_over_tls_is_read_in_steps(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    line = make_line(tls_pair(), end=Http2End())
    line.greet()
    line.post(b"1")
    line.serve(1)
    line.say(end_of(line).answer(b"x" * 60_000))
    assert len(line.response.body) == 60_000
