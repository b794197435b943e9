"""Whether HTTP/2 PING frames keep a connection from being idle, in the server's eyes.

A connection with PINGs is compared with others that are left alone at the same time.  Nobody knows the
idle limit T beforehand, so the first PING comes early and each next one at three times its time: the last
before T comes no earlier than T/3.  If it counts, the connection lives until 4/3 T at least; if not, until T.
So few PINGs are borne by servers that take them for an attack (gRPC allows two in five minutes).
"""

from __future__ import annotations

from collections.abc import Callable

from livepost.errors import LivepostError
from livepost.events import CloseReason
from livepost.probing.conversation import Conversation
from livepost.probing.findings import Pings
from livepost.probing.opening import Opener
from livepost.report.wording import counted, duration
from livepost.wire.message import RequestHead

_FIRST_SECONDS = 0.3
_FIRST_OF_WAIT = 1 / 6
_FACTOR = 3.0
_ANSWER_SECONDS = 5.0

# Between 1 and 4/3; and what the event loop may be late.
_OUTLIVED = 1.15
_LATE_SECONDS = 0.05

_LOOKS_PER_SECOND = 4


class PingMeasure:
    """Run it once; `found` says what is known so far, also after it was cancelled.

    `limit` tells the idle limit once the other connections have shown it.
    """

    label = "PING"

    def __init__(
        self, opener: Opener, head: RequestHead, max_wait: float, limit: Callable[[], float | None]
    ) -> None:
        self._opener = opener
        self._head = head
        self._max_wait = max_wait
        self._limit = limit
        self._sent = 0
        self._round_trips: list[float] = []
        self._ping_at = min(_FIRST_SECONDS, max_wait * _FIRST_OF_WAIT)
        self._lived = 0.0
        self._has_ended = False
        self._was_refused = False
        self.troubles: list[str] = []

    async def run(self) -> None:
        """Until the server ends the connection, it has outlived the limit, or the longest wait is over."""
        try:
            with await self._opener.open() as conversation:
                await conversation.ask(self._head)
                await self._keep(conversation, self._opener.clock())
        except LivepostError as error:
            self.troubles.append(f"{self.label}: {error}")

    async def _keep(self, conversation: Conversation, since: float) -> None:
        clock = self._opener.clock
        while conversation.goodbye is None:
            self._lived = clock() - since
            if self._has_outlived_limit() or self._lived >= self._max_wait:
                return
            if self._lived >= self._ping_at:
                self._ping_at *= _FACTOR
                self._sent += 1
                seconds = await conversation.ping(_ANSWER_SECONDS)
                if seconds is not None:
                    self._round_trips.append(seconds)
                continue
            until_ping = self._ping_at - self._lived
            await conversation.listen(min(until_ping, self._max_wait - self._lived, 1 / _LOOKS_PER_SECOND))
        self._has_ended = True
        self._lived = conversation.goodbye.at - since
        self._was_refused = conversation.closing is CloseReason.ENHANCE_YOUR_CALM

    def _has_outlived_limit(self) -> bool:
        limit = self._limit()
        return limit is not None and self._lived > limit * _OUTLIVED + _LATE_SECONDS

    def found(self) -> Pings:
        """What is known so far."""
        verdict: bool | None = None
        if self._sent and self._round_trips and not self._was_refused and self._limit() is not None:
            verdict = self._has_outlived_limit()
            if not verdict and not self._has_ended:
                verdict = None
        return Pings(
            sent=self._sent,
            answered=len(self._round_trips),
            seconds=min(self._round_trips, default=None),
            reset_idle_timer=verdict,
            are_borne=not self._was_refused,
        )

    def status(self) -> str:
        """In a few words."""
        ended = "ended" if self._has_ended else "open"
        return f"{ended} after {duration(self._lived)} with {counted(self._sent, 'PING')}"
