"""What holds for a connection whichever protocol is spoken on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from net_fakes import BIG, EXPECTING, HEAD, ClosingWork, FakeWork, Peer, tcp_pair
from net_line import Line, MakeLine, MakeTlsPair, pair, plain_and_tls, see
from server_ends import ENDS, Http2End, ServerEnd

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.net.hand_over import HandOver
from livepost.wire.machine import Stage
from livepost.wire.message import Response

MakeEitherLine = Callable[..., Line]


@pytest.fixture(params=list(ENDS))
def make_either(request: pytest.FixtureRequest, make_line: MakeLine) -> MakeEitherLine:
    """Makes a line on which either is spoken, and greets."""

    def make(*arguments: Any, **options: Any) -> Line:
        line = make_line(*arguments, end=ENDS[request.param](), **options)
        line.greet()
        line.hungry = line.idled = 0
        return line

    return make


@pytest.fixture
def line(make_either: MakeEitherLine) -> Line:
    return make_either()


def end_of(line: Line) -> ServerEnd:
    assert line.end is not None
    return line.end


def stages(line: Line) -> list[Stage]:
    return [stage for _, stage in line.machine.waiting()]


@plain_and_tls
def test_an_exchange(make_either: MakeEitherLine, tls_pair: MakeTlsPair, kind: str) -> None:
    line = make_either(pair(kind, tls_pair))
    states = [line.connection.state]
    line.post(b'{"name": "John"}')
    states.append(line.connection.state)
    line.serve(1)
    assert end_of(line).bodies == [b'{"name": "John"}']
    line.answer()
    assert line.work.answers == [(b'{"name": "John"}', Response(201, ((b"content-length", b"2"),), b"ok"))]
    assert [*states, line.connection.state] == [
        ConnectionState.IDLE,
        ConnectionState.BUSY,
        ConnectionState.IDLE,
    ]
    assert line.idled == 1
    line.connection.close(CloseReason.FINISHED)
    (closed,) = line.observer.closed
    assert (closed.number, closed.reason, closed.requests) == (7, CloseReason.FINISHED, 1)
    assert closed.http_version is line.machine.http_version
    assert closed.bytes_sent == line.connection.bytes_sent


def test_an_exchange_byte_by_byte(line: Line) -> None:
    line.post(b"1")
    line.serve(1)
    for byte in end_of(line).answer(b"x" * 300):
        line.say(bytes([byte]))
    assert line.response.body == b"x" * 300


def test_what_an_exchange_is_told_of_its_way(line: Line) -> None:
    for body in (b"1", b"2"):
        line.post(body)
        line.serve()
        line.answer()
    first, second = line.work.pulled
    assert line.work.causes == [None, None]
    assert (first.connection, first.request_on_connection) == (7, 1)
    assert (second.connection, second.request_on_connection) == (7, 2)
    line.work.put_back(first)
    line.offer()
    assert (first.connection, first.request_on_connection) == (7, 3)


def test_the_next_request_is_written_in_the_turn_in_which_an_answer_is_read(line: Line) -> None:
    line.post(*[b"%d" % number for number in range(101)])
    most = len(line.work.pulled)
    assert most == (100 if line.machine.is_multiplexed else 1)
    line.serve(most)
    line.peer.send(end_of(line).answer())
    line.until(lambda: line.work.answers)
    assert line.peer.has_some()
    line.serve(most + 1)
    assert end_of(line).bodies[-1] == b"%d" % most
    assert line.hungry == 0


def test_without_work_an_offer_leaves_it_idle(line: Line) -> None:
    line.offer()
    assert line.connection.state is ConnectionState.IDLE
    assert line.idled == 1
    assert line.peer.has_nothing()


@plain_and_tls
@pytest.mark.parametrize("seen_by", ["loop", "offer"])
def test_the_server_closes_while_idle(
    make_either: MakeEitherLine, tls_pair: MakeTlsPair, kind: str, seen_by: str
) -> None:
    line = make_either(pair(kind, tls_pair))
    line.post(b"1")
    line.serve()
    line.answer()
    sent = line.connection.bytes_sent
    if kind == "tls":
        line.peer.say_goodbye()
    line.finish_tcp()
    see(line, seen_by)
    assert line.reason is CloseReason.SERVER_IDLE
    # Not a byte of the request was written, nor was it taken from the schedule.
    assert line.work.waiting == (1 if seen_by == "offer" else 0)
    assert len(line.work.pulled) == 1
    assert line.observer.closed[0].bytes_sent == sent


@pytest.mark.parametrize("seen_by", ["loop", "offer"])
def test_a_reset_while_idle(line: Line, seen_by: str) -> None:
    line.peer.reset()
    see(line, seen_by)
    assert line.reason is CloseReason.RESET
    assert line.work.pulled == []


@plain_and_tls
def test_a_big_request_to_a_slow_reader(
    make_either: MakeEitherLine, tls_pair: MakeTlsPair, kind: str
) -> None:
    line = make_either(pair(kind, tls_pair, 8192))
    line.post(BIG, b"next")
    line.turn()
    assert 0 <= line.connection.bytes_sent < len(BIG) / 2
    line.serve(1 + line.machine.is_multiplexed)
    assert BIG in end_of(line).bodies
    line.answer()
    line.serve(2)
    line.answer()
    assert sorted(end_of(line).bodies) == sorted([BIG, b"next"])
    # A writer left registered would spin.
    assert not line.loop.remove_writer(line.ours.fileno())
    assert line.connection.state is ConnectionState.IDLE


@plain_and_tls
def test_a_big_answer(make_either: MakeEitherLine, tls_pair: MakeTlsPair, kind: str) -> None:
    """Over TLS it comes in many records, and no byte may be left in OpenSSL when the last has come."""
    line = make_either(pair(kind, tls_pair))
    line.post(b"1")
    line.serve()
    line.say(end_of(line).answer(BIG[:250_000]))
    assert line.response.body == BIG[:250_000]
    assert line.connection.state is ConnectionState.IDLE


def test_an_end_instead_of_an_answer(line: Line) -> None:
    line.post(b"0")
    line.serve()
    line.answer()
    line.work.forget()
    line.post(b"1")
    line.serve()
    line.peer.finish()
    line.until_closed()
    assert line.failure == (b"1", Sent.ALL, "the server closed the connection")
    assert line.reason is CloseReason.SERVER_CLOSED


def test_a_reset_instead_of_an_answer(line: Line) -> None:
    line.post(b"1")
    line.serve()
    line.peer.reset()
    line.until_closed()
    assert line.failure == (b"1", Sent.ALL, "connection reset by peer")
    assert line.reason is CloseReason.RESET


def test_an_end_in_the_body_of_an_answer(line: Line) -> None:
    line.post(b"1")
    line.serve()
    line.say(end_of(line).begin(9) + end_of(line).go_on(b"half", is_last=False))
    line.peer.finish()
    line.until_closed()
    assert (line.response.status, line.response.body, line.response.complete) == (201, b"half", False)
    assert line.reason is CloseReason.SERVER_CLOSED


@pytest.mark.parametrize("how", [Peer.finish, Peer.reset])
def test_an_end_while_writing(make_either: MakeEitherLine, how: Callable[[Peer], None]) -> None:
    line = make_either(tcp_pair(8192))
    line.post(BIG)
    how(line.peer)
    line.until_closed()
    assert line.failure[:2] == (BIG, Sent.SOME)
    assert line.reason in (CloseReason.SERVER_CLOSED, CloseReason.RESET)


def test_an_answer_that_breaks_the_protocol(line: Line) -> None:
    line.post(b"1")
    line.serve()
    line.say(end_of(line).nonsense())
    assert line.failure[:2] == (b"1", Sent.ALL)
    assert line.reason is CloseReason.PROTOCOL_ERROR
    if isinstance(line.end, Http2End):
        line.end.receive(line.peer.read_rest())
        # FRAME_SIZE_ERROR: a PING of one byte.
        assert line.end.goodbye == 6


def test_no_answer_within_max_time(make_either: MakeEitherLine) -> None:
    line = make_either(max_time=60.0)
    line.post(b"0")
    line.serve()
    line.answer()
    line.work.forget()
    # Less than after which it would be asked whether it is there.
    line.time.advance(3.0)
    line.post(b"1")
    line.time.advance(59.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (b"1", Sent.ALL, "no answer within 60 s")
    assert line.reason is CloseReason.TIMEOUT
    assert line.work.causes == [None, CloseReason.TIMEOUT]


def test_half_an_answer_within_max_time(make_either: MakeEitherLine) -> None:
    line = make_either(max_time=60.0)
    line.post(b"1")
    line.serve()
    line.say(end_of(line).begin(5) + end_of(line).go_on(b"slow", is_last=False))
    line.time.advance(60.0)
    assert line.reason is CloseReason.TIMEOUT
    # What is known of the answer is kept.
    assert (line.response.status, line.response.complete) == (201, False)


@pytest.mark.parametrize("limits", [{"max_time": 60.0}, {"max_time": None, "response_header_timeout": 60.0}])
def test_each_exchange_has_its_own_time(make_either: MakeEitherLine, limits: dict[str, float | None]) -> None:
    line = make_either(**limits)
    line.post(b"1")
    line.serve()
    line.time.advance(50.0)
    line.work.add(b"2")
    line.answer()
    line.work.forget()
    line.time.advance(59.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (b"2", Sent.ALL, "no answer within 60 s")


def test_no_limits_at_all(make_either: MakeEitherLine) -> None:
    line = make_either(max_time=None, idle_conn_timeout=None)
    line.post(b"1")
    line.serve()
    line.answer()
    line.time.advance(3.0)
    line.post(b"2")
    line.time.advance(1e6)
    assert line.closed == []
    assert line.time.pending == []


def test_the_head_of_an_answer_comes_too_late(make_either: MakeEitherLine) -> None:
    line = make_either(max_time=60.0, response_header_timeout=5.0)
    line.post(b"1")
    line.serve()
    # Drop by drop is late, too.
    for byte in end_of(line).begin(5)[:4]:
        line.time.advance(1.0)
        line.say(bytes([byte]))
    line.time.advance(0.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (b"1", Sent.ALL, "no answer within 5 s")
    assert line.reason is CloseReason.TIMEOUT


def test_a_body_may_take_longer_than_the_head(make_either: MakeEitherLine) -> None:
    line = make_either(max_time=60.0, response_header_timeout=5.0)
    line.post(b"1")
    line.serve()
    line.say(end_of(line).begin(4))
    line.time.advance(50.0)
    line.say(end_of(line).go_on(b"late", is_last=True))
    assert line.response.body == b"late"


def test_the_wait_for_a_head_begins_when_the_request_is_written(make_either: MakeEitherLine) -> None:
    line = make_either(tcp_pair(8192), max_time=60.0, response_header_timeout=5.0)
    line.post(BIG)
    line.turn()
    line.time.advance(30.0)
    line.serve(1)
    line.time.advance(4.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (BIG, Sent.ALL, "no answer within 35 s")


def test_max_time_includes_writing(make_either: MakeEitherLine) -> None:
    line = make_either(tcp_pair(8192), max_time=60.0, response_header_timeout=5.0)
    line.post(BIG)
    line.turn()
    line.time.advance(59.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (BIG, Sent.SOME, "no answer within 60 s")


def test_idle_for_too_long(make_either: MakeEitherLine) -> None:
    line = make_either(idle_conn_timeout=90.0)
    line.time.advance(3.0)
    line.post(b"1")
    line.serve()
    line.answer()
    line.time.advance(89.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.reason is CloseReason.IDLE_TIMEOUT
    rest = line.peer.read_rest()
    if isinstance(line.end, Http2End):
        line.end.receive(rest)
        assert line.end.goodbye == 0
    else:
        assert rest == b""


def test_what_has_waited_for_work_for_long_still_has_time_for_its_answer(
    make_either: MakeEitherLine,
) -> None:
    """The deadline of before is of no account for what came after it."""
    line = make_either(max_time=10.0, idle_conn_timeout=None)
    for second in range(1, 40):
        line.post(b"%d" % second)
        line.serve()
        line.answer()
        line.time.advance(1.0)
    line.work.forget()
    line.post(b"late")
    line.time.advance(9.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (b"late", Sent.ALL, "no answer within 10 s")


def expecting(make_either: MakeEitherLine, **timeouts: float) -> Line:
    line = make_either(work=FakeWork(head=EXPECTING), **timeouts)
    line.post(b"body")
    line.serve()
    assert (end_of(line).begun, end_of(line).bodies) == (1, [])
    return line


def test_the_body_follows_when_the_server_says_continue(make_either: MakeEitherLine) -> None:
    line = expecting(make_either)
    line.say(end_of(line).say_continue())
    line.serve(1)
    assert end_of(line).bodies == [b"body"]
    line.answer()
    assert line.connection.state is ConnectionState.IDLE


def test_the_body_follows_when_the_server_says_nothing(make_either: MakeEitherLine) -> None:
    line = expecting(make_either, expect_continue_timeout=1.0, max_time=60.0)
    line.time.advance(0.9)
    line.serve()
    assert end_of(line).bodies == []
    line.time.advance(0.1)
    line.serve(1)
    assert end_of(line).bodies == [b"body"]
    line.time.advance(58.9)
    assert line.closed == []
    line.time.advance(0.1)
    assert line.failure == (b"body", Sent.ALL, "no answer within 60 s")


def test_max_time_is_shorter_than_the_wait_for_continue(make_either: MakeEitherLine) -> None:
    line = expecting(make_either, expect_continue_timeout=5.0, max_time=2.0)
    line.time.advance(2.0)
    assert line.failure == (b"body", Sent.REFUSED, "no answer within 2 s")


def test_the_connection_ends_before_the_body(make_either: MakeEitherLine) -> None:
    line = expecting(make_either)
    line.peer.finish()
    line.until_closed()
    assert line.failure == (b"body", Sent.REFUSED, "the server closed the connection")


def test_keep_alive_switched_off(make_either: MakeEitherLine) -> None:
    line = make_either(work=FakeWork(head=dataclasses.replace(HEAD, close=True)))
    line.post(b"1")
    line.serve(1)
    assert (line.connection.capacity, line.connection.room) == (1, 0)
    line.work.add(b"2")
    line.answer()
    assert line.reason is CloseReason.KEEPALIVE_OFF
    assert line.work.waiting == 1


def test_the_server_announces_the_end(line: Line) -> None:
    line.post(b"1")
    line.serve()
    line.work.add(b"2")
    line.say(end_of(line).answer_and_announce_the_end())
    assert line.reason is CloseReason.SERVER_ANNOUNCED
    assert line.response.status == 201
    assert line.work.waiting == 1
    assert line.connection.requests_served == 1


@plain_and_tls
@pytest.mark.parametrize("state", ["idle", "busy", "writing"])
def test_closing_in_every_state(
    make_either: MakeEitherLine, tls_pair: MakeTlsPair, kind: str, state: str
) -> None:
    line = make_either(pair(kind, tls_pair, 8192))
    if state != "idle":
        body = b"1" if state == "busy" else BIG
        line.post(body)
        line.turn()
    line.connection.close(CloseReason.STOPPED)
    line.connection.close(CloseReason.FINISHED)
    assert line.reason is CloseReason.STOPPED
    assert [why for _, _, why in line.work.failures] == ["the connection was closed (stopped)"] * (
        state != "idle"
    )
    # Nothing happens to it any more.
    line.time.advance(1000.0)
    line.turn()
    assert line.closed == [CloseReason.STOPPED]


def test_a_closed_connection_cannot_be_woken(line: Line) -> None:
    line.connection.close(CloseReason.STOPPED)
    with pytest.raises(
        RuntimeError,
        match=r"connection 7 cannot go from ConnectionState\.CLOSED to ConnectionState\.BUSY",
    ):
        line.connection.wake(line.time.now)
    assert (line.connection.room, line.connection.spare) == (0, 0)


@pytest.mark.parametrize("when", ["pull", "answered"])
def test_closed_in_the_middle_of_things(
    make_either: MakeEitherLine, crashes: list[dict[str, Any]], when: str
) -> None:
    work = ClosingWork(when)
    line = make_either(work=work)
    work.close = lambda: line.connection.close(CloseReason.STOPPED)
    line.post(b"1")
    if when == "answered":
        line.serve()
        line.peer.send(end_of(line).answer())
        line.until_closed()
    assert crashes == []
    assert line.reason is CloseReason.STOPPED
    if when == "pull":
        assert line.failure == (b"1", Sent.NOTHING, "the connection was closed")
    else:
        assert line.response.status == 201
    line.time.advance(1000.0)
    assert len(line.closed) == 1


def test_worn_when_the_server_takes_few_more(line: Line) -> None:
    """By requests, as planned."""
    worn_at, capacity = (700, 100) if line.machine.http_version is HttpVersion.HTTP_2 else (980, 1)
    line.connection.follow(HandOver(requests=worn_at, requests_limit=1000))
    line.changed.clear()
    for number in range(1, 1001):
        line.post(b"%d" % number)
        line.serve()
        assert line.connection.is_worn is (number >= worn_at)
        assert line.connection.capacity == (0 if number >= worn_at else capacity)
        assert line.connection.requests_left == 1000 - number
        line.say(end_of(line).answer() if number < 1000 else end_of(line).answer_and_announce_the_end())
    assert line.changed[0] == 0
    assert line.reason is CloseReason.SERVER_ANNOUNCED
    assert line.connection.requests_served == 1000
