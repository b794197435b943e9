"""Streams before connections: no more connections than streams are wanted."""

from __future__ import annotations

from pool_scene import MakeScene, Scene, Server, bodies
from server_ends import STREAMS, Http2End, streams

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.net.connection_state import ConnectionState
from livepost.net.fact import Subject
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


def late_alone(make_scene: MakeScene) -> tuple[Scene, Server]:
    """A request took too long, a later one was answered, and it is asked whether the server is there."""
    scene = make_scene(max_conns_per_host=64)
    scene.post(b"late")
    server = scene.join(streams(2))
    scene.time.advance(50.0)
    scene.post(b"2")
    server.serve()
    server.http2.unanswered.reverse()
    server.answer()
    scene.time.advance(10.0)
    assert [body for body, _, _ in scene.work.failures] == [b"late"]
    assert [connection.state for connection in scene.pool._alive.values()] == [ConnectionState.TESTING]
    return scene, server


def test_work_waits_for_a_connection_that_is_asked_after_a_late_request(make_scene: MakeScene) -> None:
    scene, server = late_alone(make_scene)
    scene.post(b"3")
    assert (scene.dialing, scene.work.waiting) == (0, 1)
    # Also if there is more than it will take.
    scene.post(b"4", b"5")
    assert (scene.dialing, scene.work.waiting) == (1, 3)
    assert server.serve() == 4
    assert scene.work.waiting == 1


def test_the_end_of_a_connection_that_was_not_idle_tells_nothing_of_pauses(make_scene: MakeScene) -> None:
    scene, server = late_alone(make_scene)
    scene.time.advance(2.0)
    server.peer.read_some()
    server.peer.close()
    scene.turn()
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE]
    assert Subject.IDLE_LIMIT not in scene.liveness.facts
