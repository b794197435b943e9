"""Which idle connection is used next, and how many are kept."""

from __future__ import annotations

import gc

import pytest
from net_fakes import turn_until
from pool_scene import MakeScene, Scene, bodies

from livepost.events import CloseReason
from livepost.net.connection import Connection
from livepost.net.fact import Fact, Source, Subject
from livepost.net.knowledge import Knowledge
from livepost.net.liveness import Liveness


def idle_connections(scene: Scene, count: int) -> None:
    """Make so many connections, all idle in the end, the last one the most recently used."""
    scene.post(*bodies(count))
    while len(scene.peers) < count:
        scene.connect()
    for peer in scene.peers:
        scene.answer(peer)
    assert scene.dialing == 0
    assert scene.work.waiting == 0


def test_the_most_recently_used_connection_first(scene: Scene) -> None:
    idle_connections(scene, 3)
    for expected in (3, 3, 3):
        scene.post(b"again")
        assert scene.work.pulled[-1].connection == expected
        scene.answer(scene.peers[expected - 1])
    scene.post(b"a", b"b")
    assert [exchange.connection for exchange in scene.work.pulled[-2:]] == [3, 2]
    scene.answer(scene.peers[2])
    scene.answer(scene.peers[1])
    # Number 2 became idle last.
    scene.post(b"c", b"d", b"e")
    assert [exchange.connection for exchange in scene.work.pulled[-3:]] == [2, 3, 1]
    assert scene.dialer.started == 3


def test_what_is_left_over_ages_out(make_scene: MakeScene) -> None:
    patient = {Subject.IDLE_LIMIT: Fact(120.0, Source.REMEMBERED, 0.0)}
    scene = make_scene(Knowledge(Liveness(lambda: 0.0, patient)), max_conns_per_host=8)
    idle_connections(scene, 3)
    scene.time.advance(89.0)
    scene.post(b"again")
    scene.answer(scene.peers[2])
    scene.time.advance(2.0)
    assert [(event.number, event.reason) for event in scene.observer.closed] == [
        (1, CloseReason.IDLE_TIMEOUT),
        (2, CloseReason.IDLE_TIMEOUT),
    ]
    assert scene.pool.alive == 1


def test_idle_connections_are_used_before_another_is_dialled(scene: Scene) -> None:
    idle_connections(scene, 2)
    scene.post(b"a", b"b", b"c")
    assert [exchange.connection for exchange in scene.work.pulled[-2:]] == [2, 1]
    assert scene.dialing == 1


def test_a_dead_idle_connection_is_passed_over_and_no_dial_made(scene: Scene) -> None:
    idle_connections(scene, 4)
    # The FINs have arrived, but the event loop has not seen them.
    scene.peers[3].close()
    scene.peers[2].close()
    scene.work.add(b"again")
    scene.pool.wake()
    assert scene.work.pulled[-1].connection == 2
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE] * 2
    scene.turn()
    assert scene.dialing == 0


def test_all_idle_connections_dead(scene: Scene) -> None:
    idle_connections(scene, 4)
    for peer in scene.peers:
        peer.close()
    scene.post(b"a", b"b")
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE] * 4
    assert scene.observer.failed_dials == []
    # As at the beginning: one alone.
    assert scene.dialing == 1
    assert scene.work.failures == []
    scene.connect()
    assert scene.work.pulled[-1].body == b"a"


@pytest.mark.parametrize(
    ("limits", "closed"),
    [
        # Of one host's, the last to become idle goes; of all, the one that has been idle for longest.
        ({"max_idle_conns_per_host": 2}, [3, 4]),
        ({"max_idle_conns": 2}, [1, 2]),
        ({"max_idle_conns": 2, "max_idle_conns_per_host": 5}, [1, 2]),
        ({"max_idle_conns": 2, "max_idle_conns_per_host": 3}, [1, 2]),
        ({"max_idle_conns": 5, "max_idle_conns_per_host": 2}, [3, 4]),
    ],
)
def test_no_more_idle_connections_than_the_limits(
    make_scene: MakeScene, limits: dict[str, int], closed: list[int]
) -> None:
    scene = make_scene(max_conns_per_host=8, **limits)
    idle_connections(scene, 4)
    scene.turn()
    assert [(event.number, event.reason) for event in scene.observer.closed] == [
        (number, CloseReason.IDLE_LIMIT) for number in closed
    ]
    assert scene.pool.alive == 2


def test_no_idle_connections_at_all(make_scene: MakeScene) -> None:
    scene = make_scene(max_idle_conns_per_host=0)
    idle_connections(scene, 1)
    assert scene.observer.reasons == [CloseReason.IDLE_LIMIT]
    assert scene.pool.alive == 0


def test_by_default_no_idle_connection_is_thrown_away(scene: Scene) -> None:
    idle_connections(scene, 8)
    assert scene.pool.alive == 8
    assert scene.observer.closed == []


def test_an_unused_connection_that_the_server_closes_is_no_failure(scene: Scene) -> None:
    scene.post(b"1", b"2")
    first = scene.connect()
    scene.answer(first)
    scene.answer(first)
    spare = scene.connect()
    assert scene.pool.alive == 2
    spare.finish()
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert scene.asked == []
    assert scene.observer.failed_dials == []


def test_closed_connections_are_let_go(scene: Scene) -> None:
    idle_connections(scene, 4)
    for peer in scene.peers[:3]:
        peer.close()
    turn_until(scene.loop, lambda: scene.pool.alive == 1)
    gc.collect()
    assert [thing.number for thing in gc.get_objects() if type(thing) is Connection] == [4]
