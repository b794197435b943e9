"""After how many requests a server ends each connection, found out by seeing it happen."""

from __future__ import annotations


class RequestsLimit:
    """`known` is that number, or None: once a server has ended two connections in a row after as many.

    A single number says little: a server ends connections also when it starts anew.
    """

    __slots__ = ("_last_seen", "known")

    def __init__(self) -> None:
        self.known: int | None = None
        self._last_seen = 0

    def learn(self, requests: int) -> bool:
        """The server has announced the end of a connection with its request of this number.

        True if that changed what is known.
        """
        before = self.known
        if requests > 1 and requests == self._last_seen:
            self.known = requests
        elif self.known is not None and requests > self.known:
            self.known = None
        self._last_seen = requests
        return self.known != before

    def forget(self) -> None:
        """The server took more: it was none."""
        self.known = None
        self._last_seen = 0
