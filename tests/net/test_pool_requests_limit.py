"""A server that ends each connection after so many requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pool_scene import MakeScene, Scene, Server, bodies
from server_ends import STREAMS, Http1End, Http2End, ServerEnd, streams

from livepost.events import CloseReason
from livepost.model import Sent

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
