"""What a pool is told about its server, and about what may be sent to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from livepost.net.liveness import Liveness
from livepost.wire.message import RequestHead


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A safe request that the user allows at any time."""

    head: RequestHead
    beats: bool = False
    """It is made on idle connections, too, while more work may come, so that the server keeps them."""
    every: float | None = None
    """After how many idle seconds; None: before the server's idle limit, as far as that is known."""


def _never_slept() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known, and learned meanwhile."""

    liveness: Liveness = field(default_factory=lambda: Liveness(time.time))
    is_safe_to_repeat: bool = False
    """A request of the run may be sent again if need be."""
    keepalive: KeepAlive | None = None
    slept: Callable[[], float] = _never_slept
    """How many seconds the machine has slept since this was last asked."""
