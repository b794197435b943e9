from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from net_fakes import ANSWER, ManualTime, Peer, tcp_pair, turn_until
from pool_scene import Scene

from livepost.config import Limits
from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.dial import Dialed
from livepost.net.fact import Fact, Source, Subject
from livepost.net.frugality import PATIENCE_SECONDS
from livepost.net.knowledge import KeepAlive, Knowledge
from livepost.net.liveness import Liveness
from livepost.wire.message import RequestHead

HEALTH = RequestHead(method=b"GET", target=b"/health", authority=b"localhost", scheme=b"http", fields=())
ASKED = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
ANSWER_AND_CLOSE = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

MakeScene = Callable[..., Scene]


def liveness(idle_limit: float | None = None, **options: Any) -> Liveness:
    """With a limit that an earlier run has learned."""
    facts = {} if idle_limit is None else {Subject.IDLE_LIMIT: Fact(idle_limit, Source.REMEMBERED, 0.0)}
    return Liveness(lambda: 0.0, facts, uniform=lambda a, b: (a + b) / 2, **options)


def named(idle_limit: int) -> Liveness:
    """With a limit that the server names."""
    known = liveness()
    known.hint(((b"keep-alive", b"timeout=%d" % idle_limit),), 1)
    return known


@pytest.fixture
def make_scene(loop: asyncio.AbstractEventLoop, manual_time: ManualTime) -> Iterator[MakeScene]:
    scenes = []

    def make(knowledge: Knowledge | None = None, connections: int = 8, **changes: Any) -> Scene:
        knowledge = dataclasses.replace(knowledge or Knowledge(liveness()), **changes)
        scenes.append(Scene(loop, manual_time, Limits(connections), knowledge))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()
        for peer in scene.peers:
            peer.close()


def idle_connection(scene: Scene) -> Peer:
    """One that has carried a request."""
    scene.post(b"first")
    peer = scene.connect()
    scene.answer(peer)
    return peer


def test_a_short_pause_is_no_reason_to_replace_a_connection(make_scene: MakeScene) -> None:
    scene = make_scene()
    peer = idle_connection(scene)
    scene.time.advance(3.4)
    scene.post(b"again")
    assert scene.answer(peer) == b"again"
    assert scene.dialer.started == 1


def test_a_connection_that_may_be_closed_any_moment_is_replaced(make_scene: MakeScene) -> None:
    scene = make_scene(liveness=named(4))
    peer = idle_connection(scene)
    scene.time.advance(3.6)
    scene.post(b"again")
    assert scene.observer.reasons == [CloseReason.EXPIRED]
    assert peer.read_rest().count(b"POST") == 0
    assert scene.answer(scene.connect()) == b"again"
    assert scene.work.failures == []


def test_one_retired_connection_shows_when_the_server_closes_it(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known)
    scene.post(b"a", b"b")
    first = scene.connect()
    second = scene.connect()
    scene.answer(first)
    scene.answer(second)
    scene.time.advance(5.0)
    scene.post(b"c", b"d")
    # One is closed, the other one left alone.
    assert scene.observer.reasons == [CloseReason.EXPIRED]
    assert scene.pool.alive == 0
    scene.time.advance(3.0)
    assert second.has_nothing()
    second.close()
    turn_until(scene.loop, lambda: len(scene.observer.closed) == 2)
    assert scene.observer.reasons[1] is CloseReason.SERVER_IDLE
    assert (known.idle_limit.value, known.idle_limit.source) == (8.0, Source.LEARNED)
    assert scene.answer(scene.connect()) == b"c"


def test_a_retired_connection_is_closed_with_the_others(make_scene: MakeScene) -> None:
    scene = make_scene()
    idle_connection(scene)
    scene.time.advance(5.0)
    scene.post(b"again")
    assert scene.observer.reasons == []
    scene.close()
    assert scene.observer.reasons == [CloseReason.EXPIRED]


def test_what_may_be_repeated_goes_on_an_old_connection(make_scene: MakeScene) -> None:
    scene = make_scene(is_safe_to_repeat=True)
    peer = idle_connection(scene)
    scene.time.advance(60.0)
    scene.post(b"again")
    assert scene.answer(peer) == b"again"


def say_timeout(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    peer.close()


@pytest.mark.parametrize("end", [Peer.close, Peer.reset, say_timeout])
def test_the_idle_time_at_the_servers_close_is_learned(
    make_scene: MakeScene, end: Callable[[Peer], None]
) -> None:
    known = liveness()
    scene = make_scene(liveness=known)
    peer = idle_connection(scene)
    scene.time.advance(2.05)
    end(peer)
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert (known.idle_limit.value, known.idle_limit.source) == (2.0, Source.LEARNED)


def test_a_close_of_a_connection_never_used_tells_nothing(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known)
    scene.post(b"a", b"b")
    first = scene.connect()
    scene.answer(first)
    scene.answer(first)
    unused = scene.connect()
    scene.time.advance(2.0)
    unused.close()
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert known.idle_limit.source is Source.DEFAULT


def test_a_pause_that_was_survived_is_learned(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known, is_safe_to_repeat=True)
    peer = idle_connection(scene)
    scene.time.advance(30.0)
    scene.post(b"again")
    scene.answer(peer)
    assert (known.idle_limit.value, known.idle_limit.source) == (30.0, Source.OUTLIVED)


def test_being_woken_for_nothing_does_not_end_a_pause(make_scene: MakeScene) -> None:
    """The server has seen nothing of it."""
    scene = make_scene(liveness=named(4))
    scene.post(b"a", b"b")
    first = scene.connect()
    second = scene.connect()
    scene.answer(first)
    scene.answer(second)
    scene.time.advance(2.0)
    scene.post(b"c")
    scene.answer(second)
    scene.time.advance(2.0)
    scene.post(b"d", b"e")
    assert [(event.number, event.reason) for event in scene.observer.closed] == [(1, CloseReason.EXPIRED)]
    assert scene.answer(second) == b"d"


def test_a_doubtful_connection_is_tried_with_a_safe_request(make_scene: MakeScene) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH))
    peer = idle_connection(scene)
    scene.time.advance(5.0)
    scene.post(b"again")
    assert peer.read(len(ASKED)) == ASKED
    assert peer.has_nothing()
    assert scene.dialing == 0
    peer.send(ANSWER)
    turn_until(scene.loop, lambda: scene.observer.heartbeats)
    assert scene.answer(peer) == b"again"
    assert [body for body, _ in scene.work.answers] == [b"first", b"again"]
    assert scene.observer.heartbeats == [1]
    scene.close()
    # Records only.
    assert [event.requests for event in scene.observer.closed] == [2]


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_test_that_fails_costs_no_record(make_scene: MakeScene, end: Callable[[Peer], None]) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH))
    peer = idle_connection(scene)
    scene.time.advance(5.0)
    scene.post(b"again")
    peer.read(len(ASKED))
    end(peer)
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE if end is Peer.close else CloseReason.RESET]
    assert scene.work.failures == []
    assert scene.answer(scene.connect()) == b"again"


def test_a_test_without_an_answer_is_given_up_after_5_s(make_scene: MakeScene) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH))
    idle_connection(scene)
    scene.time.advance(60.0)
    scene.post(b"again")
    scene.time.advance(5.0)
    scene.turn()
    assert scene.observer.reasons == [CloseReason.TIMEOUT]
    assert scene.answer(scene.connect()) == b"again"
    assert scene.work.failures == []


def test_after_a_failed_test_the_next_idle_connection_is_tried(make_scene: MakeScene) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH))
    scene.post(b"a", b"b")
    first = scene.connect()
    second = scene.connect()
    scene.answer(first)
    scene.answer(second)
    scene.time.advance(5.0)
    scene.post(b"again")
    second.read(len(ASKED))
    assert first.has_nothing()
    second.close()
    assert first.read(len(ASKED)) == ASKED
    first.send(ANSWER)
    assert scene.answer(first) == b"again"
    assert scene.dialer.started == 2


def test_heartbeats_while_more_may_come(make_scene: MakeScene) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH, beats=True, every=2.0))
    peer = idle_connection(scene)
    for beats in range(1, 4):
        scene.time.advance(2.0)
        assert peer.read(len(ASKED)) == ASKED
        peer.send(ANSWER)
        scene.turn()
        assert len(scene.observer.heartbeats) == beats
    scene.post(b"again")
    assert scene.answer(peer) == b"again"
    scene.expects_more = False
    scene.time.advance(20.0)
    assert peer.has_nothing()
    assert scene.dialer.started == 1


def test_heartbeats_by_themselves_come_before_the_limit(make_scene: MakeScene) -> None:
    """Between 0.5 and 0.8 of 60 s; the source of jitter says the middle."""
    scene = make_scene(liveness=liveness(60.0), keepalive=KeepAlive(HEALTH, beats=True))
    peer = idle_connection(scene)
    scene.time.advance(38.9)
    assert peer.has_nothing()
    scene.time.advance(0.2)
    assert peer.read(len(ASKED)) == ASKED


def test_heartbeats_do_not_keep_a_connection_beyond_our_own_idle_limit(make_scene: MakeScene) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH, beats=True, every=40.0))
    peer = idle_connection(scene)
    for _ in range(2):
        scene.time.advance(40.0)
        peer.read(len(ASKED))
        peer.send(ANSWER)
        scene.turn()
    assert scene.observer.heartbeats == [1, 1]
    scene.time.advance(10.0)
    assert scene.observer.reasons == [CloseReason.IDLE_TIMEOUT]


def test_after_a_sleep_no_idle_connection_is_trusted(make_scene: MakeScene) -> None:
    naps = [0.0, 3600.0]
    scene = make_scene(slept=lambda: naps.pop(0) if naps else 0.0)
    idle_connection(scene)
    scene.post(b"before")
    scene.answer(scene.peers[0])
    scene.post(b"after")
    assert scene.observer.reasons == [CloseReason.SUSPENDED]
    assert scene.answer(scene.connect()) == b"after"


def connect_to(scene: Scene, address: str, *known: str) -> Peer:
    ours, theirs = tcp_pair()
    peer = Peer(theirs, scene.turn)
    scene.peers.append(peer)
    dialed = Dialed(ours, address, 0.25, None, False, known_addresses=frozenset(known))
    scene.dialer.pending[0].set_result(dialed)
    scene.turn()
    return peer


def test_connections_to_an_address_that_left_dns_go_when_they_are_idle(make_scene: MakeScene) -> None:
    scene = make_scene(liveness=liveness(600.0))
    scene.post(b"a")
    old = connect_to(scene, "192.0.2.1:80", "192.0.2.1:80")
    scene.time.advance(59.0)
    scene.post(b"b")
    connect_to(scene, "192.0.2.2:80", "192.0.2.2:80")
    scene.post(b"c")
    # A choice of addresses may be another one each time.
    assert scene.observer.reasons == []
    scene.time.advance(0.9)
    scene.answer(old)
    assert scene.work.pulled[-1].connection == 1
    scene.post(b"d")
    scene.time.advance(0.2)
    connect_to(scene, "192.0.2.2:80", "192.0.2.2:80")
    # In the middle of its work it goes on.
    assert scene.observer.reasons == []
    assert scene.answer(old) == b"c"
    assert [(event.number, event.reason) for event in scene.observer.closed] == [
        (1, CloseReason.ADDRESS_GONE)
    ]
    assert scene.work.failures == []


def test_before_it_is_too_old_a_connection_is_replaced_and_then_drained(make_scene: MakeScene) -> None:
    """The dial takes 0.25 s and the margin is 0.5 s: so the replacement is dialled at 29.25 s."""
    known = liveness(max_connection_age=30.0)
    scene = make_scene(liveness=known, connections=1)
    scene.post(b"a")
    old = scene.connect()
    scene.post(b"b", b"c")
    scene.time.advance(29.2)
    assert scene.dialing == 0
    scene.time.advance(0.1)
    scene.turn()
    assert scene.dialing == 1
    new = scene.connect()
    # What is open ends as it should.
    assert scene.observer.reasons == []
    assert scene.answer(old) == b"a"
    assert scene.observer.reasons == [CloseReason.TOO_OLD]
    assert scene.answer(new) == b"b"
    assert scene.answer(new) == b"c"
    assert scene.work.failures == []


def test_at_its_greatest_age_a_connection_is_given_nothing_more(make_scene: MakeScene) -> None:
    scene = make_scene(liveness=liveness(max_connection_age=30.0), connections=1)
    scene.post(b"a", b"b")
    old = scene.connect()
    scene.time.advance(31.0)
    scene.answer(old)
    assert scene.observer.reasons == [CloseReason.TOO_OLD]
    scene.turn()
    assert scene.dialing == 1
    assert scene.answer(scene.connect()) == b"b"


def test_an_idle_connection_that_is_too_old_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene(liveness=liveness(max_connection_age=30.0))
    idle_connection(scene)
    scene.expects_more = False
    scene.time.advance(31.0)
    assert scene.observer.reasons == [CloseReason.TOO_OLD]
    assert scene.dialing == 0


def test_a_cap_that_was_seen_twice_is_handed_over_before(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known, connections=1)
    for _ in range(2):
        scene.post(*[b"%d" % number for number in range(10)])
        peer = scene.connect()
        for _ in range(9):
            scene.answer(peer)
        peer.read_request()
        peer.send(ANSWER_AND_CLOSE)
        turn_until(scene.loop, lambda: scene.pool.alive == 0)
        # More may come, so it is replaced if work waits; none does.
        assert scene.dialing == 0
    assert known.requests_limit == 10
    scene.post(*[b"%d" % number for number in range(12)])
    peer = scene.connect()
    for _ in range(5):
        scene.answer(peer)
        assert scene.dialing == 0
    # A dial takes three round trips: with the seventh that is sent.
    scene.answer(peer)
    assert scene.dialing == 1


def test_in_the_end_a_worn_connection_is_not_replaced_if_the_others_can_carry_the_rest(
    make_scene: MakeScene,
) -> None:
    facts = {Subject.REQUEST_CAP: Fact(20, Source.REMEMBERED, 0.0)}
    scene = make_scene(liveness=Liveness(lambda: 0.0, facts), connections=2)
    scene.expects_more = False
    scene.post(*[b"%d" % number for number in range(30)])
    first = scene.connect()
    second = scene.connect()
    for _ in range(19):
        scene.time.advance(0.01)
        scene.answer(first)
    # The first has carried its twentieth, and the second could carry 19 more.
    assert (scene.work.waiting, scene.dialing) == (9, 0)
    first.read_request()
    first.send(ANSWER_AND_CLOSE)
    turn_until(scene.loop, lambda: scene.pool.alive == 1)
    assert scene.dialing == 0
    scene.time.advance(PATIENCE_SECONDS)
    scene.turn()
    assert scene.dialing == 1
    for _ in range(10):
        scene.answer(second)
    assert (scene.work.waiting, len(scene.work.answers)) == (0, 30)


class CrossingWork:
    """Lets the server close while work is handed out: after the kernel was asked, before it is written."""

    def __init__(self, scene: Scene, end: Callable[[], None]) -> None:
        self._pull = scene.work.pull
        self._end = end

    def __call__(self, limit: int, now: float) -> Any:
        pulled = self._pull(limit, now)
        if pulled:
            self._end()
        return pulled


def test_a_close_that_crosses_a_request_is_no_doubt_if_nothing_was_received(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = liveness()
    scene = make_scene(liveness=known)
    peer = idle_connection(scene)
    scene.time.advance(3.0)
    monkeypatch.setattr(scene.work, "pull", CrossingWork(scene, peer.close))
    scene.work.add(b"again")
    scene.pool.wake()
    monkeypatch.undo()
    turn_until(scene.loop, lambda: scene.work.failures or scene.time.pending[0] < 1.0)
    scene.time.advance(0.1)
    assert scene.work.failures == [
        (b"again", Sent.REFUSED, "the server closed the connection before the request came")
    ]
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE]
    # Within 0.1 s: it had to be looked at twice.
    assert known.idle_limit.value == pytest.approx(3.0, abs=0.11)


def test_a_server_that_only_stops_sending_may_have_received_it(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene()
    peer = idle_connection(scene)
    monkeypatch.setattr(scene.work, "pull", CrossingWork(scene, peer.finish))
    scene.work.add(b"again")
    scene.pool.wake()
    monkeypatch.undo()
    scene.turn()
    scene.time.advance(0.1)
    turn_until(scene.loop, lambda: scene.work.failures)
    assert scene.work.failures == [(b"again", Sent.ALL, "the server closed the connection")]
    assert scene.observer.reasons == [CloseReason.SERVER_CLOSED]


@pytest.mark.parametrize(("pause", "limit"), [(3.0, 3.0), (0.0, None)])
@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_request_that_was_received_is_in_doubt(
    make_scene: MakeScene, end: Callable[[Peer], None], pause: float, limit: float | None
) -> None:
    """And if it was the first after a pause, that may well have been too long for the server."""
    known = liveness()
    scene = make_scene(liveness=known)
    peer = idle_connection(scene)
    scene.time.advance(pause)
    scene.post(b"again")
    peer.read_request()
    end(peer)
    turn_until(scene.loop, lambda: scene.work.failures)
    ((body, sent, _),) = scene.work.failures
    assert (body, sent) == (b"again", Sent.ALL)
    assert known.idle_limit.source is (Source.DEFAULT if limit is None else Source.LEARNED)
    assert limit is None or known.idle_limit.value == limit


def test_a_server_that_gives_up_later_did_not_do_so_for_the_pause(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known)
    peer = idle_connection(scene)
    scene.time.advance(3.0)
    scene.post(b"again")
    peer.read_request()
    scene.time.advance(1.0)
    peer.close()
    turn_until(scene.loop, lambda: scene.work.failures)
    assert known.idle_limit.source is Source.DEFAULT


def end_without_a_word(scene: Scene, answers: int, seconds_each: float = 0.0) -> None:
    """One that is never idle: the server closes it behind so many answers, before it has the next request."""
    scene.post(*[b"%d" % number for number in range(answers + 1 - scene.work.waiting)])
    peer = scene.connect()
    for _ in range(answers - 1):
        scene.time.advance(seconds_each)
        scene.answer(peer)
    peer.read_request()
    scene.time.advance(seconds_each)
    peer.send(ANSWER)
    peer.close()
    turn_until(scene.loop, lambda: scene.pool.alive == 0)


def test_a_close_without_a_pause_before_is_no_idle_limit(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known, connections=1)
    end_without_a_word(scene, 5, seconds_each=1.0)
    assert scene.observer.reasons in ([CloseReason.SERVER_IDLE], [CloseReason.SERVER_CLOSED])
    assert known.idle_limit.source is Source.DEFAULT


def test_where_connections_end_without_a_word_they_are_ended_by_us_before(make_scene: MakeScene) -> None:
    known = liveness()
    scene = make_scene(liveness=known, connections=1)
    for _ in range(2):
        assert not known.ends_at_cap
        end_without_a_word(scene, 5)
    assert (known.requests_limit, known.ends_at_cap) == (5, True)
    before = len(scene.work.failures)
    scene.post(*[b"%d" % number for number in range(10)])
    for _ in range(2):
        peer = scene.connect()
        for _ in range(5):
            scene.answer(peer)
        # Not one request more: it is closed behind the last answer.
        assert peer.read_rest() == b""
    assert scene.observer.reasons[-2:] == [CloseReason.LIMIT_REACHED] * 2
    assert len(scene.work.failures) == before


def test_a_restart_is_not_taken_for_an_idle_limit_for_long(make_scene: MakeScene) -> None:
    """The next connection that is retired for it is left open, and shows that it was none."""
    known = liveness()
    scene = make_scene(liveness=known)
    peer = idle_connection(scene)
    scene.time.advance(0.5)
    peer.close()
    turn_until(scene.loop, lambda: scene.pool.alive == 0)
    assert known.idle_limit.value == 0.5
    scene.post(b"again")
    scene.answer(scene.connect())
    scene.time.advance(1.0)
    scene.post(b"retires it")
    scene.answer(scene.connect())
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE]
    # Clearly longer than half a second, servers looking but once a second.
    scene.time.advance(0.31)
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE, CloseReason.EXPIRED]
    assert known.idle_limit.source is Source.DEFAULT


@pytest.mark.parametrize("carried", [1, 2])
def test_a_test_does_not_take_the_last_place_before_a_silent_end(make_scene: MakeScene, carried: int) -> None:
    facts = {Subject.ANSWERED_CAP: Fact(3.0, Source.REMEMBERED, 0.0)}
    known = Liveness(lambda: 0.0, facts, uniform=lambda a, b: (a + b) / 2)
    scene = make_scene(liveness=known, keepalive=KeepAlive(HEALTH), connections=1)
    scene.post(*[b"%d" % number for number in range(carried)])
    peer = scene.connect()
    for _ in range(carried):
        scene.answer(peer)
    scene.time.advance(10.0)
    scene.post(b"again")
    if carried == 1:
        assert peer.read(len(ASKED)) == ASKED
        return
    assert peer.read_rest() == b""
    assert scene.observer.reasons[0] is CloseReason.LIMIT_REACHED
    assert scene.answer(scene.connect()) == b"again"


@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""])
def test_a_test_that_is_passed_at_the_end_of_a_connection_leaves_the_work_to_others(
    make_scene: MakeScene, last: bytes
) -> None:
    scene = make_scene(keepalive=KeepAlive(HEALTH), connections=2)
    scene.post(b"1", b"2")
    peers = [scene.connect(), scene.connect()]
    for peer in peers:
        scene.answer(peer)
    scene.time.advance(10.0)
    scene.post(b"3")
    tested, other = peers if peers[0].has_some() else reversed(peers)
    assert tested.read(len(ASKED)) == ASKED
    tested.send(b"HTTP/1.1 200 OK\r\n" + last + b"Content-Length: 0\r\n\r\n")
    if not last:
        tested.close()
    turn_until(scene.loop, lambda: other.has_some() or scene.dialing or scene.work.answers[2:])


def test_a_busy_connection_that_stands_at_a_cap_when_that_is_found_out_is_given_nothing_more(
    make_scene: MakeScene,
) -> None:
    known = liveness()
    scene = make_scene(liveness=known, connections=1)
    scene.post(*[b"%d" % number for number in range(6)])
    peer = scene.connect()
    for _ in range(2):
        scene.answer(peer)
    for now in range(2):
        known.fell_silent(3, now, now + 0.5, carried_elsewhere=0)
    scene.pool._keeper._plan_all()
    scene.answer(peer)
    assert peer.read_rest() == b""
    assert scene.observer.reasons == [CloseReason.LIMIT_REACHED]
    assert scene.work.failures == []
