"""A pool whose dials, work, time and servers are in the test's hands."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import cast

from net_fakes import (
    ANSWER,
    FakeWork,
    ManualTime,
    ManualTimeLoop,
    ManualTimer,
    Peer,
    RecordingObserver,
    tcp_pair,
    turn,
    turn_until,
)
from server_ends import Http2End, ServerEnd

from livepost.config import Limits, Timeouts
from livepost.errors import DialError
from livepost.events import CloseReason, HttpVersion
from livepost.net.deadlines import Deadlines
from livepost.net.dial import Dialed
from livepost.net.knowledge import Knowledge
from livepost.net.poller import Poller
from livepost.net.pool import Pool
from livepost.net.surroundings import Surroundings
from livepost.wire.http1 import Http1Machine
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Machine

REFUSED = DialError("refused", "")


def make_machine(version: HttpVersion) -> Machine:
    return Http2Machine() if version is HttpVersion.HTTP_2 else Http1Machine()


def bodies(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(1, count + 1)]


def patiently(error: DialError, failures: int) -> float | None:
    """A redial delay: growing pauses; gives up at the twelfth failure."""
    return None if failures >= 12 else min(5.0, 0.1 * 2.0**failures)


class ManualDialer:
    """Dials end when, and as, the test says."""

    def __init__(self) -> None:
        self.pending: list[asyncio.Future[Dialed]] = []
        self.started = 0
        self.cancelled = 0
        self.versions = [HttpVersion.HTTP_2, HttpVersion.HTTP_1_1]

    def speak_http_1_1(self) -> None:
        self.versions = [HttpVersion.HTTP_1_1]

    def explain_refusal(self, error: ssl.SSLError) -> DialError:
        raise AssertionError("there is no TLS here")

    def keep_session(self, sock: ssl.SSLSocket) -> None:
        raise AssertionError("there is no TLS here")

    async def dial(self) -> Dialed:
        future = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        self.started += 1
        try:
            return cast(Dialed, await future)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.pending.remove(future)


class Scene:
    """A pool whose dials, work, time and servers are in the test's hands."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        time: ManualTime,
        limits: Limits,
        knowledge: Knowledge | None = None,
    ) -> None:
        self.loop = loop
        self.time = time
        self.dialer = ManualDialer()
        self.work = FakeWork()
        self.observer = RecordingObserver()
        self.expects_more = True
        self.to_come = math.inf
        knowledge = knowledge or Knowledge()
        self.liveness = knowledge.liveness
        self._is_closed = False
        self.peers: list[Peer] = []
        """The servers' ends of the connections, in the order in which they were made."""
        self.delays: list[float | None] = []
        """What `redial_delay` says next; when there is nothing left, 1 s."""
        self.asked: list[tuple[str, int]] = []
        self.pauses: list[float] = []
        """How long the pool was to wait before it dials again, each time."""
        self.pause: ManualTimer | None = None
        self.unreachable: list[DialError] = []
        self.crashes: list[Exception] = []
        self.deadlines = Deadlines(time, time.call_later)
        self.poller = Poller(self.work, time, loop)
        self.pool = Pool(
            self.dialer,
            make_machine,
            limits,
            Surroundings(
                self.work,
                Timeouts(max_time=60.0, idle_conn_timeout=90.0),
                self.deadlines,
                time,
                self.poller,
                self.observer,
            ),
            cast(asyncio.AbstractEventLoop, ManualTimeLoop(loop, self._call_later)),
            to_come=lambda: self.to_come if self.expects_more else 0.0,
            redial_delay=self._redial_delay,
            on_unreachable=self.unreachable.append,
            on_crash=self.crashes.append,
            knowledge=knowledge,
        )

    def _call_later(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        self.pauses.append(seconds)
        self.pause = self.time.call_later(seconds, callback)
        return self.pause

    def _redial_delay(self, error: DialError, failures: int) -> float | None:
        self.asked.append((str(error), failures))
        return self.delays.pop(0) if self.delays else 1.0

    @property
    def dialing(self) -> int:
        return len(self.dialer.pending)

    def turn(self) -> None:
        turn(self.loop)

    def wake(self) -> None:
        self.pool.wake()
        self.turn()

    def post(self, *bodies: bytes) -> None:
        """Work arrives."""
        self.work.add(*bodies)
        self.wake()

    def connect(
        self,
        before: Callable[[Peer], None] | None = None,
        version: HttpVersion = HttpVersion.HTTP_1_1,
    ) -> Peer:
        """Let the oldest dial succeed; `before` is what the server does first."""
        ours, theirs = tcp_pair()
        peer = Peer(theirs, self.turn)
        self.peers.append(peer)
        if before is not None:
            before(peer)
        self.dialer.pending[0].set_result(Dialed(ours, "192.0.2.1:80", 0.25, None, False, version))
        self.turn()
        return peer

    def join(self, end: ServerEnd | None = None, *, greets: bool = True) -> Server:
        """As `connect`, with a server that speaks for itself, HTTP/2 by default."""
        end = end or Http2End()
        version = HttpVersion.HTTP_2 if isinstance(end, Http2End) else HttpVersion.HTTP_1_1
        server = Server(self, self.connect(version=version), end)
        if greets:
            server.say(end.greeting())
            server.serve()
        return server

    def refuse(self, error: Exception = REFUSED) -> None:
        """Let the oldest dial fail."""
        self.dialer.pending[0].set_exception(error)
        self.turn()

    def answer(self, peer: Peer) -> bytes:
        """The server answers one request; returns its body."""
        body = peer.read_request().rpartition(b"\r\n\r\n")[2]
        answers = len(self.work.answers)
        peer.send(ANSWER)
        turn_until(self.loop, lambda: len(self.work.answers) > answers)
        return body

    def close(self, reason: CloseReason = CloseReason.FINISHED) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.pool.close(reason)
        self.loop.run_until_complete(self.pool.wait_closed())
        self.turn()


class Server:
    """The server's side of one of the pool's connections."""

    def __init__(self, scene: Scene, peer: Peer, end: ServerEnd) -> None:
        self._scene = scene
        self.peer = peer
        self.end = end

    @property
    def http2(self) -> Http2End:
        assert isinstance(self.end, Http2End)
        return self.end

    def say(self, data: bytes) -> None:
        self.peer.send_all(data)
        self._scene.turn()

    def serve(self) -> int:
        """Take what has come; how many requests have come wholly so far."""
        while True:
            self._scene.turn()
            said = self.end.receive(self.peer.read_some())
            if said:
                self.say(said)
            elif not self.peer.has_some():
                return len(self.end.bodies)

    def answer(self, count: int = 1) -> None:
        """Answer the oldest requests."""
        for _ in range(count):
            before = len(self._scene.work.answers)
            self.say(self.end.answer())
            while len(self._scene.work.answers) == before:
                self._scene.turn()


MakeScene = Callable[..., Scene]
