"""Many exchanges at a time on one connection."""

from __future__ import annotations

from collections.abc import Sequence

from http2_talk import window_update
from net_fakes import FakeWork, tcp_pair
from net_line import MakeLine, MakeTlsPair, greeted, numbered
from server_ends import WINDOW, Http2End

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.wire.machine import Event


def test_before_the_greeting_one_request_goes_and_not_its_body(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    line.post(*numbered(3))
    line.arrives_at_the_server()
    said = line.http2.receive(line.peer.read_some())
    assert (line.http2.begun, line.http2.bodies) == (1, [])
    assert line.work.waiting == 2
    # More than any limit: until it is known, it is taken to be enough.
    assert line.connection.capacity > 1_000_000
    line.say(said)
    line.serve(3)
    assert line.http2.bodies == numbered(3)
    assert line.changed == [100]


def test_as_many_go_at_once_as_the_server_takes(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(*numbered(150))
    assert len(line.work.pulled) == 100
    line.serve(100)
    assert line.http2.bodies == numbered(100)
    assert line.hungry == 0
    line.say(b"".join(line.http2.answer() for _ in range(100)))
    line.serve(150)
    # With fifty under way there is room for more.
    assert (line.hungry, line.connection.state) == (1, ConnectionState.BUSY)
    line.answer(50)
    assert (line.idled, line.connection.state) == (1, ConnectionState.IDLE)
    assert [exchange.request_on_connection for exchange in line.work.pulled] == list(range(1, 151))


def test_what_comes_later_goes_beside_what_is_under_way(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(b"1")
    line.post(b"2")
    line.serve(2)
    assert line.http2.begun == 2
    line.answer(2)
    assert [body for body, _ in line.work.answers] == [b"1", b"2"]


def test_a_slow_stream_does_not_hold_up_the_others(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000})
    line.http2.open_no_more_window()
    big = b"x" * 1500
    line.post(big, *numbered(3))
    line.serve(3)
    assert line.http2.bodies == numbered(3)
    del line.http2.unanswered[0]
    line.answer(3)
    assert [body for body, _ in line.work.answers] == numbered(3)
    line.say(window_update(1, 500))
    line.turn()
    assert line.connection.bytes_sent > 1500
    line.connection.close(CloseReason.STOPPED)
    assert line.work.failures == [(big, Sent.ALL, "the connection was closed (stopped)")]


def test_what_was_held_up_by_the_kernel_makes_room_when_it_has_gone(make_line: MakeLine) -> None:
    """The answers come while a frame waits to be written; nothing comes after that."""
    line = make_line(tcp_pair(8192), end=Http2End({WINDOW: 1 << 20}))
    line.greet()
    line.http2.connection.increment_flow_control_window(1 << 20)
    line.say(line.http2.connection.data_to_send())
    body = b"x" * 200_000
    line.post(body, *numbered(2))
    line.turn()
    line.work.add(b"later")
    # An answer to what the server has of the first; it needs no more of it.
    line.http2.receive(line.peer.read_some())
    line.peer.send(line.http2.answer(status=413))
    line.until(lambda: line.work.answers)
    line.serve(2)
    line.answer(2)
    line.serve(3)
    assert line.http2.bodies[-1] == b"later"


def test_a_whole_answer_ends_an_unfinished_request_and_not_the_connection(make_line: MakeLine) -> None:
    line = greeted(make_line, {WINDOW: 1000})
    line.http2.open_no_more_window()
    line.post(b"x" * 1500)
    line.serve()
    line.say(line.http2.answer(status=413))
    line.serve()
    assert line.response.status == 413
    assert line.http2.reset == [1]
    assert line.connection.state is ConnectionState.IDLE


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
        line.peer.send(line.http2.answer())
    line.until(lambda: len(line.work.answers) == 50)
    assert work.settled < 10
    assert line.connection.state is ConnectionState.IDLE


def test_a_large_answer_over_tls_is_read_in_steps(make_line: MakeLine, tls_pair: MakeTlsPair) -> None:
    line = make_line(tls_pair(), end=Http2End())
    line.greet()
    line.post(b"1")
    line.serve(1)
    line.say(line.http2.answer(b"x" * 60_000))
    assert len(line.response.body) == 60_000
