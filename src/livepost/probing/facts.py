"""What a probe teaches about an origin, for whoever remembers it from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from livepost.events import HttpVersion
from livepost.probing.findings import Ending, Findings
from livepost.probing.recommend import measured_idle_limit_seconds
from livepost.target import Target


@dataclass(frozen=True, slots=True)
class OriginFacts:
    """Limits of one origin; None: not known."""

    origin: tuple[str, str, int]
    http_version: HttpVersion
    """What they were measured in."""
    idle_limit_seconds: float | None
    """For how long they may surely be idle and live, as far as the server, or something between, was seen
    to end them."""
    idle_survived_seconds: float | None
    """A connection was used again after so long."""
    request_cap: int | None
    """Requests after which the server was seen to end a connection."""
    is_cap_announced: bool
    """It said so with the last answer; if not, whoever asks for one more loses that."""
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
    request_cap = 1 if not contact.keeps_alive else None if cap is None else cap.cap
    return OriginFacts(
        origin=target.origin,
        http_version=HttpVersion.HTTP_2 if contact.http_version == "HTTP/2" else HttpVersion.HTTP_1_1,
        idle_limit_seconds=measured_idle_limit_seconds(idle),
        idle_survived_seconds=None if idle is None else idle.survived_seconds,
        request_cap=request_cap,
        is_cap_announced=cap is None or cap.ending is Ending.ANNOUNCED,
        hinted_timeout_seconds=None if hint is None else hint.timeout_seconds,
        hinted_cap=None if hint is None else hint.max_requests,
        learned=findings.started + timedelta(seconds=findings.seconds),
    )
