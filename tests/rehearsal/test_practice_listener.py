from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from raw_client import RawClient

from livepost.errors import ConfigurationError
from livepost.rehearsal import listener as listener_module
from livepost.rehearsal.listener import Listener, listen, listen_on_path

pytestmark = pytest.mark.usefixtures("each_loop")


class Scarce(socket.socket):
    """Its process has no file descriptor left for the first few connections."""

    failures = 3
    accepts = 0

    def __init__(self) -> None:
        super().__init__()
        self.tried = asyncio.Event()

    def accept(self) -> tuple[socket.socket, object]:
        self.accepts += 1
        self.tried.set()
        if self.accepts <= self.failures:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def run(steps: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run the steps; nothing may go wrong in a callback either."""
    faults: list[dict[str, object]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: faults.append(context))
        runner.run(steps())
    assert faults == []


def scarce_listener() -> tuple[Scarce, Listener]:
    sock = Scarce()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock, Listener(sock)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    async def steps() -> None:
        listener = await listen("127.0.0.1", 0)
        client = RawClient.dial(listener.port)
        accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener.start(accepted.put_nowait)
        with await accepted.get() as sock, client:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        listener.close()

    run(steps)


def test_every_connection_that_waits_is_handed_over() -> None:
    async def steps() -> None:
        listener = await listen("127.0.0.1", 0)
        clients = [RawClient.dial(listener.port) for _ in range(20)]
        accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener.start(accepted.put_nowait)
        for _ in clients:
            with await accepted.get() as sock:
                assert not sock.getblocking()
        listener.close()
        for client in clients:
            with client:
                assert client.ending() == "closed"

    run(steps)


def test_without_file_descriptors_it_pauses_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PAUSE_SECONDS", 0.01)

    async def steps() -> None:
        sock, listener = scarce_listener()
        accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        listener.start(accepted.set_result)
        with RawClient.dial(listener.port):
            (await accepted).close()
        assert sock.accepts == 5  # three in vain, the connection, and the look whether there are more
        listener.close()

    run(steps)


def test_while_it_pauses_it_does_not_try() -> None:
    async def steps() -> None:
        sock, listener = scarce_listener()
        listener.start(socket.socket.close)
        with RawClient.dial(listener.port):
            await sock.tried.wait()
            for _ in range(5):
                await asyncio.sleep(0)
        assert sock.accepts == 1
        listener.close()

    run(steps)


def test_it_can_be_closed_while_it_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PAUSE_SECONDS", 0.01)

    async def steps() -> None:
        sock, listener = scarce_listener()
        listener.start(socket.socket.close)
        with RawClient.dial(listener.port) as client:
            await sock.tried.wait()
            listener.close()
            await asyncio.sleep(0.02)  # until after the pause would have ended
            assert client.ending() == "reset"
        assert sock.accepts == 1

    run(steps)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_refuses_and_then_listens_again_on_the_same_port(host: str) -> None:
    async def steps() -> None:
        listener = await listen(host, 0)
        port = listener.port
        accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener.start(accepted.put_nowait)
        with socket.create_connection((host, port)), await accepted.get():
            for _ in range(2):
                with socket.create_connection((host, port)) as waiting:
                    listener.refuse()
                    listener.refuse()
                    waiting.settimeout(1)
                    with pytest.raises(ConnectionResetError):
                        waiting.recv(1)
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port))
                with pytest.raises(ConfigurationError):
                    await listen(host, port)  # nobody else gets the port meanwhile
                listener.start(accepted.put_nowait)
                with socket.create_connection((host, port)), await accepted.get():
                    assert listener.port == port
        listener.close()

    run(steps)


def test_while_it_pauses_connections_wait() -> None:
    async def steps() -> None:
        listener = await listen("127.0.0.1", 0)
        accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener.start(accepted.put_nowait)
        listener.pause()
        with RawClient.dial(listener.port):
            await asyncio.sleep(0.02)
            assert accepted.empty()
            listener.start(accepted.put_nowait)
            (await accepted.get()).close()
        listener.close()

    run(steps)


def test_a_unix_socket_refuses_and_listens_again(tmp_path: Path) -> None:
    async def steps() -> None:
        path = str(tmp_path / "socket")
        listener = listen_on_path(path)
        accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener.start(accepted.put_nowait)
        listener.refuse()
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(path)
        listener.start(accepted.put_nowait)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            (await accepted.get()).close()
        listener.close()

    run(steps)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_listened_on() -> None:
    async def steps() -> None:
        taken = await listen("127.0.0.1", 0)
        with pytest.raises(ConfigurationError, match=f"^port {taken.port} is taken$"):
            await listen("127.0.0.1", taken.port)
        taken.close()
        with pytest.raises(ConfigurationError, match="listen on /nowhere/x: No such file or directory"):
            listen_on_path("/nowhere/x")
        with pytest.raises(ConfigurationError, match="path too long"):
            listen_on_path("/tmp/" + "x" * 200)

    run(steps)


def test_a_port_for_the_privileged(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_server(*_: object, **__: object) -> socket.socket:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    async def steps() -> None:
        monkeypatch.setattr(socket, "create_server", create_server)
        with pytest.raises(ConfigurationError, match="port 80 needs privileges"):
            await listen("127.0.0.1", 80)

    run(steps)
