"""What the practice server counts.

Looking does not disturb the numbers: a connection that asked for nothing but `GET /stats` is left
out of all of them, so that they are the same whether or not somebody watched.
"""

from __future__ import annotations

from dataclasses import dataclass


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


class Tally:
    """The numbers as they grow."""

    __slots__ = ("connections", "handshakes", "open", "requests")

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.handshakes = 0
        self.open = 0

    def stats(self) -> ServerStats:
        return ServerStats(self.connections, self.requests, self.handshakes, self.open)
