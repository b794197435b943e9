"""What makes a practice server misbehave, or keep account: the parts, put together."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

from livepost.clock import Clock
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.endpoint import Endpoint
from livepost.rehearsal.fault_connection import EndingConnection, FaultyConnection
from livepost.rehearsal.fault_plan import Faults
from livepost.rehearsal.faults import Fault
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.listener import Listener
from livepost.rehearsal.outages import Outages
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.protocol_choice import ProtocolChoice
from livepost.rehearsal.visit import Visit


class Misconduct:
    """Makes the connections of one server, and its outages from `start` until `stop`."""

    def __init__(
        self,
        api: PracticeApi,
        limits: ServerLimits,
        *,
        faults: Faults,
        ledger: Ledger,
        processor: Processor,
        latency: Latency | None,
        http2: bool,
    ) -> None:
        self._limits = limits
        self._latency = latency
        self._http2 = http2
        self._faults = faults
        self._ledger = ledger
        self._conduct = Conduct(api, processor, faults, ledger, itertools.count(1), self._begin_outage)
        self._outages: Outages | None = None
        self._open: set[Endpoint] = set()

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

    def connect(self, visit: Visit) -> Endpoint:
        """The connection just accepted; give it back to `forget` when it is over."""
        endpoint = self._endpoint(visit)
        self._open.add(endpoint)
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        self._open.discard(endpoint)

    def _endpoint(self, visit: Visit) -> Endpoint:
        fault = self._faults.for_connection(visit.number)
        if fault is not None:
            self._ledger.fault_happened(fault)
            return EndingConnection(visit, self._limits, fault.after)
        if not self._http2:
            return self._http1_endpoint(visit)
        return ProtocolChoice(
            visit,
            self._limits,
            make_http1=lambda: self._http1_endpoint(visit),
            make_http2=lambda: self._http2_endpoint(visit),
        )

    def _http1_endpoint(self, visit: Visit) -> FaultyConnection:
        return FaultyConnection(visit, self._conduct, self._limits, self._latency)

    def _http2_endpoint(self, visit: Visit) -> Endpoint:
        from livepost.rehearsal.fault_http2 import FaultyHttp2Connection  # only with the package h2

        return FaultyHttp2Connection(visit, self._conduct, self._limits, self._latency)

    def _begin_outage(self, fault: Fault) -> None:
        if self._outages is not None:
            self._outages.begin(fault)

    def _crash(self) -> None:
        for connection in tuple(self._open):
            connection.crash()
