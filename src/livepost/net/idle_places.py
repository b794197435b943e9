"""How many idle connections are kept, to one host and to all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from livepost.config import Limits
from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState


class Idler(Protocol):
    """What is asked of a live connection (`net.connection.Connection`)."""

    is_worn: bool
    """Another is to take its place."""
    idle_since: float

    @property
    def state(self) -> ConnectionState: ...

    def close(self, reason: CloseReason) -> None: ...


class IdlePlaces:
    """Closes idle connections beyond `limits`, for all pools of a run together.

    A pool calls `share` once, with those of its connections that wait for work, and `taken` when one has
    become idle.  As with Go's Transport, of too many to one host (MaxIdleConnsPerHost) the last to become
    idle goes at once, and of too many to all hosts (MaxIdleConns) the one that has been idle for longest:
    soon, by `call_soon`, because it may be another pool's, and that pool in the middle of a round.
    """

    def __init__(self, limits: Limits, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._per_host = limits.idle_per_host
        self._in_all = limits.max_idle_conns
        self._call_soon = call_soon
        self._waiting: list[Mapping[int, Idler]] = []
        self._is_due = False

    def share(self, waiting: Mapping[int, Idler]) -> None:
        self._waiting.append(waiting)

    def taken(self, connection: Idler, waiting: Mapping[int, Idler]) -> None:
        """The connection, of those of its pool that wait for work, has become idle; it may be closed now."""
        per_host = self._per_host
        if len(waiting) > per_host and len(_idle(waiting.values(), per_host)) > per_host:
            connection.close(CloseReason.IDLE_LIMIT)
        elif self._in_all is not None and not self._is_due and sum(map(len, self._waiting)) > self._in_all:
            self._is_due = True
            self._call_soon(self._close_the_longest_idle)

    def _close_the_longest_idle(self) -> None:
        self._is_due = False
        most = self._in_all or 0
        idle = _idle((connection for waiting in self._waiting for connection in waiting.values()), most)
        idle.sort(key=lambda connection: connection.idle_since)
        for connection in idle[: max(0, len(idle) - most)]:
            # The end of one may have brought work to another.
            if connection.state is ConnectionState.IDLE:
                connection.close(CloseReason.IDLE_LIMIT)


def _idle(connections: Iterable[Idler], most: int) -> list[Idler]:
    """Those that take up a place."""
    # Over HTTP/2, one that carries something may wait for more.  A worn one is replaced already, so it
    # takes up none where there are any.
    return [
        connection
        for connection in connections
        if connection.state is ConnectionState.IDLE and not (connection.is_worn and most)
    ]
