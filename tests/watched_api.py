"""A practice server whose requests a test looks at."""

from __future__ import annotations

import queue

from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


class WatchedApi:
    """A practice server that says what it was sent; `replies` by body go before the usual answer."""

    def __init__(self) -> None:
        self.replies: dict[bytes, Reply] = {}
        self._seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
        self.server = PracticeServer(on_request=self._seen.put, respond=self._respond)

    @property
    def to(self) -> str:
        return f"{self.server.url}/api"

    def requests(self) -> list[RequestSeen]:
        """Those since the last call."""
        return [self._seen.get_nowait() for _ in range(self._seen.qsize())]

    def bodies(self) -> list[bytes]:
        return sorted(request.body for request in self.requests())

    def _respond(self, request: RequestSeen) -> Reply | None:
        return self.replies.get(request.body)
