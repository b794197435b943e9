"""What makes a practice server misbehave, or keep account: the parts, put together."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

from livepost.clock import Clock
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.connection import ServerLimits
from livepost.rehearsal.fault_connection import Conduct, FaultyConnection
from livepost.rehearsal.fault_plan import Faults
from livepost.rehearsal.faults import Fault
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.listener import Listener
from livepost.rehearsal.outages import Outages
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.stats import Tally


class Misconduct:
    """Makes the connections of one server, and its outages from `start` until `stop`."""

    def __init__(
        self,
        api: PracticeApi,
        tally: Tally,
        limits: ServerLimits,
        *,
        faults: Faults,
        ledger: Ledger,
        processor: Processor,
    ) -> None:
        self._tally = tally
        self._limits = limits
        self._faults = faults
        self._ledger = ledger
        self._conduct = Conduct(api, processor, faults, ledger, itertools.count(1), self._begin_outage)
        self._outages: Outages | None = None
        self._open: set[FaultyConnection] = set()

    def start(self, listener: Listener, on_accept: Callable[[socket.socket], None], clock: Clock) -> None:
        """The listener listens; times count from now."""
        self._outages = Outages(
            listener, on_accept=on_accept, on_crash=self._crash, on_begin=self._ledger.fault_happened
        )
        self._outages.schedule(self._faults.start(clock))

    def stop(self) -> None:
        """No outage begins or ends any more."""
        if self._outages is not None:
            self._outages.close()
            self._outages = None

    def connect(self, number: int) -> FaultyConnection:
        """The connection just accepted; give it back to `forget` when it is over."""
        connection = FaultyConnection(number, self._conduct, self._tally, self._limits)
        self._open.add(connection)
        return connection

    def forget(self, connection: FaultyConnection) -> None:
        self._open.discard(connection)

    def _begin_outage(self, fault: Fault) -> None:
        if self._outages is not None:
            self._outages.begin(fault)

    def _crash(self) -> None:
        for connection in tuple(self._open):
            connection.crash()
