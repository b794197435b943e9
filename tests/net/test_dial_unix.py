"""Dials to unix sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from dial_world import Loop, dial, failure, make_dialer
from scripted_peer import ScriptedPeer

from livepost.config import TlsOptions
from livepost.errors import DialError, PermanentDialError


def test_a_unix_socket(loop: Loop, tmp_path: Path, attempts: list[str]) -> None:
    path = str(tmp_path / "server.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        dialer = make_dialer("http://no-such-host.test/", unix_socket=path)
        assert dial(loop, dialer) == path
        assert dial(loop, dialer) == path
    assert attempts == [path, path]


def full_unix_socket(path: Path) -> tuple[socket.socket, socket.socket]:
    """A server that accepts nobody, and the one client in its queue."""
    listener, first = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    first.connect(str(path))
    return listener, first


def test_a_unix_socket_whose_queue_is_full_is_waited_for(loop: Loop, tmp_path: Path) -> None:
    async def main(listener: socket.socket) -> None:
        task = asyncio.create_task(make_dialer("http://api.test/", unix_socket=str(path)).dial())
        await asyncio.sleep(0.05)
        assert not task.done()
        accepted = [listener.accept()[0]]
        dialed = await task
        assert (dialed.address, dialed.socket.send(b"x")) == (str(path), 1)
        accepted.append(listener.accept()[0])
        assert accepted[1].recv(9) == b"x"
        for sock in (*accepted, dialed.socket):
            sock.close()

    path = tmp_path / "server.sock"
    listener, first = full_unix_socket(path)
    with listener, first:
        loop.run_until_complete(main(listener))


def test_a_unix_socket_whose_queue_stays_full(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    listener, first = full_unix_socket(path)
    with listener, first:
        dialer = make_dialer("http://api.test/", unix_socket=str(path), connect_timeout=0.05)
        assert failure(loop, dialer)[:2] == (
            DialError,
            f"unix socket {path} did not take a connection within 0.05 s",
        )


def test_tls_over_a_unix_socket(loop: Loop, tmp_path: Path, authority: Authority) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read()

    async def main() -> None:
        path = tmp_path / "server.sock"
        context = authority.server_context("api.test")
        async with ScriptedPeer(wait, ssl_context=context, unix_socket=path):
            dialer = make_dialer(
                "https://api.test/", unix_socket=str(path), tls=TlsOptions(cacert=str(authority.ca_file))
            )
            dialed = await dialer.dial()
            assert (dialed.address, dialed.tls_version) == (str(path), "TLSv1.3")
            dialed.socket.close()

    loop.run_until_complete(main())


def test_a_unix_socket_that_is_not_there(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    dialer = make_dialer("http://api.test/", unix_socket=str(path))
    # Not for good: a server that starts again makes it anew.
    assert failure(loop, dialer) == (
        DialError,
        f"unix socket {path} cannot be opened: No such file or directory",
        "check --unix-socket",
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert failure(loop, dialer) == (
        DialError,
        f"unix socket {path} refused the connection",
        "is the server running, and is that its port?",
    )


def test_a_unix_socket_that_will_never_work(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 200)
    assert failure(loop, make_dialer("http://api.test/", unix_socket=str(long))) == (
        PermanentDialError,
        f"unix socket {long} cannot be opened: AF_UNIX path too long",
        "check --unix-socket",
    )

    def forbid(sock: socket.socket, address: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", forbid)
    assert failure(loop, make_dialer("http://api.test/", unix_socket="/run/private.sock")) == (
        PermanentDialError,
        "unix socket /run/private.sock cannot be opened: Permission denied",
        "check --unix-socket",
    )
