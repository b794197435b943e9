"""What the keeper asks of connections that carry many exchanges."""

from __future__ import annotations

from pool_scene import MakeScene
from server_ends import STREAMS

from livepost.net.connection_state import ConnectionState
from livepost.net.fact import Fact, Source, Subject
from livepost.net.knowledge import KeepAlive, Knowledge
from livepost.net.liveness import Liveness
from livepost.wire.message import RequestHead

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
