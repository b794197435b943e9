"""How many requests a server answers on one connection before it ends it."""

from __future__ import annotations

from livepost.errors import DialError
from livepost.probing.conversation import Conversation, NoAnswer
from livepost.probing.findings import Ending, RequestCap
from livepost.probing.opening import Opener
from livepost.wire.message import RequestHead

_TOO_MUCH = (429, 503)


class CapMeasure:
    """Run it once; `found` says what is known so far, also after it was cancelled.

    One request after the other, so that the last one answered is the cap.  It stops where the server asks
    for less.
    """

    label = "request cap"

    def __init__(self, opener: Opener, head: RequestHead, max_requests: int, max_wait: float) -> None:
        self._opener = opener
        self._head = head
        self._max_requests = max_requests
        self._max_wait = max_wait
        self._answered = 0
        self._seconds = 0.0
        self._ending: Ending | None = None
        self._stopped_by: str | None = "the probe was stopped"
        self.troubles: list[str] = []

    async def run(self) -> None:
        """Takes a round trip for each request, and not much longer than the longest wait."""
        try:
            with await self._opener.open() as conversation:
                self._stopped_by = await self._ask_on(conversation)
                if self._stopped_by is None and conversation.goodbye is not None:
                    self._ending = conversation.goodbye.ending
        except DialError as error:
            self.troubles.append(f"{self.label}: {error}")

    async def _ask_on(self, conversation: Conversation) -> str | None:
        """Why no more are sent; None if the server ended the connection."""
        started = self._opener.clock()
        while self._answered < self._max_requests:
            try:
                response = await conversation.ask(self._head)
            except NoAnswer as error:
                goodbye = conversation.goodbye
                return str(error) if goodbye is None or goodbye.ending is Ending.DROPPED else None
            self._answered += 1
            self._seconds = self._opener.clock() - started
            if response.status in _TOO_MUCH:
                return f"the server answered {response.status}"
            if conversation.closing is not None:
                return None
            if self._seconds > self._max_wait:
                return "the longest wait was over"
        return f"{self._max_requests:,} requests were sent"

    def found(self) -> RequestCap:
        """What is known so far."""
        was_ended = self._ending is not None and self._answered > 0
        return RequestCap(
            cap=self._answered if was_ended else None,
            answered=self._answered,
            ending=self._ending,
            seconds=self._seconds,
            stopped_by=None if was_ended else self._stopped_by,
        )

    def status(self) -> str:
        """In a few words."""
        if self._ending is not None:
            return f"the server closes after {self._answered:,}"
        return f"{self._answered:,} of {self._max_requests:,} requests on one connection"
