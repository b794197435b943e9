"""How many requests a server answers on one connection before it ends it.

One request after the other until the server ends the connection, so that the last one answered is the cap.
Only that a connection also ends when it is so old, with servers that let none become older, would look the
same.  So another connection is asked half as often, until it is clearly older than the first one was: if it
lives on, it was the requests that counted; if it ends at the same age with fewer of them, it was the age.
"""

from __future__ import annotations

from livepost.errors import DialError
from livepost.probing.conversation import Conversation, Goodbye, NoAnswer
from livepost.probing.findings import Ending, RequestCap
from livepost.probing.opening import Opener
from livepost.report.wording import duration
from livepost.wire.message import RequestHead

_TOO_MUCH = (429, 503)

# What makes an age clearly another; and what a server's timers and the event loop may be late.
_CLEARLY_OLDER = 1.3
_ABOUT = 0.2
_LATE_SECONDS = 0.05


class CapMeasure:
    """Run it once; `found` says what is known so far, also after it was cancelled.

    It stops where the server asks for less.
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
        self._cap: int | None = None
        self._age_seconds: float | None = None
        self._stopped_by: str | None = "the probe was stopped"
        self.troubles: list[str] = []

    async def run(self) -> None:
        """Takes a round trip for each request, and not much longer than the longest wait."""
        began = self._opener.clock()
        try:
            with await self._opener.open() as conversation:
                self._stopped_by = await self._ask_on(conversation)
                goodbye = conversation.goodbye
            if self._stopped_by is None and goodbye is not None and self._answered:
                self._ending = goodbye.ending
                until = self._seconds * _CLEARLY_OLDER + _LATE_SECONDS
                if self._opener.clock() - began + until <= self._max_wait:
                    with await self._opener.open() as conversation:
                        await self._ask_less_often(conversation, until)
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
        return "no more were to be sent"

    async def _ask_less_often(self, conversation: Conversation, until: float) -> None:
        """Half as many requests as the first connection carried, the last of them when this one is older."""
        started = self._opener.clock()
        requests = max(self._answered // 2, 1)
        answered = 0
        for number in range(1, requests + 1):
            due_in = started + until * number / requests - self._opener.clock()
            try:
                if due_in > 0:
                    await conversation.listen(due_in)
                response = await conversation.ask(self._head)
            except NoAnswer:
                break
            if response.status in _TOO_MUCH:
                return
            answered += 1
            if conversation.closing is not None:
                break
        goodbye = conversation.goodbye
        if goodbye is not None:
            self._conclude(answered, goodbye, goodbye.at - started)
        elif answered == requests:
            self._cap = self._answered

    def _conclude(self, answered: int, goodbye: Goodbye, seconds: float) -> None:
        """From how the second one ended."""
        if goodbye.ending is Ending.DROPPED:
            return
        if answered == self._answered:
            self._cap = answered
        elif seconds >= self._seconds * (1 - _ABOUT):
            self._age_seconds = min(seconds, self._seconds)

    def found(self) -> RequestCap:
        """What is known so far."""
        return RequestCap(
            cap=self._cap,
            maximum_age_seconds=self._age_seconds,
            answered=self._answered,
            ending=self._ending,
            seconds=self._seconds,
            stopped_by=None if self._ending is not None else self._stopped_by,
        )

    def status(self) -> str:
        """In a few words."""
        if self._ending is None:
            return f"{self._answered:,} of {self._max_requests:,} requests on one connection"
        if self._cap is not None:
            return f"the server closes after {self._cap:,}"
        age = f"at an age of {duration(self._seconds)}"
        if self._age_seconds is not None:
            return f"the server closes {age}"
        return f"the server closes after {self._answered:,}, or {age}"
