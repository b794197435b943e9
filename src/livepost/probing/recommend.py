"""From what was found out to the flags of `livepost send`.

Everything here is arithmetic on findings; nothing is asked.

- `--connections`: over HTTP/2 as many requests at a time as one connection takes; over HTTP/1.1 as many
  connections as 1,000 records a second need at the time an answer takes (Little's law), 4 to 64.
- `--keepalive-path` and `--keepalive-every`, where the path can be asked for by heartbeats: connections live
  through pauses.  A delivery knows the idle limit from the probe; an `--idle-timeout` below it would close
  them before they are asked, and so would the default where the limit is longer.
- else `--idle-timeout`: the idle limit less a margin of two long round trips and 0.2 s, from 0.5 to 2 s and
  no more than half the limit.  The limit is the shorter of what was measured and hinted.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from livepost.net.fact import Fact, Source, Subject
from livepost.net.idle_limit import DEFAULT_IDLE_LIMIT_SECONDS
from livepost.net.liveness import Liveness
from livepost.probing.findings import Findings, IdleLimit
from livepost.report.wording import counted, duration

RECORDS_PER_SECOND = 1_000
FEWEST_CONNECTIONS = 4
MOST_CONNECTIONS = 64
MOST_STREAMS = 100
"""More requests than this are not left in doubt when a connection breaks."""

_DEFAULT_IDLE_SECONDS = 90.0
_EXPIRES_SOON_DAYS = 21
_SKEW_WORTH_A_NOTE_SECONDS = 5.0
_SAME_WITHIN = 0.2


@dataclass(frozen=True, slots=True)
class Advice:
    """One flag as it is written in a shell, and why."""

    flag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Flags for `livepost send`, and what else is worth knowing before a large run."""

    advice: tuple[Advice, ...]
    notes: tuple[str, ...]


def recommend(findings: Findings, *, is_remembered: bool = True) -> Recommendation:
    """What follows from these findings; nothing from what is not known.

    `is_remembered`: deliveries know them too (`remembering`).  Behind a proxy they never do.
    """
    if findings.contact is None:
        return Recommendation((), ())
    is_remembered = is_remembered and findings.via_proxy is None
    return Recommendation(tuple(_advice(findings, is_remembered=is_remembered)), tuple(_notes(findings)))


def idle_limit_seconds(findings: Findings) -> float | None:
    """For how long a connection may surely be idle and live: the least that anything says."""
    hint = findings.keep_alive_hint
    known = (None if hint is None else hint.timeout_seconds, measured_idle_limit_seconds(findings.idle))
    return min((seconds for seconds in known if seconds is not None), default=None)


def measured_idle_limit_seconds(idle: IdleLimit | None) -> float | None:
    """The same, whatever the server says: the limit that was measured.

    Where connections are forgotten without a word, that they were is seen late, and only what was survived
    before is sure; if nothing was, no more than a delivery trusts that knows nothing.
    """
    if idle is None or idle.dropped_within_seconds is None:
        return None if idle is None else idle.configured_seconds
    return idle.survived_seconds or min(idle.dropped_within_seconds, DEFAULT_IDLE_LIMIT_SECONDS)


def margin_seconds(limit: float, round_trip: float) -> float:
    """How much before the limit a connection is not to be trusted any more."""
    return min(max(2 * round_trip + 0.2, 0.5), 2.0, limit / 2)


def _advice(findings: Findings, *, is_remembered: bool) -> Iterator[Advice]:
    contact = findings.contact
    assert contact is not None
    is_http2 = contact.http_version == "HTTP/2"
    if findings.is_http2_without_tls:
        yield Advice("--http2-prior-knowledge", "the server speaks HTTP/2 without TLS")
    elif findings.tls is not None and findings.tls.alpn == "h2" and not is_http2:
        yield Advice("--http1.1", "the server offers HTTP/2, but did not answer in it")
    yield _connections(findings, is_http2=is_http2)
    if contact.keeps_alive:
        yield from _idleness(findings, is_remembered=is_remembered)


def _connections(findings: Findings, *, is_http2: bool) -> Advice:
    if is_http2:
        streams = (findings.http2_settings or {}).get("max_concurrent_streams", MOST_STREAMS)
        number = max(1, min(streams, MOST_STREAMS))
        return Advice(f"--connections {number}", "so many requests at a time fit on one HTTP/2 connection")
    trip, contact = findings.round_trip, findings.contact
    seconds = 0.0 if trip is None else trip.request_median_seconds or 0.0
    each = f"an answer takes {duration(seconds)}"
    if contact is not None and not contact.keeps_alive:
        seconds += _handshake_seconds(findings)
        each = f"a handshake and an answer take {duration(seconds)}"
    number = min(max(math.ceil(RECORDS_PER_SECOND * seconds), FEWEST_CONNECTIONS), MOST_CONNECTIONS)
    rate = f"this is enough for {RECORDS_PER_SECOND:,} records/s"
    if RECORDS_PER_SECOND * seconds > number:
        rate = f"this is good for {number / seconds:,.0f} records/s; more may be too many for the server"
    return Advice(f"--connections {number}", f"{each}: {rate}")


def _handshake_seconds(findings: Findings) -> float:
    trip, tls = findings.round_trip, findings.tls
    seconds = 0.0 if trip is None else trip.tcp_median_seconds or 0.0
    if tls is not None:
        full = [one.full_seconds for one in tls.handshakes if one.version == tls.version]
        seconds += next((one for one in full if one is not None), 0.0)
    return seconds


def _idleness(findings: Findings, *, is_remembered: bool) -> Iterator[Advice]:
    idle, trip = findings.idle, findings.round_trip
    limit = idle_limit_seconds(findings)
    if limit is None:
        survived = 0 if idle is None else math.floor(idle.survived_seconds or 0.0)
        if survived > _DEFAULT_IDLE_SECONDS:
            yield Advice(
                f"--idle-timeout {survived}s", f"connections lived through {survived} s without work"
            )
        return
    sure = f"connections are sure to live for {duration(limit)}"
    if idle is not None and idle.dropped_within_seconds is not None and idle.survived_seconds is None:
        sure = "connections are forgotten, and none outlived a pause before"
    long = 0.0 if trip is None else trip.request_p99_seconds or 0.0
    if is_remembered and limit < _DEFAULT_IDLE_SECONDS and _can_be_asked(findings):
        reason = "it answers safe requests, so connections can be tried with it after a pause"
        yield Advice(f"--keepalive-path {shlex.quote(findings.path)}", reason)
        if _leaves_time_for_heartbeats(limit, long):
            yield Advice("--keepalive-every auto", f"{sure}: they are asked before, and live on")
        return
    margin = margin_seconds(limit, long)
    yield Advice(f"--idle-timeout {_shown(limit - margin)}", f"{sure}; {duration(margin)} of that is margin")


def _can_be_asked(findings: Findings) -> bool:
    """The path is one for --keepalive-path.  A query may hold a secret, and is not kept."""
    answers = findings.contact is not None and 200 <= findings.contact.status < 300
    return answers and "?" not in findings.path


def _leaves_time_for_heartbeats(limit: float, round_trip: float) -> bool:
    """Whether a delivery that knows this limit sends any."""
    liveness = Liveness(lambda: 0.0, {Subject.IDLE_LIMIT: Fact(limit, Source.PROBED, 0.0)})
    liveness.round_trip(round_trip)
    return liveness.heartbeat_after() is not None


def _shown(seconds: float) -> str:
    """Rounded down, so that it is never later than it was; 0 is no time."""
    parts = 10 if seconds >= 1 else 1_000
    return f"{max(math.floor(seconds * parts + 1e-6) / parts, 0.001):g}s"


def _notes(findings: Findings) -> Iterator[str]:
    yield from _notes_on_the_path(findings)
    yield from _notes_on_tls(findings)
    yield from _notes_on_lives(findings)
    dead = [one.address for one in (findings.look_up.addresses if findings.look_up else ()) if one.error]
    if dead:
        yield f"no connection can be made to {', '.join(dead)}, although the name stands for it"
    if findings.pings is not None and not findings.pings.are_borne:
        yield "the server takes PINGs for an attack and closes the connection"
    skew = findings.clock_skew
    if skew is not None and abs(skew.seconds) - skew.uncertainty_seconds > _SKEW_WORTH_A_NOTE_SECONDS:
        side = "ahead of" if skew.seconds > 0 else "behind"
        yield f"the server's clock is {duration(abs(skew.seconds))} {side} this machine's"


def _notes_on_the_path(findings: Findings) -> Iterator[str]:
    contact = findings.contact
    assert contact is not None
    answer = f"the path answers {contact.method} with {contact.status}"
    if contact.status in (401, 403, 407):
        yield f"{answer}: give the credentials with -H"
    elif contact.status in (405, 501):
        yield f"{answer}, as to every safe method: fine for a probe, but of no use to --keepalive-path"
    elif contact.status == 404:
        yield f"{answer}: fine for a probe, but is it the right URL? --path names another"
    elif 300 <= contact.status < 400:
        where = f" to {contact.location}" if contact.location else ""
        yield f"{answer}, a redirect{where}, which was not followed"
    elif contact.status >= 400:
        yield f"{answer}"
    if contact.http_version == "HTTP/1.0":
        yield "the server speaks HTTP/1.0"
    if not contact.keeps_alive:
        yield "the server closes the connection after each answer: every record costs a handshake"


def _notes_on_tls(findings: Findings) -> Iterator[str]:
    tls = findings.tls
    if tls is None:
        return
    certificate = tls.certificate
    if certificate is not None and certificate.days_left < _EXPIRES_SOON_DAYS:
        days = certificate.days_left
        when = f"expires in {counted(math.floor(days), 'day')}" if days > 0 else "has expired"
        yield f"the certificate {when}"
    used = next((one for one in tls.handshakes if one.version == tls.version), None)
    if used is not None and used.resumes is False:
        yield "TLS sessions are not resumed: every further connection costs a full handshake"


def _notes_on_lives(findings: Findings) -> Iterator[str]:
    cap, idle, hint = findings.cap, findings.idle, findings.keep_alive_hint
    contact = findings.contact
    if cap is not None and cap.cap is not None and contact is not None and contact.keeps_alive:
        yield (
            f"a connection ends after {cap.cap:,} requests: "
            f"at least {counted(1000 / cap.cap, 'handshake')} per 1,000 records"
        )
    if cap is not None and cap.maximum_age_seconds is not None:
        yield f"connections end when they are {duration(cap.maximum_age_seconds)} old"
    elif cap is not None and cap.cap is None and cap.ending is not None:
        yield (
            f"a connection ended after {counted(cap.answered, 'request')}, {duration(cap.seconds)} old: "
            "which of the two it was could not be told, and neither is kept"
        )
    if cap is not None and cap.stopped_by is not None and cap.stopped_by.startswith("the server"):
        requests = f"{counted(cap.answered, 'request')} in {duration(cap.seconds)}"
        yield f"{cap.stopped_by} after {requests}: set --rate"
    if idle is None:
        return
    if idle.limit_seconds is None and idle.dropped_within_seconds is None and findings.is_complete:
        yield "no idle limit was seen: --max-wait makes the probe wait longer"
    if idle.dropped_within_seconds is not None:
        yield (
            f"something forgets connections without a word within {duration(idle.dropped_within_seconds)}: "
            "a firewall or load balancer?"
        )
    told, seen = None if hint is None else hint.timeout_seconds, idle.limit_seconds
    if told is not None and seen is not None and abs(told - seen) > _SAME_WITHIN * told + 1:
        yield f"the server says {duration(told)}, but closes after {duration(seen)}"
