"""The pool where connections carry many exchanges, end after so many requests, or speak two protocols."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from h2.exceptions import ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st
from net_fakes import ManualTime
from pool_scene import MakeScene, Scene, Server, bodies
from server_ends import STREAMS, Http1End, Http2End, ServerEnd, streams

from livepost.config import Limits
from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.net.pool import Pool
from livepost.wire.frames import ErrorCode, rst_stream_frame, settings_frame

# Streams before connections.


def test_one_connection_decides_before_more_are_dialled(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(1000))
    server = scene.join(greets=False)
    scene.wake()
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    server.say(server.end.greeting())
    assert server.serve() == 64
    # It carries 64 at a time, so no second one is wanted.
    scene.wake()
    assert (scene.pool.alive, scene.dialing) == (1, 0)


def test_more_connections_only_where_the_streams_are_too_few(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(1000))
    alive_and_dialing = []
    for _ in range(7):
        scene.join(streams(10))
        alive_and_dialing.append((scene.pool.alive, scene.dialing))
    assert alive_and_dialing == [(1, 1), (2, 2), (3, 3), (4, 3), (5, 2), (6, 1), (7, 0)]
    # Seventy have room.
    assert len(scene.work.pulled) == 64


def test_no_more_connections_than_the_work_needs(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(15))
    scene.join(streams(10))
    assert scene.dialing == 1
    scene.join(streams(10))
    assert (scene.pool.alive, scene.dialing) == (2, 0)


def test_fewer_streams_may_mean_more_connections(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(1000))
    server = scene.join()
    assert scene.dialing == 0
    server.say(server.http2.change({STREAMS: 20}))
    server.serve()
    # None is free: 64 are under way on that one.
    assert scene.dialing == 1


def test_full_windows_are_no_reason_for_another_connection(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=100)
    scene.post(*[b"x" * 10_000] * 90)
    scene.join(greets=False)
    (connection,) = scene.pool._alive.values()
    server = scene.pool._alive
    assert len(server) == 1
    end = Http2End()
    end.open_no_more_window()
    scene.peers[0].send(end.greeting())
    scene.turn()
    scene.post(b"more")
    assert (connection.room, scene.work.waiting) == (0, 1)
    assert scene.dialing == 0


def test_a_call_for_calm_on_a_stream_opens_no_connection(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(1000))
    server = scene.join()
    server.say(server.http2.refuse(0xB))
    assert scene.dialing == 0


def test_a_server_that_gives_no_streams_is_not_dialled_again_and_again(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(10))
    peer = scene.connect(version=HttpVersion.HTTP_2)
    peer.send(settings_frame({STREAMS: 0}))
    scene.wake()
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    peer.send(rst_stream_frame(1, ErrorCode.REFUSED_STREAM))
    scene.turn()
    assert [sent for _, sent, _ in scene.work.failures] == [Sent.REFUSED]
    for _ in range(5):
        scene.wake()
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    # It has had its time.
    scene.time.advance(90.0)
    assert scene.observer.reasons == [CloseReason.TIMEOUT]
    assert scene.asked == [("connections to the server end without an answer (timeout)", 1)]


def test_after_a_short_pause_it_is_not_asked_whether_it_is_there(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(b"1")
    server = scene.join(streams(5))
    server.answer()
    scene.time.advance(1.499)
    scene.post(b"2")
    assert [connection.state for connection in scene.pool._alive.values()] == [ConnectionState.BUSY]
    server.serve()
    server.answer()
    scene.time.advance(1.5)
    scene.post(b"3")
    assert [connection.state for connection in scene.pool._alive.values()] == [ConnectionState.TESTING]
    server.serve()
    server.answer()


def test_a_connection_that_is_asked_whether_it_is_there_is_waited_for(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(b"1")
    server = scene.join(streams(5))
    server.answer()
    scene.time.advance(10.0)
    scene.post(b"2", b"3")
    assert [connection.state for connection in scene.pool._alive.values()] == [ConnectionState.TESTING]
    assert (scene.dialing, scene.work.waiting) == (0, 2)
    server.serve()
    server.answer(2)
    assert scene.dialer.started == 1


def test_a_connection_that_does_not_answer_is_replaced_with_all_records_kept(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(b"1")
    scene.join().answer()
    scene.time.advance(10.0)
    scene.post(b"2")
    scene.time.advance(5.0)
    scene.turn()
    assert scene.observer.reasons == [CloseReason.TIMEOUT]
    assert (scene.dialing, scene.work.waiting, scene.work.failures) == (1, 1, [])
    # It had been of use: that is no failure, and there is no pause.
    assert scene.asked == []


def test_the_one_used_last_comes_first(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=20)
    scene.post(*bodies(20))
    servers = [scene.join(streams(10)), scene.join(streams(10))]
    for server in servers:
        server.serve()
        server.answer(10)
    for expected in (2, 2, 1, 1):
        scene.post(b"again")
        assert scene.work.pulled[-1].connection == expected
        servers[expected - 1].serve()
        servers[expected - 1].answer()
        if expected == 2 and len(scene.work.answers) == 22:
            # Number 2 is full.
            scene.post(*bodies(10))
            scene.post(b"beside")
            assert scene.work.pulled[-1].connection == 1
            servers[0].serve()
            servers[1].serve()
            servers[1].answer(10)
            servers[0].answer()


def test_only_connections_with_nothing_under_way_count_as_idle(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=20, max_idle_conns_per_host=1)
    scene.post(*bodies(20))
    first, second = scene.join(streams(10)), scene.join(streams(10))
    first.serve()
    second.serve()
    # With nine under way it is hungry, but not idle.
    first.answer()
    second.answer(10)
    assert scene.observer.reasons == []
    first.answer(9)
    assert scene.observer.reasons == [CloseReason.IDLE_LIMIT]


# A server that ends each connection after so many requests.


Ends = Callable[[], ServerEnd]


@pytest.fixture(params=[Http1End, lambda: streams(2)], ids=["http/1.1", "h2"])
def make_end(request: pytest.FixtureRequest) -> Ends:
    end: Ends = request.param
    return end


def one_at_a_time(scene: Scene, server: Server, requests: int, *, announces: bool) -> None:
    """Post and answer so many; the last answer may be announced to be that."""
    for number in range(1, requests + 1):
        scene.post(b"%d" % number)
        server.serve()
        if number == requests and announces:
            server.say(server.end.answer_and_announce_the_end())
        else:
            server.answer()


def taught(make_scene: MakeScene, make_end: Ends, limit: int) -> tuple[Scene, Server]:
    """A pool that has seen twice that a connection ends after so many requests, and has one alive."""
    scene = make_scene(max_conns_per_host=1)
    for _ in range(2):
        one_at_a_time(scene, first_answered(scene, make_end()), limit - 1, announces=True)
        assert scene.pool.alive == 0
    server = first_answered(scene, make_end())
    assert scene.pool.opened == 3
    return scene, server


def first_answered(scene: Scene, end: ServerEnd) -> Server:
    """A new connection that has carried one request."""
    scene.post(b"first")
    server = scene.join(end)
    server.serve()
    server.answer()
    return server


def test_the_replacement_is_dialled_before_the_limit_is_reached(
    make_scene: MakeScene, make_end: Ends
) -> None:
    scene, server = taught(make_scene, make_end, 50)
    at_a_time = 2 if isinstance(server.end, Http2End) else 1
    for number in range(2, 51):
        # A dial takes three round trips, in each of which it may carry one, or two.
        assert scene.dialing == (number > 50 - 3 * at_a_time)
        scene.post(b"%d" % number)
        server.serve()
        if number < 50:
            server.answer()
    # It is there when the old one ends; nothing has waited.
    replacement = scene.join(make_end())
    assert scene.pool.alive == 2
    server.say(server.end.answer_and_announce_the_end())
    assert scene.pool.alive == 1
    scene.post(b"51")
    assert scene.work.waiting == 0
    replacement.serve()
    replacement.answer()
    assert scene.work.failures == []
    assert scene.observer.reasons == [
        *(CloseReason.SERVER_ANNOUNCED, CloseReason.SERVER_ANNOUNCED),
        CloseReason.SERVER_CAP,
    ]


def test_the_more_go_at_a_time_the_earlier_the_replacement_is_dialled(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=20)
    for _ in range(2):
        one_at_a_time(scene, first_answered(scene, streams(2)), 49, announces=True)
    server = first_answered(scene, streams(2))
    (connection,) = scene.pool._alive.values()
    assert connection.worn_at == 44
    server.say(server.http2.change({STREAMS: 5}))
    server.serve()
    assert connection.worn_at == 35
    server.say(server.http2.change({STREAMS: 2}))
    server.serve()
    assert connection.worn_at == 44


def test_one_connection_is_replaced_as_early_as_its_streams_ask_for(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=20)
    for _ in range(2):
        one_at_a_time(scene, first_answered(scene, streams(2)), 199, announces=True)
    scene.post(*bodies(200))
    server = scene.join(streams(20))
    assert server.serve() == 20
    (connection,) = scene.pool._alive.values()
    # A dial takes three round trips, in each of which it may carry twenty.
    assert connection.worn_at == 200 - 3 * 20
    while server.serve() < 140:
        server.answer(20)
    assert scene.dialing == 1
    server.answer(10)
    assert server.serve() == 150


def test_no_request_goes_beyond_a_limit_that_is_known(make_scene: MakeScene) -> None:
    scene, server = taught(make_scene, lambda: streams(20), 50)
    scene.post(*bodies(100))
    while len(server.end.bodies) < 50:
        before = len(server.end.bodies)
        after = server.serve()
        server.answer(after - before - (after == 50))
    assert server.serve() == 50
    scene.join(streams(20))
    server.say(server.end.answer_and_announce_the_end())
    assert scene.work.failures == []


def test_near_the_end_of_all_work_no_replacement_is_dialled(make_scene: MakeScene, make_end: Ends) -> None:
    scene, server = taught(make_scene, make_end, 50)
    scene.expects_more = False
    for number in range(2, 51):
        scene.post(b"%d" % number)
        server.serve()
        if number < 50:
            server.answer()
    server.say(server.end.answer_and_announce_the_end())
    assert scene.pool.opened == 3
    assert scene.dialing == 0


def test_what_the_worn_one_cannot_take_gets_a_replacement_also_near_the_end(
    make_scene: MakeScene, make_end: Ends
) -> None:
    scene, server = taught(make_scene, make_end, 50)
    scene.expects_more = False
    one_at_a_time(scene, server, 46, announces=False)
    assert scene.dialing == 0
    scene.post(*bodies(9))
    server.serve()
    assert scene.dialing == 1


def test_one_end_says_nothing_of_a_limit(make_scene: MakeScene, make_end: Ends) -> None:
    scene = make_scene(max_conns_per_host=1)
    for requests in (7, 9, 8):
        one_at_a_time(scene, first_answered(scene, make_end()), requests - 1, announces=True)
    assert scene.liveness.requests_limit is None


def test_a_limit_that_was_none_is_forgotten(make_scene: MakeScene, make_end: Ends) -> None:
    scene, server = taught(make_scene, make_end, 50)
    assert scene.liveness.requests_limit == 50
    one_at_a_time(scene, server, 60, announces=False)
    assert scene.liveness.requests_limit is None
    (connection,) = scene.pool._alive.values()
    assert (connection.requests, connection.is_worn) == (61, False)
    # The replacement that was dialled meanwhile is one too many, and idle.
    assert scene.dialing == 1


def test_ends_of_idle_connections_are_no_limit(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=1)
    for _ in range(3):
        scene.post(b"first")
        server = scene.join()
        server.answer()
        one_at_a_time(scene, server, 4, announces=False)
        server.say(server.http2.announce_the_end(9))
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE] * 3
    assert scene.liveness.requests_limit is None


def test_requests_that_a_goodbye_refused_do_not_count(make_scene: MakeScene) -> None:
    """nginx: all that came behind the last one."""
    scene = make_scene(max_conns_per_host=100)
    scene.post(*bodies(300))
    for connection in (1, 2):
        server = scene.join()
        assert server.serve() == 100
        server.answer(29)
        server.say(server.http2.announce_the_end(59) + server.end.answer())
        server.serve()
        assert scene.dialing == 1
        assert scene.pool.alive == 0
        # One hundred, and 29 in the places of those that were answered.
        assert len(scene.work.failures) == connection * 99
    assert {sent for _, sent, _ in scene.work.failures} == {Sent.REFUSED}
    assert scene.liveness.requests_limit == 30


def test_a_server_that_leaves_its_last_requests_unanswered_is_not_let_come_so_far(
    make_scene: MakeScene,
) -> None:
    """hypercorn: it says goodbye with one request too many, and then nothing more."""
    scene = make_scene(max_conns_per_host=2)
    for _ in range(2):
        scene.work.add(*bodies(202))
        scene.wake()
        server = scene.join(streams(2))
        for _ in range(200):
            server.serve()
            server.answer()
        server.serve()
        assert (len(server.end.bodies), scene.work.waiting) == (202, 0)
        server.say(server.http2.announce_the_end(403))
        server.peer.close()
        scene.turn()
    assert [sent for _, sent, _ in scene.work.failures] == [Sent.ALL] * 4
    scene.work.add(*bodies(300))
    scene.wake()
    server = scene.join(streams(2))
    for _ in range(198):
        server.serve()
        server.answer()
    replacement = scene.join(streams(2))
    assert server.serve() == 200
    server.answer(2)
    assert server.serve() == 200
    assert scene.observer.reasons[-1] is CloseReason.LIMIT_REACHED
    assert server.http2.goodbye == 0
    assert len(scene.work.failures) == 4
    replacement.serve()
    replacement.answer()


def test_an_idle_connection_that_has_come_so_far_makes_room_when_that_is_learned(
    make_scene: MakeScene,
) -> None:
    """It would be given nothing more, and nothing would be dialled in its place."""
    scene = make_scene(max_conns_per_host=2)
    scene.post(b"first")
    server = scene.join(streams(2))
    server.serve()
    server.answer()
    one_at_a_time(scene, server, 119, announces=False)
    assert scene.pool.alive == 1
    for now in range(2):
        scene.liveness.let_down(110, now, now + 0.5)
    assert scene.liveness.ends_at_cap
    scene.pool._keeper._plan_all()
    assert scene.observer.reasons == [CloseReason.LIMIT_REACHED]
    scene.post(b"more")
    assert scene.dialing == 1


# Goodbyes that say what to do.


def test_a_replacement_is_dialled_when_the_goodbye_comes_and_not_when_all_is_over(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(200))
    server = scene.join()
    server.serve()
    server.say(server.http2.announce_the_end(199))
    assert (scene.pool.alive, scene.dialing) == (1, 1)
    assert scene.work.failures == []


@pytest.mark.parametrize("how", ["answers in it", "goodbye", "stream"])
def test_a_server_that_wants_http_1_1_gets_it(make_scene: MakeScene, how: str) -> None:
    scene = make_scene(max_conns_per_host=4)
    scene.post(*bodies(10))
    server = scene.join(greets=how != "answers in it")
    if how == "answers in it":
        server.say(b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\r\n")
    elif how == "goodbye":
        server.say(server.http2.announce_the_end(0, 0xD))
    else:
        server.serve()
        server.say(server.http2.refuse(0xD))
        # What else is open goes on meanwhile.
        server.answer(3)
    assert scene.dialer.versions == [HttpVersion.HTTP_1_1]
    assert scene.observer.reasons == [CloseReason.HTTP_1_1_REQUIRED]
    assert {sent for _, sent, _ in scene.work.failures} == {Sent.REFUSED}
    assert scene.asked == []
    scene.work.add(*bodies(10))
    scene.wake()
    for _ in range(4):
        scene.join(Http1End())
    assert (scene.pool.alive, scene.dialing) == (4, 0)


def test_a_server_that_asks_for_calm_is_left_alone_ever_longer(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.delays = [1.0, 2.0, 4.0]
    scene.post(*bodies(1000))
    for times, pause in enumerate((1.0, 2.0, 4.0), 1):
        server = scene.join()
        server.serve()
        server.answer(10)
        server.say(server.http2.announce_the_end(19, 0xB))
        assert scene.pool.alive == 0
        assert scene.asked[-1] == ("the server asks for calm", times)
        scene.work.add(*bodies(100))
        scene.wake()
        assert scene.dialing == 0
        scene.time.advance(pause * 0.9)
        scene.turn()
        assert scene.dialing == 0
        scene.time.advance(pause * 0.1)
        scene.turn()
        assert scene.dialing == 1
    assert scene.observer.failed_dials == ["the server asks for calm"] * 3
    # Another end breaks the row.
    server = scene.join()
    server.serve()
    server.answer()
    server.peer.close()
    scene.turn()
    server = scene.join()
    server.say(server.http2.announce_the_end(0, 0xB))
    assert scene.asked[-1] == ("the server asks for calm", 1)


def test_while_a_call_for_calm_is_heeded_nothing_is_dialled_for_what_is_still_open(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(200))
    server = scene.join()
    server.serve()
    server.say(server.http2.announce_the_end(199, 0xB))
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    server.answer(64)
    assert scene.observer.reasons == [CloseReason.ENHANCE_YOUR_CALM]
    assert scene.asked == [("the server asks for calm", 1)]
    scene.time.advance(1.0)
    scene.turn()
    assert scene.dialing == 1


def test_without_keep_alive_each_exchange_has_its_connection(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=2)
    scene.work._head = type(scene.work._head)(b"POST", b"/", b"localhost", b"http", (), close=True)
    scene.post(*bodies(6))
    servers = [scene.join()]
    while len(scene.work.answers) < 6:
        while scene.dialing:
            servers.append(scene.join())
            assert scene.pool.alive <= 2
        server = servers.pop(0)
        server.serve()
        server.answer()
    assert scene.pool.opened == 6
    assert scene.observer.reasons == [CloseReason.KEEPALIVE_OFF] * 6


# Anything at random.

ACTIONS = ["join", "greet", "answer", "answer all"] * 3 + ["work", "time", "long time", "close", "reset"]
ACTIONS += ["serve", "goodbye", "calm", "downgrade", "no streams", "one stream", "three streams", "refuse"]
ACTIONS += ["dial fails", "window", "half a minute"]


class Chaos:
    """HTTP/2 servers that do anything, and a pool that must neither stall nor exceed its limits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.scene = Scene(loop, ManualTime(), Limits(max_conns_per_host=8, max_idle_conns=2))
        self.servers: list[Server] = []

    def act(self, action: str) -> None:
        scene = self.scene
        if action == "work":
            scene.post(*bodies(5))
        elif action == "time":
            scene.time.advance(1.0)
        elif action == "half a minute":
            # So that of what a connection carries some is overdue and some is not.
            scene.time.advance(25.0)
        elif action == "long time":
            scene.time.advance(100.0)
        elif action == "join":
            if scene.dialing:
                is_http2 = HttpVersion.HTTP_2 in scene.dialer.versions
                self.servers.append(scene.join(Http2End() if is_http2 else Http1End(), greets=False))
        elif action == "dial fails":
            if scene.dialing:
                scene.refuse()
        elif self.servers:
            # The others get their turn.
            server = self.servers.pop(0)
            # The pool may have closed this connection, and told h2 so.
            with contextlib.suppress(ConnectionError, EOFError, ProtocolError):
                self.serve(server, action)
            if server.peer.sock.fileno() >= 0:
                self.servers.append(server)
        scene.turn()

    def serve(self, server: Server, action: str) -> None:
        end = server.end
        if action == "close":
            server.peer.close()
        elif action == "reset":
            server.peer.reset()
        elif action in ("answer", "answer all"):
            server.serve()
            for _ in range(1 if action == "answer" else 100):
                if len(end.bodies) > getattr(end, "answered", 0):
                    end.answered = getattr(end, "answered", 0) + 1  # type: ignore[attr-defined]
                    server.say(end.answer())
        elif isinstance(end, Http2End):
            self.serve_http2(server, end, action)

    def serve_http2(self, server: Server, end: Http2End, action: str) -> None:
        codes = {"goodbye": 0, "calm": 0xB, "downgrade": 0xD}
        limits = {"no streams": 0, "one stream": 1, "three streams": 3}
        if action in codes:
            last = end.unanswered[0] if end.unanswered else 0
            server.say(end.announce_the_end(last, codes[action]))
        elif action in limits:
            server.say(end.change({STREAMS: limits[action]}))
        elif action == "refuse" and end.unanswered:
            # As much as said that it has come wholly.
            if len(end.bodies) > getattr(end, "answered", 0):
                end.answered = getattr(end, "answered", 0) + 1  # type: ignore[attr-defined]
            server.say(end.refuse(0x7))
        else:
            server.serve()

    def check(self) -> None:
        scene = self.scene
        pool = scene.pool
        assert pool.alive + scene.dialing <= 8 + 1
        assert len(scene.observer.opened) - len(scene.observer.closed) == pool.alive
        settled = len(scene.work.answers) + len(scene.work.failures)
        in_flight = len(scene.work.pulled) - settled
        assert 0 <= in_flight == 8 - scene.poller.free <= 8
        assert in_flight == sum(connection._machine.open_exchanges for connection in pool._alive.values())
        if not scene.work.waiting or scene.unreachable:
            return
        paused = scene.pause is not None and scene.pause.is_pending
        assert scene.dialing or paused or in_flight or self.is_waiting_for_a_server(pool)

    @staticmethod
    def is_waiting_for_a_server(pool: Pool) -> bool:
        """It is asked whether it is there, or gives no room."""
        return any(
            connection.state is ConnectionState.TESTING or not connection._machine.room
            for connection in pool._alive.values()
        )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=5, max_size=60))
def test_work_never_waits_for_nothing(actions: list[str]) -> None:
    loop = asyncio.new_event_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: faults.append(context))
    chaos = Chaos(loop)
    try:
        for action in actions:
            chaos.act(action)
            assert faults == []
            chaos.check()
    finally:
        chaos.scene.close()
        for peer in chaos.scene.peers:
            peer.close()
        loop.close()


@pytest.mark.parametrize("how", ["silence", "an end"])
def test_a_connection_never_used_that_fails_its_test_leaves_the_work_to_others(
    make_scene: MakeScene, how: str
) -> None:
    scene = make_scene(max_conns_per_host=2)
    scene.post(b"1", b"2")
    used = scene.join(streams(1))
    for _ in range(2):
        used.serve()
        used.answer()
    unused = scene.join(streams(1))
    unused.serve()
    scene.time.advance(20.0)
    scene.post(b"3")
    if how == "silence":
        scene.time.advance(5.1)
    else:
        unused.peer.close()
    for _ in range(3):
        scene.turn()
        used.serve()
    assert scene.work.waiting == 0
    used.answer()
    assert len(scene.work.answers) == 3


def test_a_connection_that_drains_is_no_capacity_whatever_is_learned(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=10)
    scene.post(b"slow")
    scene.join(streams(10)).serve()
    (connection,) = scene.pool._alive.values()
    connection.drain()
    scene.pool._keeper._plan_all()
    assert (connection.state, connection.capacity, connection.spare) == (ConnectionState.DRAINING, 0, 0)
    scene.post(*bodies(5))
    assert scene.dialing == 1


def test_a_test_passed_by_a_server_that_then_gives_no_streams_leaves_the_work_to_others(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=2)
    scene.post(b"1", b"2")
    servers = [scene.join(streams(1)), scene.join(streams(1))]
    for server in servers:
        server.serve()
        server.answer()
        server.serve()
    scene.time.advance(20.0)
    scene.post(b"3")
    states = [connection.state for connection in scene.pool._alive.values()]
    tested, other = servers if states[0] is ConnectionState.TESTING else reversed(servers)
    # Before the PING is answered.
    tested.say(tested.http2.change({STREAMS: 0}))
    for _ in range(3):
        tested.serve()
        scene.turn()
        other.serve()
    assert scene.work.waiting == 0
    other.answer()
    assert len(scene.work.answers) == 3
