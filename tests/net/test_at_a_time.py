"""No more requests at a time than are allowed, over all connections together, and no fewer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pool_scene import MakeScene, Scene, bodies
from server_ends import STREAMS, Http1End, ServerEnd, streams

from livepost.net.connection_state import ConnectionState


def at_a_time(scene: Scene) -> int:
    """How many were handed out and have not ended."""
    return len(scene.work.pulled) - len(scene.work.answers) - len(scene.work.failures)


def test_a_server_that_takes_any_number_of_streams_is_not_given_all(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=4)
    scene.post(*bodies(1000))
    server = scene.join()
    assert (server.serve(), scene.work.waiting) == (4, 996)
    server.answer(3)
    assert (server.serve(), at_a_time(scene)) == (7, 4)


def test_streams_that_are_more_than_enough_together_are_not_all_used(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=25)
    scene.post(*bodies(1000))
    servers = [scene.join(streams(10)) for _ in range(3)]
    assert [server.serve() for server in servers] == [10, 10, 5]
    assert scene.dialing == 0
    for server in servers:
        server.answer(5)
        assert at_a_time(scene) == 25


def test_what_one_connection_can_no_longer_take_another_takes_at_once(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=25)
    scene.post(*bodies(1000))
    first, second, third = (scene.join(streams(10)) for _ in range(3))
    for server in (first, second, third):
        server.serve()
    # The first may have fewer now: what ends there goes to the third, which had room for more.
    first.say(first.http2.change({STREAMS: 5}))
    first.serve()
    first.answer(5)
    assert [server.serve() for server in (first, second, third)] == [10, 10, 10]
    assert at_a_time(scene) == 25


def test_what_drains_counts_and_is_followed_one_by_one(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=10)
    scene.post(*bodies(1000))
    old = scene.join(streams(10))
    assert old.serve() == 10
    old.say(old.http2.announce_the_end(19))
    new = scene.join(streams(10))
    assert (new.serve(), at_a_time(scene)) == (0, 10)
    for ended in range(1, 11):
        old.answer()
        assert (new.serve(), at_a_time(scene)) == (ended, 10)
    assert scene.pool.alive == 1


def test_what_is_lost_with_a_connection_makes_room_elsewhere(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=15)
    scene.post(*bodies(1000))
    first, second = scene.join(streams(10)), scene.join(streams(10))
    assert [first.serve(), second.serve()] == [10, 5]
    first.answer()
    assert first.serve() == 11
    first.peer.reset()
    scene.turn()
    assert (second.serve(), at_a_time(scene)) == (10, 10)
    assert scene.dialing == 1


@pytest.mark.parametrize("make_end", [Http1End, lambda: streams(1)], ids=["http/1.1", "h2"])
def test_a_worn_connection_and_its_replacement_do_not_both_work(
    make_scene: MakeScene, make_end: Callable[[], ServerEnd]
) -> None:
    scene = make_scene(max_conns_per_host=1)
    scene.post(*bodies(1000))
    old = scene.join(make_end())
    old.serve()
    (connection,) = scene.pool._alive.values()
    connection.wear()
    scene.wake()
    new = scene.join(make_end())
    assert (scene.pool.alive, at_a_time(scene), new.serve()) == (2, 1, 0)
    assert scene.pool._alive[2].state is ConnectionState.IDLE
    old.answer()
    assert (scene.pool.alive, at_a_time(scene), old.serve(), new.serve()) == (2, 1, 2, 0)
    old.say(old.end.answer_and_announce_the_end())
    assert (scene.pool.alive, at_a_time(scene), new.serve()) == (1, 1, 1)
    assert scene.work.failures == []


def test_work_that_may_not_be_begun_wakes_nobody(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=1)
    scene.post(*bodies(3))
    scene.join(streams(1)).serve()
    (connection,) = scene.pool._alive.values()
    connection.wear()
    scene.wake()
    scene.join(streams(1)).serve()
    idle = scene.pool._alive[2]
    scene.time.advance(20.0)
    # Long enough to be asked whether it is there, but not for what waits in vain.
    scene.post(b"more")
    assert (idle.state, scene.work.waiting) == (ConnectionState.IDLE, 3)


def test_whoever_is_idle_is_woken_when_the_one_that_held_the_place_ends(make_scene: MakeScene) -> None:
    """A worn connection and its replacement, of which one may carry something at a time."""
    scene = make_scene(max_conns_per_host=1)
    scene.post(b"first")
    old = scene.join(Http1End())
    old.serve()
    (connection,) = scene.pool._alive.values()
    connection.wear()
    scene.wake()
    new = scene.join(Http1End())
    old.answer()
    scene.post(b"second")
    scene.post(b"third")
    assert scene.work.waiting == 1
    old.serve()
    new.serve()
    busy, idle = (old, new) if connection.state is ConnectionState.BUSY else (new, old)
    busy.say(busy.end.answer_and_announce_the_end())
    scene.turn()
    assert scene.work.waiting == 0
    idle.serve()
    idle.answer()
    assert len(scene.work.answers) == 3
