"""After how many requests a server ends each connection, found out by seeing it happen."""

from __future__ import annotations

_FEWEST_WORTH_A_HANDSHAKE = 100
_ALIKE = 0.1


class RequestsLimit:
    """`known` is that number, or None: once a server has ended two connections in a row after as many.

    A single number says little: a server ends connections also when it starts anew.

    Some servers say goodbye and then leave requests unanswered that they had taken (hypercorn 0.18: all that
    are open with the 1,001st).  What they answered before, twice about as many, is then a limit that
    `is_ours`: we end the connection there, as it must not come so far.
    """

    __slots__ = ("_last_answered", "_last_seen", "is_ours", "known")

    def __init__(self) -> None:
        self.known: int | None = None
        self.is_ours = False
        self._last_seen = 0
        self._last_answered = 0

    def learn(self, requests: int) -> bool:
        """The server has announced the end of a connection with its request of this number.

        True if that changed what is known.
        """
        if self.is_ours:
            return False
        before = self.known
        if requests > 1 and requests == self._last_seen:
            self.known = requests
        elif self.known is not None and requests > self.known:
            self.known = None
        self._last_seen = requests
        return self.known != before

    def let_down(self, answered: int) -> bool:
        """The server has ended a connection as announced, leaving requests unanswered that it had taken.

        True if that changed what is known.
        """
        before, last = self.known, self._last_answered
        self._last_answered = answered
        if answered < _FEWEST_WORTH_A_HANDSHAKE or abs(answered - last) > _ALIKE * answered:
            return False
        self.known = min(answered, last)
        self.is_ours = True
        return self.known != before

    def forget(self) -> None:
        """The server took more: it was none."""
        self.known = None
        self._last_seen = 0
