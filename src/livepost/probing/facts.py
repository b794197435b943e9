"""What a probe teaches about an origin, for whoever remembers it from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from livepost.events import HttpVersion
from livepost.probing.findings import Findings
from livepost.target import Target


@dataclass(frozen=True, slots=True)
class OriginFacts:
    """Limits of one origin; None: not known."""

    origin: tuple[str, str, int]
    http_version: HttpVersion
    """What they were measured in."""
    idle_limit_seconds: float | None
    """The server, or something between, was seen to end idle connections after so long."""
    idle_survived_seconds: float | None
    """A connection was used again after so long."""
    request_cap: int | None
    """Requests after which the server was seen to end a connection."""
    hinted_timeout_seconds: float | None
    """The `timeout` of the server's `Keep-Alive` field."""
    hinted_cap: int | None
    """The `max` in it: by Apache's way of counting one request less than there may be, by Node's all."""
    learned: datetime


def facts_of(findings: Findings, target: Target) -> OriginFacts | None:
    """What is worth remembering; None if the probe did not get that far, or through a proxy.

    A proxy's limits are not those of the origin.
    """
    contact, idle, cap, hint = findings.contact, findings.idle, findings.cap, findings.keep_alive_hint
    if contact is None or findings.via_proxy is not None:
        return None
    limits = () if idle is None else (idle.configured_seconds, idle.dropped_within_seconds)
    request_cap = 1 if not contact.keeps_alive else None if cap is None else cap.cap
    return OriginFacts(
        origin=target.origin,
        http_version=HttpVersion.HTTP_2 if contact.http_version == "HTTP/2" else HttpVersion.HTTP_1_1,
        idle_limit_seconds=min((limit for limit in limits if limit is not None), default=None),
        idle_survived_seconds=None if idle is None else idle.survived_seconds,
        request_cap=request_cap,
        hinted_timeout_seconds=None if hint is None else hint.timeout_seconds,
        hinted_cap=None if hint is None else hint.max_requests,
        learned=findings.started + timedelta(seconds=findings.seconds),
    )
