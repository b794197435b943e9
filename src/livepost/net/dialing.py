"""The seam between a pool and whoever makes its connections."""

from __future__ import annotations

import ssl
from typing import Protocol

from livepost.errors import DialError
from livepost.events import CloseReason
from livepost.net.dial import Dialed


class Dialing(Protocol):
    """What makes connections (`net.dial.Dialer`)."""

    async def dial(self) -> Dialed:
        """Make one connection, or raise DialError."""

    def speak_http_1_1(self) -> None:
        """Offer no other version from now on."""

    def explain_refusal(self, error: ssl.SSLError) -> DialError:
        """What it means that the server did not take our certificate, which it said on a connection."""

    def keep_session(self, sock: ssl.SSLSocket) -> None:
        """A first answer was read on this socket: its TLS session may be of use for another dial."""


def ended_unanswered(reason: CloseReason) -> DialError:
    """A connection that ended so, without an answer, as a dial that failed."""
    return DialError(
        f"connections to the server end without an answer ({reason.value.replace('_', ' ')})",
        "is it an HTTP server, and does it want TLS or a client certificate?",
    )
