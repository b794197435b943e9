"""Connections that carry many exchanges, and end: by a goodbye, by a failure, or while offered work."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from net_fakes import FakeWork
from net_line import Line, MakeLine, MakeTlsPair, greeted, numbered
from server_ends import STREAMS, Http2End

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net import connection as connection_module
from livepost.net.connection_state import ConnectionState
from livepost.net.poller import READABLE
from livepost.net.tcp_info import Proof
from livepost.wire.frames import LARGEST_STREAM
from livepost.wire.machine import Event
from livepost.wire.message import Exchange


def test_what_a_goodbye_refuses_and_what_it_lets_go_on(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(*numbered(3))
    line.serve(3)
    line.say(line.http2.announce_the_end(LARGEST_STREAM))
    assert (line.connection.capacity, line.connection.room, line.changed) == (0, 0, [0])
    assert line.work.failures == []
    line.say(line.http2.announce_the_end(3))
    assert [(body, sent) for body, sent, _ in line.work.failures] == [(b"3", Sent.REFUSED)]
    assert line.connection.requests_served == 2
    line.answer()
    assert line.closed == []
    line.answer()
    assert line.reason is CloseReason.SERVER_ANNOUNCED


def test_a_goodbye_while_idle(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.say(line.http2.announce_the_end(0))
    assert line.reason is CloseReason.SERVER_IDLE


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_an_end_after_a_goodbye_was_announced(make_line: MakeLine, how: str) -> None:
    line = greeted(make_line)
    line.post(b"1", b"2")
    line.serve(2)
    line.say(line.http2.announce_the_end(1))
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
def test_why_the_server_says_goodbye(make_line: MakeLine, code: int, reason: CloseReason) -> None:
    line = greeted(make_line)
    line.post(b"1")
    line.serve(1)
    line.say(line.http2.announce_the_end(1, code))
    assert (line.connection.closing, line.changed) == (reason, [0])
    line.answer()
    assert line.reason is reason


def test_a_stream_that_is_refused_leaves_the_rest(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(b"1", b"2")
    line.serve(2)
    line.say(line.http2.refuse(0x7))
    assert line.failure == (b"1", Sent.REFUSED, "the server reset the stream (REFUSED_STREAM)")
    line.answer()
    assert line.closed == []


def test_one_that_is_too_old_ends_with_its_last_answer(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(b"1", b"2")
    line.serve(2)
    line.connection.drain()
    line.work.add(b"3")
    line.answer()
    assert line.closed == []
    line.answer()
    assert line.reason is CloseReason.TOO_OLD
    assert line.work.waiting == 1


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


def test_requests_that_cannot_be_written_were_not_sent(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(b"1")
    refuse_to_write(line)
    line.post(b"2", b"3")
    assert line.reason is CloseReason.RESET
    assert sorted((body, sent) for body, sent, _ in line.work.failures) == [
        *((b"1", Sent.ALL), (b"2", Sent.NOTHING), (b"3", Sent.NOTHING)),
    ]


def test_what_is_owed_to_the_server_and_cannot_be_written_ends_the_connection(make_line: MakeLine) -> None:
    line = greeted(make_line)
    line.post(b"1")
    refuse_to_write(line)
    line.http2.connection.ping(b"12345678")
    line.peer.send(line.http2.connection.data_to_send())
    line.until_closed()
    assert line.reason is CloseReason.RESET
    assert line.failure[:2] == (b"1", Sent.ALL)


@pytest.mark.parametrize("how", ["goodbye", "no goodbye", "reset"])
def test_an_end_right_behind_the_last_record(make_line: MakeLine, tls_pair: MakeTlsPair, how: str) -> None:
    """It is seen although nothing more comes that would wake anybody, and after what came before it."""
    line = make_line(tls_pair(), end=Http2End())
    line.greet()
    line.post(b"1", b"2")
    line.serve(2)
    line.peer.send(line.http2.answer())
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


class Other:
    """Another connection, with room for one."""

    descriptor = -1
    room = 1
    runs_dry = False

    def __init__(self) -> None:
        self.carried: list[Exchange] = []

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        raise AssertionError("nothing comes here")

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        self.carried += exchanges
        exchanges.clear()


def used_after_a_pause(line: Line) -> None:
    """One request was answered, and another is under way after a pause."""
    line.greet()
    line.post(b"0")
    line.serve(1)
    line.answer()
    line.time.advance(1.0)
    line.post(b"1")
    assert line.connection.state is ConnectionState.BUSY


def nothing_is_proved_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets on one machine are acknowledged at once."""
    monkeypatch.setattr(connection_module, "judge", lambda before, now: Proof.NOT_YET)


def test_a_connection_that_ends_while_it_is_offered_work_is_given_none(
    make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make_line(end=Http2End())
    used_after_a_pause(line)
    nothing_is_proved_yet(monkeypatch)
    line.finish_tcp()
    line.arrives()
    line.work.add(b"2", b"3")
    assert line.connection.wake(line.time.now)
    other = Other()
    line.poller.offer((line.connection, other))
    assert line.connection.state is ConnectionState.ENDING
    assert [exchange.body for exchange in other.carried] == [b"2"]
    assert (line.work.waiting, line.connection.requests, line.work.failures) == (1, 2, [])
    line.work.forget()
    line.connection.close(CloseReason.STOPPED)
    assert line.failure == (b"1", Sent.ALL, "the connection was closed (stopped)")
    # The other one's.
    line.work.pulled.remove(other.carried[0])


def test_work_for_a_connection_that_has_begun_to_drain_is_given_back(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    used_after_a_pause(line)
    line.connection.drain()
    line.work.add(b"2")
    exchanges = line.work.pull(1, line.time.now)
    line.connection.carry(exchanges, line.time.now)
    assert [exchange.body for exchange in exchanges] == [b"2"]
    assert line.connection.requests == 2
    line.work.pulled.remove(exchanges[0])


def test_a_connection_without_room_is_told_to_become_idle(make_line: MakeLine) -> None:
    line = make_line(end=Http2End())
    line.greet()
    line.post(b"1")
    line.serve(1)
    line.answer()
    line.say(line.http2.change({STREAMS: 0}))
    line.serve()
    idled = line.idled
    line.post(b"2")
    assert (line.connection.state, line.idled, line.work.waiting) == (ConnectionState.IDLE, idled + 1, 1)


def test_an_end_behind_a_record_writes_nothing_to_a_connection_that_is_given_up(
    make_line: MakeLine, tls_pair: MakeTlsPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PING before the end is owed an answer, and the kernel would not take it."""
    line = make_line(tls_pair(), end=Http2End(), work=FakeWork())
    used_after_a_pause(line)
    nothing_is_proved_yet(monkeypatch)
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data)
        raise ssl.SSLWantWriteError

    line.connection._write = write  # type: ignore[assignment]
    line.http2.connection.ping(b"12345678")
    line.peer.send(line.http2.connection.data_to_send())
    line.finish_tcp()
    line.arrives()
    # The kernel was asked before the end came.
    assert not line.connection.take_in(READABLE, [], line.time.now)
    assert line.connection.state is ConnectionState.ENDING
    assert written == []
    line.connection.close(CloseReason.STOPPED)
    assert [body for body, _, _ in line.work.failures] == [b"1"]


@pytest.mark.parametrize("drains", [True, False])
def test_a_goodbye_to_what_is_under_way_is_no_idle_close(make_line: MakeLine, drains: bool) -> None:
    line = make_line(end=Http2End())
    line.greet()
    line.post(b"1")
    line.serve(1)
    if drains:
        line.connection.drain()
    line.say(line.http2.answer_and_announce_the_end())
    assert line.response.status == 201
    assert line.reason is CloseReason.SERVER_ANNOUNCED


def test_an_end_alone_that_a_goodbye_announces_is_looked_at_once(
    make_line: MakeLine, tls_pair: MakeTlsPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make_line(tls_pair(), end=Http2End(), work=FakeWork())
    used_after_a_pause(line)
    nothing_is_proved_yet(monkeypatch)
    line.peer.sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError, OSError):
        line.peer.sock.unwrap()  # type: ignore[attr-defined]
    line.finish_tcp()
    line.arrives()
    assert not line.connection.take_in(READABLE, [], line.time.now)
    assert line.connection.state is ConnectionState.ENDING
    line.connection.close(CloseReason.STOPPED)
