"""How many requests each connection carried, in little memory.

Each different number is counted once, exactly: as many different numbers as d need at least
0 + 1 + ... + (d - 1) requests, so d is at most about the root of twice the requests.  A run of a
thousand million requests keeps 44 722 numbers at worst.  In practice a few do: a server that ends
connections does so after the same number of requests, or after a time.
"""

from __future__ import annotations

from collections import Counter


class RequestsPerConnection:
    """The least, the median and the most requests over any number of connections, exactly.

    A connection that carried none counts, too.  With nothing recorded all three are 0.
    """

    __slots__ = ("_connections",)

    def __init__(self) -> None:
        self._connections: Counter[int] = Counter()
        """How many there were, by requests carried."""

    def record(self, requests: int) -> None:
        """Count a connection that carried so many."""
        self._connections[requests] += 1

    @property
    def least(self) -> int:
        return min(self._connections, default=0)

    @property
    def median(self) -> int:
        """The smallest number that at least half of the connections do not exceed (nearest rank)."""
        half = self._connections.total() / 2
        seen = 0
        for requests, connections in sorted(self._connections.items()):
            seen += connections
            if seen >= half:
                return requests
        return 0

    @property
    def most(self) -> int:
        return max(self._connections, default=0)
