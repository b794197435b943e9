"""What the keeper asks of connections that carry many exchanges, and what it does with the answer."""

from __future__ import annotations

import pytest
from pool_scene import MakeScene
from server_ends import STREAMS, streams

from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.net.fact import Fact, Source, Subject
from livepost.net.knowledge import KeepAlive, Knowledge
from livepost.net.liveness import Liveness
from livepost.wire.message import RequestHead


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


HEALTH = RequestHead(method=b"GET", target=b"/health", authority=b"localhost", scheme=b"http", fields=())


def test_no_heartbeat_while_the_server_gives_no_stream(make_scene: MakeScene) -> None:
    facts = {Subject.IDLE_LIMIT: Fact(60.0, Source.REMEMBERED, 0.0)}
    scene = make_scene(
        Knowledge(Liveness(lambda: 0.0, facts), keepalive=KeepAlive(HEALTH, beats=True, every=2.0)),
        max_conns_per_host=4,
    )
    scene.post(b"1")
    server = scene.join()
    server.answer()
    server.say(server.http2.change({STREAMS: 0}))
    server.serve()
    (connection,) = scene.pool._alive.values()
    scene.time.advance(7.0)
    assert (connection.state, connection.probes) == (ConnectionState.IDLE, 0)
    # As soon as there may be a stream, its time begins anew.
    server.say(server.http2.change({STREAMS: 5}))
    server.serve()
    scene.time.advance(2.0)
    assert (connection.state, connection.probes) == (ConnectionState.TESTING, 1)
    server.serve()
    server.say(server.end.answer())
    assert scene.observer.heartbeats == [1]
    scene.post(b"2")
    server.serve()
    server.answer()
    assert scene.crashes == []
