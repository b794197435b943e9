"""The counts of a run, kept while it runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from livepost.events import CloseReason, ConnectionClosed, ConnectionOpened, HttpVersion
from livepost.model import Outcome, Record, Rejection, State
from livepost.report.latency import LatencyHistogram
from livepost.report.requests_per_connection import RequestsPerConnection
from livepost.wire.message import Exchange, Response

# Looking a member up in its enum costs as much as counting it (Python 3.11).
_DELIVERED = State.DELIVERED
_REJECTED = State.REJECTED
_IN_DOUBT = State.IN_DOUBT

# To count durations many at a time costs 0.1 µs each, one by one 0.3 µs.
_FOLDED_AT_ONCE = 4096

_TROUBLES_KEPT = 5

# Of TCP, and of TLS with it (RFC 8446 section 2); before TLS 1.3 one more.
_ROUND_TRIPS = {None: 1, "TLSv1.3": 2}
_MOST_ROUND_TRIPS = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """One record that was not delivered, and why."""

    state: State
    reason: str
    source: str
    line: int

    def __str__(self) -> str:
        source = "standard input" if self.source == "-" else self.source
        return f"{source} line {self.line}: {self.state.value.replace('_', ' ')}: {self.reason}"


class Tally:
    """Counts what the connections and the delivery report.

    It listens to both (`ConnectionObserver` and the delivery's observer) and never raises.
    `latency` and `statuses` are over all answers, also those after which a record was tried again.
    The bytes of a connection are known once it is closed.
    """

    def __init__(self) -> None:
        self.records_delivered = 0
        self.records_rejected = 0
        self.records_refused = 0
        """Those of `records_rejected` that the server refused, having been sent to it."""
        self.records_in_doubt = 0
        self.records_unsent = 0

        self.troubles: list[Trouble] = []
        """The first records that were sent or read and not delivered, to show what is wrong."""
        self.failures = 0
        """Attempts that ended without an answer."""
        self.reused = 0
        """Requests on a connection that had carried one before; those of a connection are known once
        it is closed."""
        self.retries: Counter[str] = Counter()
        # Not a Counter: adding to one costs 0.3 µs more, and this is done for every answer.
        self.statuses: defaultdict[int, int] = defaultdict(int)
        self._latency = LatencyHistogram()
        self._recent_seconds: list[float] = []

        self.opened = 0
        self.tls_full = 0
        self.tls_resumed = 0
        self.protocols: Counter[HttpVersion] = Counter()
        """Connections opened, by what is spoken on them."""
        self.requests_per_connection = RequestsPerConnection()
        """Over the connections that are closed."""
        self.heartbeats = 0
        """Safe requests, for no record, that were answered on connections otherwise idle.  Nothing else
        counts them, but their bytes are among all bytes."""
        self._full_dials = LatencyHistogram()
        self.streams = 0
        """Requests that were streams of an HTTP/2 connection; those of a connection are known once it is
        closed."""
        self.closed: Counter[CloseReason] = Counter()
        self.failed_dials: Counter[str] = Counter()
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def records_finished(self) -> int:
        """Records whose end is known, whatever it is."""
        return self.records_delivered + self.records_rejected + self.records_in_doubt + self.records_unsent

    @property
    def latency(self) -> LatencyHistogram:
        """How long the answers took."""
        self._fold()
        return self._latency

    def estimated_seconds_saved(self, seconds: float) -> float:
        """How long at least the requests of a run of so many seconds would have waited with a dial for each.

        As many at a time as there were on average: `reused` times the quickest full handshake of this run (of
        TLS one that resumed no session, or any in cleartext), over that number.  What a handshake takes is
        reckoned by its round trips, because dials also wait for this process, which is busy; where the kernel
        tells none, the dial counts as it was measured.  A run that sends slowly would not have taken longer
        by all of it.  0.0 if no dial was full.
        """
        if seconds <= 0:
            return 0.0
        at_a_time = max(1.0, self.latency.total_seconds / seconds)
        return self.reused * self._full_dials.percentile(0) / 1e3 / at_a_time

    def _fold(self) -> None:
        self._latency.record(self._recent_seconds)
        self._recent_seconds.clear()

    @property
    def attempts(self) -> int:
        """Attempts that have ended."""
        return sum(self.statuses.values()) + self.failures

    @property
    def open_connections(self) -> int:
        return self.opened - self.closed.total()

    def connection_opened(self, event: ConnectionOpened) -> None:
        self.opened += 1
        self.protocols[event.http_version] += 1
        if event.tls_resumed:
            self.tls_resumed += 1
        else:
            self._full_dials.record((_handshake_seconds(event),))
            self.tls_full += event.tls_version is not None

    def connection_closed(self, event: ConnectionClosed) -> None:
        self.closed[event.reason] += 1
        self.requests_per_connection.record(event.requests)
        self.reused += max(0, event.requests - 1)
        if event.http_version is HttpVersion.HTTP_2:
            self.streams += event.requests
        self.bytes_sent += event.bytes_sent
        self.bytes_received += event.bytes_received

    def dial_failed(self, reason: str) -> None:
        self.failed_dials[reason] += 1

    def heartbeat(self, number: int, seconds: float) -> None:
        self.heartbeats += 1

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        """The last attempt for a record ended, with an answer or with a failure."""
        if response is None:
            self.failures += 1
        else:
            # As in `_attempted`, without the call.
            self.statuses[response.status] += 1
            recent = self._recent_seconds
            recent.append(seconds)
            if len(recent) == _FOLDED_AT_ONCE:
                self._fold()
        state = outcome.state
        if state is _DELIVERED:
            self.records_delivered += 1
            return
        record = exchange.record
        self._note(state, outcome.reason, record.source, record.line)
        if state is _REJECTED:
            self.records_rejected += 1
            if response is not None:
                self.records_refused += 1
        elif state is _IN_DOUBT:
            self.records_in_doubt += 1
        else:
            self.records_unsent += 1

    def _note(self, state: State, reason: str, source: str, line: int) -> None:
        if len(self.troubles) < _TROUBLES_KEPT:
            self.troubles.append(Trouble(state, reason, source, line))

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """An attempt ended, and another will follow."""
        self.retries[reason] += 1
        self._attempted(response, seconds)

    def _attempted(self, response: Response | None, seconds: float) -> None:
        if response is None:
            self.failures += 1
            return
        self.statuses[response.status] += 1
        recent = self._recent_seconds
        recent.append(seconds)
        if len(recent) == _FOLDED_AT_ONCE:
            self._fold()

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""
        self.records_rejected += 1
        self._note(_REJECTED, rejection.reason, rejection.source, rejection.line)

    def left(self, record: Record, outcome: Outcome) -> None:
        """No (further) attempt was made for this record."""
        if outcome.state is _IN_DOUBT:
            self.records_in_doubt += 1
            self._note(outcome.state, outcome.reason, record.source, record.line)
        else:
            self.records_unsent += 1


def _handshake_seconds(event: ConnectionOpened) -> float:
    """How long a request waits at least for a full handshake like this."""
    if event.round_trip_seconds is None:
        return event.seconds
    trips = _ROUND_TRIPS.get(event.tls_version, _MOST_ROUND_TRIPS)
    return min(event.seconds, event.round_trip_seconds * trips)
