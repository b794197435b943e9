"""What connections carry: the seam between the network and whoever decides what is sent."""

from __future__ import annotations

from typing import Protocol

from livepost.model import Sent
from livepost.wire.message import Exchange, Response


class Work(Protocol):
    """Where exchanges come from and where their results go."""

    @property
    def waiting(self) -> int:
        """How many exchanges `pull` could give now."""

    def pull(self, now: float) -> Exchange | None:
        """The next exchange to send, its `attempts` and `sent_at` set, or None when there is none now."""

    def answered(self, exchange: Exchange, response: Response, now: float) -> None: ...

    def failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None: ...
