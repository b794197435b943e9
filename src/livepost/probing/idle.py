"""How long a server keeps an idle connection.

Several connections are asked once and then left alone, at the same time.

- Three of them until the server ends them.  Of its idle time and the time when we see the end, each
  begins or ends half a round trip from the other, so what is measured is the server's own limit.  They begin
  a third of a second apart: one that looks once a second ends all of them in one moment, and the last of
  them tells its limit best.
- One for each of the pauses behind which something between may have forgotten it: NAT and load
  balancers drop connections without a word, and only a request shows it.  What the server did not end is
  asked again when the wait is over, too.  Our own TCP keep-alives may find it out before, but late: they
  say nothing of when it was forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from livepost.clock import Clock
from livepost.errors import LivepostError
from livepost.probing.conversation import Conversation, NoAnswer
from livepost.probing.findings import CLOSED, Ending, IdleConnection, IdleLimit
from livepost.probing.opening import Opener
from livepost.report.wording import counted, duration
from livepost.wire.message import RequestHead

_WATCHED = 3
_APART_SECONDS = 1 / 3
_PAUSES_SECONDS = (60.0, 120.0, 240.0, 360.0, 600.0)

# A request on a connection that is thought to be open: more than any answer takes that is worth waiting for.
_REUSE_SECONDS = 10.0


class IdleMeasure:
    """Run it once; `found` says what is known so far, also after it was cancelled."""

    label = "idle limit"

    def __init__(
        self, opener: Opener, head: RequestHead, max_wait: float, *, pauses: Sequence[float] = _PAUSES_SECONDS
    ) -> None:
        self._opener = opener
        self._head = head
        self._clock: Clock = opener.clock
        self._reuse_seconds = min(_REUSE_SECONDS, opener.options.timeouts.max_time or _REUSE_SECONDS)
        self._max_wait = max_wait
        self._waits = [max_wait] * _WATCHED + [pause for pause in pauses if pause < max_wait]
        self._idle_since: dict[int, float] = {}
        self._ended: dict[int, IdleConnection] = {}
        self.troubles: list[str] = []

    async def run(self) -> None:
        """Takes as long as the longest wait, unless the server ends all of them before."""
        async with asyncio.TaskGroup() as group:
            for number, seconds in enumerate(self._waits):
                group.create_task(self._watch(number, seconds))

    async def _watch(self, number: int, seconds: float) -> None:
        if number < _WATCHED:
            await asyncio.sleep(number * min(_APART_SECONDS, seconds / 10))
        try:
            with await self._opener.open() as conversation:
                await conversation.ask(self._head)
                self._idle_since[number] = self._clock()
                await conversation.listen(seconds)
                self._ended[number] = await self._end(conversation, self._idle_since[number])
        except LivepostError as error:
            self.troubles.append(f"{self.label}: {error}")

    async def _end(self, conversation: Conversation, since: float) -> IdleConnection:
        if conversation.goodbye is None:
            waited = self._clock() - since
            try:
                await conversation.ask(self._head, self._reuse_seconds)
                return IdleConnection(waited, Ending.REUSED)
            except NoAnswer as error:
                # A FIN that crossed the request is an end like others.
                goodbye = conversation.goodbye
                if error.was_silence or goodbye is None or goodbye.ending is Ending.DROPPED:
                    return IdleConnection(waited, Ending.DROPPED)
        at, ending = conversation.goodbye
        return IdleConnection(at - since, ending)

    @property
    def limit_seconds(self) -> float | None:
        """When the server first ended one, as far as it has."""
        closed = [ended.seconds for ended in self._ended.values() if ended.ending in CLOSED]
        return min(closed, default=None)

    def found(self) -> IdleLimit:
        """What is known so far."""
        now = self._clock()
        seen = [
            self._ended.get(number, IdleConnection(now - since, Ending.OPEN))
            for number, since in self._idle_since.items()
        ]
        return conclude(sorted(seen, key=lambda one: one.seconds))

    def status(self) -> str:
        """In a few words."""
        open_now = len(self._idle_since) - len(self._ended)
        limit = self.limit_seconds
        if limit is not None:
            return f"the server closes after {duration(limit)}"
        if not self._idle_since:
            return "connecting"
        waited = self._clock() - min(self._idle_since.values())
        return (
            f"{counted(open_now, 'connection')} open after {duration(waited)} of {duration(self._max_wait)}"
        )


def conclude(connections: Sequence[IdleConnection]) -> IdleLimit:
    """What these connections say together."""
    limit = min((one.seconds for one in connections if one.ending in CLOSED), default=None)
    bound = float("inf") if limit is None else limit
    dropped = min(
        (one.seconds for one in connections if one.ending is Ending.DROPPED and one.seconds < bound),
        default=None,
    )
    bound = bound if dropped is None else dropped
    survived = max(
        (one.seconds for one in connections if one.ending is Ending.REUSED and one.seconds < bound),
        default=None,
    )
    return IdleLimit(limit, survived, dropped, tuple(connections))
