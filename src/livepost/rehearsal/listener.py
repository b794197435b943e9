"""A listening socket: hands over each connection as soon as the kernel has accepted it.

asyncio's own server tells about a TLS connection only once its handshake succeeded, and cannot
close one that never does.  Here a connection is counted, and can be closed, from its accept on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable

from livepost.errors import ConfigurationError

BACKLOG = 1024
"""Connections that the kernel completes ahead of us: a client may open hundreds at once."""
PAUSE_SECONDS = 0.5
"""How long not to accept after it failed, which it does when file descriptors run out."""


class Listener:
    """Accepts on one bound socket from `start` until `close`.

    In between it may `pause` or `refuse`, until the next `start`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._refuses = False
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """0 for a unix socket."""
        return 0 if self._socket.family == socket.AF_UNIX else int(self._socket.getsockname()[1])

    def start(self, on_accept: Callable[[socket.socket], None]) -> None:
        if self._refuses:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.listen(BACKLOG)
            self._refuses = False
        self._loop.add_reader(self._socket, self._accept, on_accept)

    def pause(self) -> None:
        """Accept none: the kernel completes up to BACKLOG connections, and there they wait."""
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._socket)

    def refuse(self) -> None:
        """Let the kernel refuse connections, and reset those that wait.

        The address stays taken: a socket that is bound but does not listen has it meanwhile.  Raises
        OSError if another process took it in the instant between.
        """
        if self._refuses:
            return
        self.pause()
        address, family = self._socket.getsockname(), self._socket.family
        self._close_socket()
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._socket.setblocking(False)
        self._socket.bind(address)
        # It was needed to bind beside the connections still open; left on, it would let others in.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        self._refuses = True

    def close(self) -> None:
        """Stop listening; a unix socket's path is removed."""
        self.pause()
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket.family == socket.AF_UNIX:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket.getsockname())
        self._socket.close()

    def _accept(self, on_accept: Callable[[socket.socket], None]) -> None:
        for _ in range(BACKLOG):  # bounded, so that those already here are served too
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._socket)
                self._resume = self._loop.call_later(PAUSE_SECONDS, self.start, on_accept)
                return
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                # asyncio does so only for sockets of which it knows the protocol.  Without it, answers over
                # HTTP/2 can wait 40 ms for an acknowledgement.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            on_accept(sock)


async def listen(host: str, port: int) -> Listener:
    """Listen on the first address of `host`; raises ConfigurationError."""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = addresses[0]
        return Listener(socket.create_server(address, family=family, backlog=BACKLOG))
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, error) from error


def listen_on_path(path: str) -> Listener:
    """Listen on a unix socket at `path`, which must not exist; raises ConfigurationError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on {path}: {error.strerror or error}", "choose another path"
        ) from error
    return Listener(sock)


def _refused(host: str, port: int, error: Exception) -> ConfigurationError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return ConfigurationError(f"port {port} is taken", "choose another with --port")
    if number == errno.EACCES:
        return ConfigurationError(f"port {port} needs privileges", "choose one above 1023 with --port")
    return ConfigurationError(f"{host} is not an address of this machine", "choose another with --host")
