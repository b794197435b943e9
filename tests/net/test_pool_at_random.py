"""Whatever servers and dials do, in either protocol, the pool neither stalls nor exceeds its limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from h2.exceptions import ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st
from net_fakes import ANSWER, ManualTime, Peer
from pool_scene import Scene, Server, bodies
from server_ends import STREAMS, Http1End, Http2End

from livepost.config import Limits
from livepost.errors import DialError, PermanentDialError
from livepost.events import HttpVersion
from livepost.net.connection_state import ConnectionState

SECONDS = {"time": 1.0, "half a minute": 25.0, "long time": 100.0}
HTTP1_ACTIONS = [
    *["connect", "answer"] * 3,
    *("work", "time", "long time", "close", "reset", "accept and close", "refuse", "refuse for good"),
]
HTTP2_ACTIONS = [
    *["join", "greet", "answer", "answer all"] * 3,
    # Half a minute, so that of what a connection carries some is overdue and some is not.
    *("work", "time", "half a minute", "long time", "dial fails", "close", "reset", "serve", "window"),
    *("goodbye", "calm", "downgrade", "no streams", "one stream", "three streams", "refuse"),
]


class Chaos:
    """A pool among servers and dials that do anything."""

    most_connections: int

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.scene = Scene(loop, ManualTime(), limits)

    def act(self, action: str) -> None:
        if action in SECONDS:
            self.scene.time.advance(SECONDS[action])
        else:
            self.do(action)
        self.scene.turn()

    def do(self, action: str) -> None:
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        work = self.scene.work
        return len(work.pulled) - len(work.answers) - len(work.failures)

    @property
    def is_waiting_for_a_server(self) -> bool:
        """What is idle must not be used now."""
        return False

    def check(self) -> None:
        scene = self.scene
        assert scene.pool.alive + scene.dialing <= self.most_connections
        assert len(scene.observer.opened) - len(scene.observer.closed) == scene.pool.alive
        if scene.work.waiting and not scene.unreachable:
            paused = scene.pause is not None and scene.pause.is_pending
            assert scene.dialing or paused or self.in_flight or self.is_waiting_for_a_server


def live_through(make_chaos: Callable[[asyncio.AbstractEventLoop], Chaos], actions: list[str]) -> None:
    loop = asyncio.new_event_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: faults.append(context))
    chaos = make_chaos(loop)
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


def give_up_after_three(error: DialError, failures: int) -> float | None:
    return None if isinstance(error, PermanentDialError) or failures >= 3 else 1.0


class Http1Chaos(Chaos):
    most_connections = 4

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, Limits(max_conns_per_host=4, max_idle_conns=3))
        self.scene.pool._redial_delay = give_up_after_three

    def do(self, action: str) -> None:
        scene = self.scene
        if action == "work":
            scene.post(b"a", b"b", b"c")
        elif action in ("connect", "accept and close", "refuse", "refuse for good"):
            if scene.dialing:
                self.end_dial(action)
        elif peer := next((peer for peer in scene.peers if peer.sock.fileno() >= 0), None):
            # The others get their turn.
            scene.peers.remove(peer)
            scene.peers.append(peer)
            self.serve(peer, action)

    def end_dial(self, action: str) -> None:
        if action == "connect":
            self.scene.connect()
        elif action == "accept and close":
            self.scene.connect(Peer.close)
        elif action == "refuse":
            self.scene.refuse()
        else:
            self.scene.refuse(PermanentDialError("no"))

    def serve(self, peer: Peer, action: str) -> None:
        if action == "answer":
            # The pool may have closed this connection.
            with contextlib.suppress(ConnectionError):
                if not peer.has_nothing():
                    peer.send(ANSWER)
        elif action == "close":
            peer.close()
        else:
            peer.reset()

    def check(self) -> None:
        super().check()
        assert self.in_flight <= self.scene.pool.alive


class Http2Chaos(Chaos):
    # One is to follow another that still carries something.
    most_connections = 8 + 1

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, Limits(max_conns_per_host=8, max_idle_conns=2))
        self.servers: list[Server] = []

    def do(self, action: str) -> None:
        scene = self.scene
        if action == "work":
            scene.post(*bodies(5))
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

    @property
    def is_waiting_for_a_server(self) -> bool:
        """It is asked whether it is there, or gives no room."""
        return any(
            connection.state is ConnectionState.TESTING or not connection._machine.room
            for connection in self.scene.pool._alive.values()
        )

    def check(self) -> None:
        super().check()
        assert 0 <= self.in_flight == 8 - self.scene.poller.free <= 8
        carried = sum(connection._machine.open_exchanges for connection in self.scene.pool._alive.values())
        assert self.in_flight == carried


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HTTP1_ACTIONS), min_size=5, max_size=40))
def test_over_http_1_1_work_never_waits_for_nothing(actions: list[str]) -> None:
    live_through(Http1Chaos, actions)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(HTTP2_ACTIONS), min_size=5, max_size=60))
def test_over_http_2_work_never_waits_for_nothing(actions: list[str]) -> None:
    live_through(Http2Chaos, actions)
