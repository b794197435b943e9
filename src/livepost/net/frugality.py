"""Spares the handshakes of connections that would carry next to nothing, near the end of the work.

A server that takes only so many requests on a connection has it replaced again and again, and when the work
ends, the last replacements are on average half used.  As long as those that are live can carry all that is
to come, one after the other, none of them is replaced.  With ever fewer connections that takes longer, and to
be done soon matters more: where it would be more than half a second, at the pace of before, it is not done,
and after half a second they are replaced all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from livepost.net.deadlines import NEVER, Alarm
from livepost.net.dial_need import Carrier, Need
from livepost.net.surroundings import Surroundings

PATIENCE_SECONDS = 0.5

# A connection that has carried fewer does not show its pace.
_TELLING_REQUESTS = 10


class Frugality:
    """Allows fewer dials than are wanted; `on_over()` is called when that has gone on for long enough."""

    def __init__(self, shared: Surroundings, on_over: Callable[[], None]) -> None:
        self._shared = shared
        self._on_over = on_over
        self._patience = Alarm(self._lose_patience)
        self._is_over = False
        self._opened_before = 0
        self._pace = 0.0
        """Requests per second on a connection."""

    def begin_anew(self, opened: int) -> None:
        """There is no connection any more, of `opened` in all: what is dialled next replaces none."""
        self._opened_before = opened

    def allowed(
        self,
        wanted: int,
        connections: Collection[Carrier],
        need: Need,
        *,
        opened: int,
        request_cap: int | None,
    ) -> int:
        """How many of the `wanted` dials to make; `opened` connections were made so far.

        Each carries `request_cap` requests; None: no limit is known.
        """
        is_full = (opened - self._opened_before) * need.each >= need.limit
        if wanted <= 0 or request_cap is None or not is_full or self._is_over:
            return wanted
        needed = dials_needed(connections, need, request_cap)
        if needed >= wanted or self._seconds(connections, need, needed) > PATIENCE_SECONDS:
            return wanted
        if self._patience.deadline == NEVER:
            self._shared.deadlines.set(self._patience, self._shared.clock() + PATIENCE_SECONDS)
        return needed

    def _seconds(self, connections: Collection[Carrier], need: Need, more: int) -> float:
        """How long what is to come will take, with so many more connections."""
        oldest = next(iter(connections), None)
        if oldest is not None and oldest.requests >= _TELLING_REQUESTS:
            self._pace = oldest.requests / max(self._shared.clock() - oldest.opened_at, 0.001)
        carriers = sum(connection.requests_left > 0 for connection in connections) + need.dialing + more
        return (need.waiting + need.to_come) / max(carriers * self._pace, 1e-9)

    def _lose_patience(self, now: float) -> None:
        self._is_over = True
        self._on_over()


def dials_needed(connections: Collection[Carrier], need: Need, request_cap: int) -> int:
    """How many more it takes so that what waits and what will come is carried at all.

    However long that takes; each connection carries `request_cap` requests.
    """
    left = sum(connection.requests_left for connection in connections) + need.dialing * request_cap
    missing = need.waiting + need.to_come - left
    return 0 if missing <= 0 else math.ceil(min(missing / request_cap, need.limit))
