"""Streams before connections: no more connections than streams are wanted."""

from __future__ import annotations

from pool_scene import MakeScene, bodies
from server_ends import STREAMS, Http2End, streams

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.wire.frames import ErrorCode, rst_stream_frame, settings_frame


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
