"""What every answer of a probe tells by the way: how long it took, and what time it is there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from datetime import datetime

from livepost.delivery.http_date import parse_http_date
from livepost.probing.findings import ClockSkew, RoundTrip
from livepost.wire.message import Response

_DATE_RESOLUTION_SECONDS = 1.0


class Samples:
    """Gathers the times of handshakes and requests, and counts them.

    `wall_clock` gives the time of day.
    """

    def __init__(self, wall_clock: Callable[[], datetime]) -> None:
        self._wall_clock = wall_clock
        self.connections = 0
        self.requests_sent = 0
        self._tcp: list[float] = []
        self._requests: list[float] = []
        # Between these two is how far the server's clock is ahead, says each answer.
        self._ahead: list[tuple[float, float]] = []

    def connected(self, seconds: float) -> None:
        """A TCP handshake took so long."""
        self._tcp.append(seconds)

    def answered(self, seconds: float, response: Response) -> None:
        """An answer came just now, so long after its request."""
        self._requests.append(seconds)
        date = response.field(b"date")
        # A cache repeats the date of the answer that it keeps.
        if date is None or response.field(b"age") is not None:
            return
        now = self._wall_clock()
        told = parse_http_date(date, now.year)
        if told is not None:
            earliest = told - now.timestamp()
            self._ahead.append((earliest, earliest + _DATE_RESOLUTION_SECONDS + seconds))

    def round_trip(self) -> RoundTrip:
        """What is known so far."""
        tcp, requests = sorted(self._tcp), sorted(self._requests)
        return RoundTrip(
            tcp_handshakes=len(tcp),
            tcp_min_seconds=tcp[0] if tcp else None,
            tcp_median_seconds=statistics.median(tcp) if tcp else None,
            requests=len(requests),
            request_min_seconds=requests[0] if requests else None,
            request_median_seconds=statistics.median(requests) if requests else None,
            request_p99_seconds=requests[math.ceil(len(requests) * 0.99) - 1] if requests else None,
        )

    def clock_skew(self) -> ClockSkew | None:
        """What all dates together allow; None without any.

        A date was true at some moment between request and answer, and up to a second before the next: each
        answer leaves a range, and many answers narrow it to where they overlap.  Where they do not, the
        dates come of several clocks, or one that is read now and then, and anything between is possible.
        """
        if not self._ahead:
            return None
        low = max(earliest for earliest, _ in self._ahead)
        high = min(latest for _, latest in self._ahead)
        if low > high:
            low = min(earliest for earliest, _ in self._ahead)
            high = max(latest for _, latest in self._ahead)
        return ClockSkew((low + high) / 2, (high - low) / 2)
