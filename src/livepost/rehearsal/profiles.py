"""Real servers and what stands before them, as their connections end by default: one table.

Every row says where it is from: read in the server's own source, in its vendor's documentation, or
remembered and not verified.  What a setting of the server changes can be changed here by options.
"""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass

from livepost.errors import ConfigurationError
from livepost.rehearsal.limits import MAX_STREAMS, Hint, IdleEnding, ServerLimits


class Source(enum.Enum):
    """Where the numbers of a row are from."""

    CODE = "its source"
    DOCUMENTATION = "its documentation"
    MEMORY = "memory, not verified"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server's default limits."""

    name: str
    limits: ServerLimits
    source: Source
    http2: bool = True
    """It can speak HTTP/2."""
    note: str = ""


def _row(
    name: str,
    idle_seconds: float | None,
    source: Source,
    *,
    max_requests: int | None = None,
    max_age: float | None = None,
    hint: Hint = Hint.NONE,
    hints_unasked: bool = False,
    streams: int | None = None,
    idle_ending: IdleEnding = IdleEnding.CLOSE,
    pings_count: bool = True,
    note: str = "",
) -> Profile:
    limits = ServerLimits(
        idle_timeout=idle_seconds,
        idle_ending=idle_ending,
        max_requests=max_requests,
        max_age=max_age,
        hint=hint,
        hints_unasked=hints_unasked,
        pings_count=pings_count,
        max_streams=MAX_STREAMS if streams is None else streams,
    )
    return Profile(name, limits, source, streams is not None, note)


_HOUR = 3600.0
_CODE, _DOCUMENTATION, _MEMORY = Source.CODE, Source.DOCUMENTATION, Source.MEMORY

_ROWS = (
    _row("nginx", 75, _CODE, max_requests=1000, max_age=_HOUR, streams=128, pings_count=False),
    # keep_alive_max counts the answers that keep the connection; the one after them ends it.
    _row("apache", 5, _CODE, max_requests=101, hint=Hint.TIMEOUT_AND_MAX, streams=100),
    _row("node", 5, _DOCUMENTATION, hint=Hint.TIMEOUT, hints_unasked=True, note="up to version 25"),
    _row("node-65", 65, _DOCUMENTATION, hint=Hint.TIMEOUT, hints_unasked=True, note="since 2026"),
    _row("go", None, _CODE, streams=250, note="unless ReadTimeout is set"),
    _row("caddy", 300, _CODE, streams=250, pings_count=False),
    _row("traefik", 180, _DOCUMENTATION, streams=250),
    _row("haproxy", None, _DOCUMENTATION, streams=100, note="its users set one"),
    _row("envoy", _HOUR, _DOCUMENTATION, streams=1024, pings_count=False, note="H2 from memory"),
    _row("tomcat", 60, _CODE, max_requests=100, hint=Hint.TIMEOUT, streams=100),
    _row("tomcat-20", 20, _MEMORY, max_requests=100, hint=Hint.TIMEOUT, streams=100, note="its server.xml"),
    _row("jetty", 30, _MEMORY, streams=128, note="H2 from its documentation"),
    _row("kestrel", 130, _DOCUMENTATION, streams=100),
    _row("iis", 120, _DOCUMENTATION, streams=100, note="H2 from memory"),
    _row("uvicorn", 5, _CODE),
    _row("gunicorn", 2, _CODE, streams=100, note="not its default worker"),
    _row("gunicorn-sync", None, _CODE, max_requests=1, note="its default worker: no keep-alive"),
    _row("hypercorn", 5, _CODE, max_requests=1000, streams=100),
    _row("alb", 60, _DOCUMENTATION, max_age=_HOUR, streams=128, pings_count=False, note="AGE: memory"),
    _row("nlb", 350, _DOCUMENTATION, streams=MAX_STREAMS, idle_ending=IdleEnding.FORGET, note="as a NAT"),
    _row("cloudflare", 400, _DOCUMENTATION, streams=100, note="H2 from memory"),
    _row("gcp", 610, _DOCUMENTATION, streams=100, note="global; H2 from memory"),
    _row("azure", 240, _DOCUMENTATION, streams=MAX_STREAMS, idle_ending=IdleEnding.VANISH),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ROWS}


def profile_named(name: str) -> Profile:
    """Raises ConfigurationError for a name that is not in the table."""
    profile = PROFILES.get(name.lower())
    if profile is not None:
        return profile
    close = difflib.get_close_matches(name.lower(), PROFILES, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    raise ConfigurationError(
        f"there is no profile {name or 'without a name'}{suggestion}", "see livepost serve --help"
    )
