"""Both event loops, watched: every descriptor is closed again, and no callback fails."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from certificates import Authority
from dial_world import Listener
from net_fakes import FakeWork, ManualTime, descriptors, tcp_pair, turn
from net_line import Line, MakeLine, MakeTlsPair
from pool_scene import MakeScene, Scene
from server_ends import ServerEnd

from livepost.config import Limits, Timeouts
from livepost.net.knowledge import Knowledge
from livepost.net.tls import handshake
from livepost.wire.machine import Machine


@pytest.fixture
def crashes() -> list[dict[str, Any]]:
    """What the event loop's exception handler is told; must be empty in the end."""
    return []


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(
    request: pytest.FixtureRequest, crashes: list[dict[str, Any]]
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of either kind."""
    loop: asyncio.AbstractEventLoop = request.param()
    loop.set_exception_handler(lambda loop, context: crashes.append(context))
    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    after = descriptors()
    if after != before:
        # What an ssl.SSLContext logs its keys to is closed with it.
        gc.collect()
        after = descriptors()
    loop.close()
    # Garbage of earlier tests may have been collected meanwhile.
    assert after.items() <= before.items()
    assert crashes == []


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has issued nothing."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(autouse=True)
def one_system_authority(stranger: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are many, and reading them takes longer than most tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca_file))


@pytest.fixture
def manual_time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def make_line(loop: asyncio.AbstractEventLoop, manual_time: ManualTime) -> Iterator[MakeLine]:
    """Makes lines, which are finished at the end."""
    lines: list[Line] = []

    def make(
        sockets: tuple[socket.socket, socket.socket] | None = None,
        *,
        work: FakeWork | None = None,
        end: ServerEnd | None = None,
        machine: Machine | None = None,
        **timeouts: float | None,
    ) -> Line:
        limits = Timeouts(**timeouts)
        line = Line(loop, manual_time, sockets or tcp_pair(), limits, work or FakeWork(), end, machine)
        lines.append(line)
        return line

    yield make
    for line in lines:
        line.finish()


@pytest.fixture
def line(make_line: MakeLine) -> Line:
    """A plain one, for HTTP/1.1."""
    return make_line()


@pytest.fixture
def tls_pair(
    loop: asyncio.AbstractEventLoop, client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> MakeTlsPair:
    """Both ends of a TLS connection; the server's end may leave the end of its handshake for later.

    That is when it sends its session tickets.
    """

    def make(
        buffer_bytes: int | None = None, *, finish: bool = True, server: ssl.SSLContext = server_tls
    ) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        ours, theirs = tcp_pair(buffer_bytes)
        secure = server.wrap_socket(
            theirs, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        task = loop.create_task(handshake(ours, client_tls, "localhost"))
        server_done = False
        while not task.done() or (finish and not server_done):
            turn(loop)
            if not server_done and not (task.done() and not finish):
                try:
                    secure.do_handshake()
                    server_done = True
                except ssl.SSLWantReadError:
                    pass
        return task.result(), secure

    return make


@pytest.fixture
def make_scene(loop: asyncio.AbstractEventLoop, manual_time: ManualTime) -> Iterator[MakeScene]:
    scenes = []

    def make(knowledge: Knowledge | None = None, **limits: Any) -> Scene:
        scenes.append(Scene(loop, manual_time, Limits(**limits), knowledge))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()
        for peer in scene.peers:
            peer.close()


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    return make_scene(max_conns_per_host=8)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners = []

    def make(host: str = "127.0.0.1", port: int = 0) -> Listener:
        listeners.append(Listener(host, port))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are connected to, in order."""
    seen: list[str] = []
    connect = socket.socket.connect

    def spy(sock: socket.socket, address: Any) -> None:
        seen.append(address[0] if isinstance(address, tuple) else address)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return seen
