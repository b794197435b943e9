"""How servers tell a client what it may still send: the three ways that are in use."""

from __future__ import annotations

import enum

from livepost.errors import ConfigurationError
from livepost.rehearsal.faults import FaultFields, FromNow


class RateLimitForm(enum.Enum):
    """Which fields, named as they are written."""

    IETF = "ietf"
    """RateLimit and RateLimit-Policy, structured fields (draft-ietf-httpapi-ratelimit-headers-11)."""
    TRIPLE = "triple"
    """RateLimit-Limit, -Remaining and -Reset, as in the drafts up to 07."""
    X = "x"
    """The same three with X- before them, as many services have them."""


def rate_limit_fields(
    form: RateLimitForm,
    *,
    limit: int = 100,
    remaining: int = 0,
    reset: int | FromNow = 1,
    window_seconds: int = 60,
) -> FaultFields:
    """The fields that say so.

    `reset`: seconds until there is more to spend, or the moment itself, which the IETF form does
    not have: it raises ConfigurationError.
    """
    if form is RateLimitForm.IETF:
        if isinstance(reset, FromNow):
            raise ConfigurationError("RateLimit has no moments", "give reset as a number of seconds")
        return (
            (b"RateLimit-Policy", b'"default";q=%d;w=%d' % (limit, window_seconds)),
            (b"RateLimit", b'"default";r=%d;t=%d' % (remaining, reset)),
        )
    prefix = b"X-RateLimit" if form is RateLimitForm.X else b"RateLimit"
    return (
        (prefix + b"-Limit", b"%d" % limit),
        (prefix + b"-Remaining", b"%d" % remaining),
        (prefix + b"-Reset", reset if isinstance(reset, FromNow) else b"%d" % reset),
    )
