"""Dials over loopback, and what listens there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from net_fakes import descriptors

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, RouteOptions, Timeouts, TlsOptions
from livepost.errors import DialError
from livepost.net.dial import Dialer
from livepost.target import parse_target

Loop = asyncio.AbstractEventLoop


def make_dialer(url: str, *, tls: TlsOptions | None = None, **settings: Any) -> Dialer:
    """Settings are those of the route, and timeouts."""
    limits = {name: settings.pop(name) for name in tuple(settings) if name.endswith(("_timeout", "_time"))}
    options = DeliveryOptions(
        target=parse_target(url),
        route=RouteOptions(**settings),
        timeouts=Timeouts(**limits),
        tls=tls or TlsOptions(),
    )
    return Dialer(options, None, monotonic)


def dial(loop: Loop, dialer: Dialer) -> str:
    """Dial, hang up, and return where to."""
    dialed = loop.run_until_complete(dialer.dial())
    dialed.socket.close()
    return dialed.address


def failure(loop: Loop, dialer: Dialer) -> tuple[type[DialError], str, str]:
    """The error of a dial: its class, message and hint.  Nothing stays open."""
    before = descriptors()
    with pytest.raises(DialError) as caught:
        loop.run_until_complete(dialer.dial())
    assert descriptors() == before
    return caught.type, str(caught.value), caught.value.hint


class Listener:
    """Listens on one address; the kernel accepts."""

    def __init__(self, host: str, port: int = 0, backlog: int = 100) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.listen(backlog)
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        self._fillers: list[socket.socket] = []

    def become_silent(self) -> None:
        """Fill the queue, so that the kernel answers no further SYN."""
        self.socket.listen(0)
        for _ in range(2):
            filler = socket.socket(self.socket.family)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((self.host, self.port))
            self._fillers.append(filler)

    def close(self) -> None:
        self.socket.close()
        for filler in self._fillers:
            filler.close()


def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
