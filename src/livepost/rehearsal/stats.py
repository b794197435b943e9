"""What the practice server counts.

Looking does not disturb the numbers: a connection that asked for nothing but `GET /stats` is left
out of all of them, so that they are the same whether or not somebody watched.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EndReason(enum.Enum):
    """Which limit a connection had reached when the server ended it."""

    IDLE = "idle"
    CAP = "cap"
    """The number of requests."""
    AGE = "age"


@dataclass(frozen=True, slots=True)
class ServerStats:
    """The numbers at one moment."""

    connections: int
    """TCP (or unix) connections accepted, whether or not a request ever came on them."""
    requests: int
    """Requests for `/api` read to their end, whatever they were answered with."""
    handshakes: int
    """TLS handshakes completed, full or resumed."""
    open: int
    """Connections accepted and not yet closed."""
    resumed: int = 0
    """TLS handshakes that resumed an earlier session; the others were full."""
    http2: int = 0
    """Connections that spoke HTTP/2; the others spoke HTTP/1.1, or nothing."""
    idle_ends: int = 0
    """Connections that the server ended because they were idle for too long."""
    cap_ends: int = 0
    """… because they had carried as many requests as they may."""
    age_ends: int = 0
    """… because they had become too old."""


class Tally:
    """The numbers as they grow."""

    __slots__ = ("connections", "handshakes", "open", "requests", "resumed", "http2", "ended")

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.handshakes = 0
        self.open = 0
        self.resumed = 0
        self.http2 = 0
        self.ended = dict.fromkeys(EndReason, 0)

    def stats(self) -> ServerStats:
        return ServerStats(
            self.connections,
            self.requests,
            self.handshakes,
            self.open,
            self.resumed,
            self.http2,
            self.ended[EndReason.IDLE],
            self.ended[EndReason.CAP],
            self.ended[EndReason.AGE],
        )
