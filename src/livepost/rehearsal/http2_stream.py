"""One request over HTTP/2, and what is still owed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from livepost.rehearsal.faults import Fault
from livepost.rehearsal.request import RequestSeen
from livepost.wire.message import Fields


class Http2Stream:
    """From its HEADERS to the last byte of its answer."""

    __slots__ = (
        "stream_id",
        "number",
        "method",
        "target",
        "path",
        "headers",
        "body_bytes",
        "is_whole",
        "timer",
        "unsent",
        "fault",
        "_body",
    )

    def __init__(self, stream_id: int, number: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self.stream_id = stream_id
        self.number = number
        """Which request of its connection, from 1."""
        pseudo = {}
        plain = []
        for name, value in fields:
            if name[:1] == b":":
                pseudo[name] = value
            else:
                plain.append((name, value))
        self.method = pseudo.get(b":method", b"")
        self.target = pseudo.get(b":path", b"")
        self.path = self.target.partition(b"?")[0]
        self.headers: Fields = tuple(plain)
        self.body_bytes = 0
        self.is_whole = False
        """The request was read to its end."""
        self.timer: asyncio.TimerHandle | None = None
        """Sends the answer that is held back, or its next byte."""
        self.unsent: bytes | None = None
        """Of the body of the answer, what its window has no room for."""
        self.fault: Fault | None = None
        self._body: list[bytes] = []

    def take(self, data: bytes) -> None:
        self._body.append(data)
        self.body_bytes += len(data)

    def request(self, connection: int) -> RequestSeen:
        body = b"".join(self._body)
        return RequestSeen(
            connection, self.number, self.method, self.target, self.path, self.headers, body, "2", True
        )

    def cancel(self) -> None:
        """Nothing more is sent on it."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.unsent = None
