"""The certificate of a server: whose it is, and until when."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from livepost.net.tls import names_in, readable_name, trusting_only
from livepost.probing.findings import Certificate

_SECONDS_A_DAY = 86_400
_UNNAMED = "unnamed"


async def read_certificate(
    secure: ssl.SSLSocket, reconnect: Callable[[ssl.SSLContext], Awaitable[ssl.SSLSocket]], now: datetime
) -> Certificate | None:
    """The certificate that the server showed on this connection; None if there is none to be had.

    Python decodes only what it has verified.  If this was not, it connects once more, and trusts just this.
    """
    decoded = secure.getpeercert()
    if decoded:
        return describe(decoded, now, is_verified=True)
    encoded = secure.getpeercert(binary_form=True)
    if encoded is None:
        return None
    with await reconnect(trusting_only(encoded)) as again:
        decoded = again.getpeercert()
    return describe(decoded, now, is_verified=False) if decoded else None


def describe(decoded: Mapping[str, Any], now: datetime, *, is_verified: bool) -> Certificate:
    """What `ssl.SSLSocket.getpeercert` says, in our words."""
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), UTC)
    return Certificate(
        subject=readable_name(decoded.get("subject", ()), _UNNAMED),
        names=names_in(decoded),
        issuer=readable_name(decoded.get("issuer", ()), _UNNAMED),
        expires=expires,
        days_left=(expires - now).total_seconds() / _SECONDS_A_DAY,
        is_verified=is_verified,
    )
