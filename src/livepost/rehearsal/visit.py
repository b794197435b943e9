"""One connection of a client, as the server counts it, and tells it the time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from livepost.rehearsal.server_clock import ServerClock
from livepost.rehearsal.stats import EndReason, Tally


class Visit:
    """Counts itself from the accept on.

    For as long as all it did was to look at the counts, it is left out of them.  Without a `clock` its
    answers have no date.
    """

    __slots__ = (
        "number",
        "over",
        "only_looked",
        "opened_at",
        "_clock",
        "_tally",
        "_is_secured",
        "_is_resumed",
        "_is_http2",
    )

    def __init__(self, number: int, tally: Tally, clock: ServerClock | None = None) -> None:
        self.number = number
        """From 1 in the order of acceptance."""
        self.over = asyncio.Event()
        """Set when its transport is closed."""
        self.only_looked = False
        self.opened_at: float | None = None
        """When something could first be read from it, by the loop's clock."""
        self._clock = clock
        self._tally = tally
        self._is_secured = False
        self._is_resumed = False
        self._is_http2 = False
        tally.connections += 1
        tally.open += 1

    @property
    def date(self) -> bytes:
        """The value of the Date field of an answer that is written now; empty if it has none."""
        return b"" if self._clock is None else self._clock.date()

    @property
    def now(self) -> float:
        """The time in whatever else an answer says, in seconds since 1970."""
        return time.time() if self._clock is None else self._clock.now()

    def handshake_done(self, ssl_object: Any) -> None:
        """TLS is spoken from now on; telling it twice does nothing."""
        if not self._is_secured:
            self._is_secured = True
            self._is_resumed = bool(ssl_object.session_reused)
            self._tally.handshakes += 1
            self._tally.resumed += self._is_resumed

    def speaks_http2(self) -> None:
        self._is_http2 = True
        self._tally.http2 += 1

    def note_look(self, request_on_connection: int, looks: bool) -> None:
        """A request came, and it is (or is not) a look at the counts; call it when that changes."""
        if looks and request_on_connection > 1:
            return
        self.only_looked = looks
        change = -1 if looks else 1
        tally = self._tally
        tally.connections += change
        tally.open += change
        tally.handshakes += change * self._is_secured
        tally.resumed += change * self._is_resumed
        tally.http2 += change * self._is_http2

    def ends_for(self, reason: EndReason) -> None:
        """The server ends it, for a limit that was reached."""
        if not self.only_looked:
            self._tally.ended[reason] += 1

    def leave(self) -> None:
        """Its connection is no longer open."""
        if not self.only_looked:
            self._tally.open -= 1
