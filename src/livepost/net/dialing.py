"""The seam between a pool and whoever makes its connections."""

from __future__ import annotations

import ssl
from typing import Protocol

from livepost.net.dial import Dialed


class Dialing(Protocol):
    """What makes connections (`net.dial.Dialer`)."""

    async def dial(self) -> Dialed:
        """Make one connection, or raise DialError."""

    def speak_http_1_1(self) -> None:
        """Offer no other version from now on."""

    def keep_session(self, sock: ssl.SSLSocket) -> None:
        """A first answer was read on this socket: its TLS session may be of use for another dial."""
