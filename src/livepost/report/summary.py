"""What a run came to, in figures: the summary as JSON, whose schema is stable, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from livepost.events import HttpVersion
from livepost.report.tally import Tally
from livepost.report.wording import counted, decimal, duration, packed, size

_LABEL_WIDTH = 12
_NARROWEST = 24
_MOST_REASONS = 4
# Less is nothing to boast of.
_SAVING_SHOWN_SECONDS = 0.001

_PROTOCOL_NAMES = {HttpVersion.HTTP_2.value: "HTTP/2", HttpVersion.HTTP_1_1.value: "HTTP/1.1"}


@dataclass(frozen=True, slots=True)
class Records:
    """How the records ended; `read` is the sum of the other four."""

    read: int
    delivered: int
    rejected: int
    in_doubt: int
    unsent: int


@dataclass(frozen=True, slots=True)
class RequestsEach:
    """Requests for records that a connection carried, over all connections; 0 if there was none."""

    min: int
    median: int
    max: int


@dataclass(frozen=True, slots=True)
class Connections:
    """What the connections cost, and why they ended."""

    opened: int
    """TCP handshakes that led to a usable connection."""
    protocols: dict[str, int]
    """How many of them spoke what: `h2` and `http/1.1`, always both."""
    streams: int
    """Requests that were streams of an HTTP/2 connection."""
    tls_full: int
    tls_resumed: int
    reused: int
    """Attempts on a connection that had carried a request before."""
    closed: dict[str, int]
    """By `CloseReason`, most frequent first."""
    handshakes_per_1000: float
    """Connections opened per 1000 records that were sent; 0.0 if none was."""
    requests_per_connection: RequestsEach
    heartbeats: int
    """Requests for no record, answered, which kept connections live; not among attempts and statuses."""
    estimated_seconds_saved: float
    """What the `reused` attempts would have spent in dialling: `reused` times the median dial with a full
    handshake.  A sum over all of them, as if one had waited after the other."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from handing a request to its connection until its answer was read, over all answers."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.  Made by `summarize`."""

    records: Records
    attempts: int
    retries: dict[str, int]
    """By reason, most frequent first."""
    connections: Connections
    latency_ms: Latency
    statuses: dict[str, int]
    """Answers by status code, in ascending order."""
    seconds: float
    records_per_second: float
    """Records that were sent (delivered, in doubt, or refused by an answer) per second."""
    bytes_sent: int
    bytes_received: int

    failed_dials: dict[str, int]
    """Connections that could not be made, by reason.  Shown as text only: not in the JSON schema."""

    def as_dict(self) -> dict[str, Any]:
        """The summary as the documented schema has it: the fields of these classes, by their names."""
        fields = asdict(self)
        del fields["failed_dials"]
        return fields

    def to_json(self) -> str:
        """`as_dict` on one line."""
        return msgspec.json.encode(self.as_dict()).decode()

    def to_text(self, width: int = 80) -> str:
        """For a terminal `width` columns wide: a dozen lines at most where it is 80, ASCII, no colour.

        Lines that have nothing to say are left out.
        """
        room = max(width, _NARROWEST) - _LABEL_WIDTH
        lines = [
            f"{label if number == 0 else '':<{_LABEL_WIDTH}}{line}"
            for label, items in self._rows()
            for number, line in enumerate(packed(items, room))
        ]
        return "\n".join(lines)

    def _rows(self) -> Iterable[tuple[str, list[str]]]:
        connections = self.connections
        yield "records", self._record_items()
        if self.records_per_second:
            rate = f"{counted(self.records_per_second, 'record')}/s"
            yield "rate", [rate, f"{duration(self.seconds)} in all"]
        if self.statuses:
            latency = asdict(self.latency_ms)
            yield "latency", [f"{name} {duration(ms / 1e3)}" for name, ms in latency.items()]
        yield "answers", _reasons(self.statuses)
        yield "retries", _reasons(self.retries)
        if connections.opened:
            yield "connections", self._connection_items()
            yield "handshakes", self._handshake_items()
        yield "closed", [item.replace("_", " ") for item in _reasons(connections.closed)]
        yield "dial errors", _reasons(self.failed_dials)
        if self.bytes_sent or self.bytes_received:
            yield "traffic", [f"{size(self.bytes_sent)} sent", f"{size(self.bytes_received)} received"]

    def _record_items(self) -> list[str]:
        records = self.records
        if records.read == 0:
            return ["none read"]
        if records.delivered == records.read > 1:
            return [f"all {records.read:,} delivered"]
        others = {"rejected": records.rejected, "in doubt": records.in_doubt, "unsent": records.unsent}
        return [
            f"{records.delivered:,} of {records.read:,} delivered",
            *(f"{number:,} {name}" for name, number in others.items() if number),
        ]

    def _connection_items(self) -> list[str]:
        opened = self.connections.opened
        spoken = {
            _PROTOCOL_NAMES[name]: number for name, number in self.connections.protocols.items() if number
        }
        if len(spoken) == 1:
            items = [f"{opened:,} opened over {next(iter(spoken))}"]
        else:
            items = [f"{opened:,} opened", *(f"{number:,} over {name}" for name, number in spoken.items())]
        if self.attempts:
            requests = counted(self.attempts / opened, "request")
            items.append(f"{requests} each" if opened > 1 else requests)
        each = self.connections.requests_per_connection
        if each.min != each.max:
            items.append(f"{each.min:,} to {each.max:,}")
            items.append(f"median {each.median:,}")
        if self.connections.heartbeats:
            items.append(counted(self.connections.heartbeats, "heartbeat"))
        return items

    def _handshake_items(self) -> list[str]:
        connections = self.connections
        items = []
        if connections.handshakes_per_1000:
            items.append(f"{decimal(connections.handshakes_per_1000)} per 1,000 records")
        if connections.tls_full or connections.tls_resumed:
            items += [f"{connections.tls_full:,} full TLS", f"{connections.tls_resumed:,} resumed"]
        if connections.estimated_seconds_saved >= _SAVING_SHOWN_SECONDS:
            items.append(f"at least {duration(connections.estimated_seconds_saved)} saved")
        return items


def summarize(tally: Tally, *, read: int, seconds: float) -> Summary:
    """Sum a run up in which `read` records were read.

    Call it when every connection is closed, or bytes and reasons will be missing.  Raises
    AssertionError (also under `python -O`) if the records read are not the sum of the records
    delivered, rejected, in doubt and unsent: then livepost has lost track of one.
    """
    records = Records(
        read=read,
        delivered=tally.records_delivered,
        rejected=tally.records_rejected,
        in_doubt=tally.records_in_doubt,
        unsent=tally.records_unsent,
    )
    if read != tally.records_finished:
        raise AssertionError(
            f"livepost lost count: {read} records were read, but {records.delivered} delivered"
            f" + {records.rejected} rejected + {records.in_doubt} in doubt + {records.unsent} unsent"
            f" = {tally.records_finished}"
        )
    sent = tally.records_delivered + tally.records_in_doubt + tally.records_refused
    latency = tally.latency
    each = tally.requests_per_connection
    return Summary(
        records=records,
        attempts=tally.attempts,
        retries=dict(tally.retries.most_common()),
        connections=Connections(
            opened=tally.opened,
            protocols={name: tally.protocols[HttpVersion(name)] for name in _PROTOCOL_NAMES},
            streams=tally.streams,
            tls_full=tally.tls_full,
            tls_resumed=tally.tls_resumed,
            reused=tally.reused,
            closed={reason.value: number for reason, number in tally.closed.most_common()},
            handshakes_per_1000=_significant(1000 * tally.opened / sent) if sent else 0.0,
            requests_per_connection=RequestsEach(min=each.least, median=each.median, max=each.most),
            heartbeats=tally.heartbeats,
            estimated_seconds_saved=_significant(tally.estimated_seconds_saved(seconds)),
        ),
        latency_ms=Latency(
            p50=round(latency.percentile(50), 3),
            p90=round(latency.percentile(90), 3),
            p99=round(latency.percentile(99), 3),
            max=round(latency.max, 3),
        ),
        statuses={str(status): number for status, number in sorted(tally.statuses.items())},
        seconds=round(seconds, 3),
        records_per_second=round(sent / seconds, 3) if seconds > 0 else 0.0,
        bytes_sent=tally.bytes_sent,
        bytes_received=tally.bytes_received,
        failed_dials=dict(tally.failed_dials.most_common()),
    )


def _significant(value: float) -> float:
    """Rounded to four digits wherever they are: 0.2133 for 64 connections and 300 000 records."""
    return float(f"{value:.4g}")


def _reasons(numbers: Mapping[str, int]) -> list[str]:
    """`reason (number)`, most frequent first; beyond a handful of reasons, the rest as a sum."""
    ranked = sorted(numbers.items(), key=lambda item: -item[1])
    if len(ranked) > _MOST_REASONS:
        rest = ranked[_MOST_REASONS - 1 :]
        others = f"{len(rest)} others"
        ranked = [*ranked[: _MOST_REASONS - 1], (others, sum(number for _, number in rest))]
    return [f"{reason} ({number:,})" for reason, number in ranked]
