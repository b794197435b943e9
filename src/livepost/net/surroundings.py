"""What all connections to one target share."""

from __future__ import annotations

from dataclasses import dataclass

from livepost.clock import Clock
from livepost.config import Timeouts
from livepost.events import ConnectionObserver
from livepost.net.deadlines import Deadlines
from livepost.net.poller import Poller
from livepost.net.work import Work


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where work comes from, how long things may take, and who is told."""

    work: Work
    timeouts: Timeouts
    deadlines: Deadlines
    clock: Clock
    poller: Poller
    observer: ConnectionObserver
