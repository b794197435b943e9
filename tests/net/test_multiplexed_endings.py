"""Connections that carry many exchanges, and end while they are offered work, or take something in."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from h2.settings import SettingCodes
from net_fakes import FakeWork
from net_line import Line, MakeLine, MakeTlsPair
from server_ends import Http2End

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net import connection as connection_module
from livepost.net.connection_state import ConnectionState
from livepost.net.poller import READABLE
from livepost.net.tcp_info import Proof
from livepost.wire.machine import Event
from livepost.wire.message import Exchange

STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS


def end_of(line: Line) -> Http2End:
    assert isinstance(line.end, Http2End)
    return line.end


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
    line.say(end_of(line).change({STREAMS: 0}))
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
    end_of(line).connection.ping(b"12345678")
    line.peer.send(end_of(line).connection.data_to_send())
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
    line.say(end_of(line).answer_and_announce_the_end())
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
