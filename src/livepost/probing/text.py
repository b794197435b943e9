"""What a probe found out, for people: a label and a few items on each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from livepost.probing.findings import Findings, IdleLimit, Pings, RequestCap, Tls
from livepost.probing.recommend import Recommendation
from livepost.report.wording import counted, duration, packed, wrapped
from livepost.text import printable

_LABEL_WIDTH = 14
_NARROWEST = 24
_FEWEST_BESIDE = 24
"""What stands beside a label has at least so many columns; where there are fewer, it stands below."""


def as_text(findings: Findings, recommendation: Recommendation, command: str, width: int = 80) -> str:
    """All of it, and at the end `command`, which is to be the recommended one.

    Lines keep to `width`, or 24 columns if that is less; but the URL, the command and its flags, which are
    there to be copied, stay whole.
    """
    width = max(width, _NARROWEST)
    lines = [findings.url + ("" if findings.is_complete else " (stopped early)")]
    for label, items in _rows(findings):
        lines += _labelled(label, _LABEL_WIDTH, width, partial(packed, items))
    for note in (*recommendation.notes, *findings.troubles):
        lines += _indented(wrapped(f"note: {note}", width - 2), but_the_first=True)
    if recommendation.advice:
        lines += ["", "recommended:", f"  {command}", ""]
        widest = max(len(advice.flag) for advice in recommendation.advice)
        for advice in recommendation.advice:
            lines += _indented(_labelled(advice.flag, widest + 2, width - 2, partial(wrapped, advice.reason)))
    return printable("\n".join(lines))


def _labelled(label: str, label_width: int, width: int, fill: Callable[[int], list[str]]) -> list[str]:
    """`label`, and in the columns beside it, or below it, what `fill` makes for so many columns."""
    room = width - label_width
    if room < _FEWEST_BESIDE:
        below = fill(width - 2)
        return [label, *_indented(below)] if below else []
    return [f"{'' if number else label:<{label_width}}{line}" for number, line in enumerate(fill(room))]


def _indented(lines: Sequence[str], *, but_the_first: bool = False) -> list[str]:
    return [line if but_the_first and number == 0 else f"  {line}" for number, line in enumerate(lines)]


def _rows(findings: Findings) -> Iterator[tuple[str, list[str]]]:
    yield from _rows_on_the_way(findings)
    contact = findings.contact
    if contact is not None:
        items = [f"{contact.method} {findings.path} answers {contact.status}", contact.http_version]
        yield "answer", [*items, *([contact.server] if contact.server else [])]
        yield "keep-alive", ["works" if contact.keeps_alive else "the server closes after each answer"]
    hint = findings.keep_alive_hint
    if hint is not None:
        told = [f"timeout={hint.timeout_seconds:g}"] if hint.timeout_seconds is not None else []
        told += [f"max={hint.max_requests}"] if hint.max_requests is not None else []
        yield "hint", told or ["none"]
    if findings.idle is not None:
        yield "idle limit", _idle_items(findings.idle)
    if findings.cap is not None:
        yield "request cap", _cap_items(findings.cap)
    if findings.http2_settings is not None:
        settings = [f"{name} {value:,}" for name, value in findings.http2_settings.items()]
        yield "HTTP/2", settings or ["defaults"]
    if findings.pings is not None:
        yield "PING", _ping_items(findings.pings)
    yield from _rows_on_time(findings)


def _rows_on_the_way(findings: Findings) -> Iterator[tuple[str, list[str]]]:
    if findings.via_proxy is not None:
        yield "proxy", [findings.via_proxy]
    found = findings.look_up
    if found is not None:
        addresses = []
        for one in found.addresses:
            tcp = "" if one.tcp_seconds is None else f" (TCP in {duration(one.tcp_seconds)})"
            addresses.append(one.address + (" (no connection)" if one.error else tcp))
        yield "addresses", [*addresses, f"looked up in {duration(found.seconds)}"]
    if findings.connected_to is not None:
        yield "connected to", [findings.connected_to]
    if findings.tls is not None:
        yield from _rows_on_tls(findings.tls)


def _rows_on_tls(tls: Tls) -> Iterator[tuple[str, list[str]]]:
    for one in tls.handshakes:
        if not one.is_offered:
            yield one.version, ["not offered"]
            continue
        items = ["used"] if one.version == tls.version else []
        if one.full_seconds is not None:
            items.append(f"handshake in {duration(one.full_seconds)}")
        if one.resumes is not None:
            resumed = "" if one.resumed_seconds is None else f" in {duration(one.resumed_seconds)}"
            items.append(f"resumed{resumed}" if one.resumes else "not resumed")
        yield one.version, items
    yield "ALPN", [tls.alpn or "nothing chosen"]
    certificate = tls.certificate
    if certificate is not None:
        checked = "" if certificate.is_verified else " (not verified)"
        until = f"until {certificate.expires:%Y-%m-%d} ({certificate.days_left:,.0f} days)"
        yield "certificate", [certificate.subject + checked, f"issued by {certificate.issuer}", until]


def _idle_items(idle: IdleLimit) -> list[str]:
    items = []
    if idle.limit_seconds is not None:
        endings = {one.ending.value for one in idle.connections if one.seconds >= idle.limit_seconds}
        items.append(f"{duration(idle.limit_seconds)} ({', '.join(sorted(endings))})")
    if idle.dropped_within_seconds is not None:
        items.append(f"dropped without a word within {duration(idle.dropped_within_seconds)}")
    if idle.survived_seconds is not None:
        items.append(f"used again after {duration(idle.survived_seconds)}")
    if not items:
        longest = max((one.seconds for one in idle.connections), default=0.0)
        items.append(f"not seen within {duration(longest)}")
    return [*items, counted(len(idle.connections), "connection")]


def _cap_items(cap: RequestCap) -> list[str]:
    took = f"in {duration(cap.seconds)}"
    if cap.ending is not None:
        ending = f" ({cap.ending.value})"
        if cap.maximum_age_seconds is not None:
            return [f"none, but a maximum age of {duration(cap.maximum_age_seconds)}{ending}"]
        if cap.cap is not None:
            return [f"{counted(cap.cap, 'request')}{ending}", took]
        return [f"{counted(cap.answered, 'request')}, or an age of {duration(cap.seconds)}{ending}"]
    why = [] if cap.stopped_by is None else [cap.stopped_by]
    return [f"none within {counted(cap.answered, 'request')}", took, *why]


def _ping_items(pings: Pings) -> list[str]:
    verdict = {
        True: "resets the idle timer",
        False: "does not reset the idle timer",
        None: "not known whether it resets the idle timer",
    }[pings.reset_idle_timer]
    items = [verdict, f"{pings.answered} of {pings.sent} answered"]
    return items if pings.seconds is None else [*items, f"the first in {duration(pings.seconds)}"]


def _rows_on_time(findings: Findings) -> Iterator[tuple[str, list[str]]]:
    trip = findings.round_trip
    if trip is not None:
        yield "TCP", _spread(trip.tcp_handshakes, trip.tcp_min_seconds, trip.tcp_median_seconds)
        yield "answers", _spread(trip.requests, trip.request_min_seconds, trip.request_median_seconds)
    skew = findings.clock_skew
    if skew is not None:
        side = "ahead of" if skew.seconds >= 0 else "behind"
        off = f"{duration(abs(skew.seconds))} {side} ours"
        yield "clock", [off, f"+/- {duration(skew.uncertainty_seconds)}"]
    if findings.connections_opened:
        connections = counted(findings.connections_opened, "connection")
        requests = counted(findings.requests_sent, "request")
        yield "asked with", [connections, requests, f"in {duration(findings.seconds)}"]


def _spread(number: int, shortest: float | None, median: float | None) -> list[str]:
    if shortest is None or median is None:
        return []
    return [f"min {duration(shortest)}", f"median {duration(median)}", f"of {number:,}"]
