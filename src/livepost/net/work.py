"""What connections carry: the seam between the network and whoever decides what is sent.

Both ways it is crossed for many exchanges at a time, which costs less than once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from livepost.events import CloseReason
from livepost.wire.machine import Event
from livepost.wire.message import Exchange


class Work(Protocol):
    """Where exchanges come from and where their results go."""

    @property
    def waiting(self) -> int:
        """How many exchanges `pull` could give now."""

    def pull(self, limit: int, now: float) -> list[Exchange]:
        """Up to `limit` exchanges to send now, in order, with `attempts` and `sent_at` set.

        The list belongs to the caller, who settles every one of them.
        """

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        """What became of exchanges that were pulled; `cause` if it is the end of their connection."""
