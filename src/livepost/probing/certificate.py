"""The certificate of a server: whose it is, and until when."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from livepost.probing.findings import Certificate

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name.
_NO_CHECK_TIME = 0x200000

_SECONDS_A_DAY = 86_400


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=encoded)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    with await reconnect(context) as again:
        decoded = again.getpeercert()
    return describe(decoded, now, is_verified=False) if decoded else None


def describe(decoded: Mapping[str, Any], now: datetime, *, is_verified: bool) -> Certificate:
    """What `ssl.SSLSocket.getpeercert` says, in our words."""
    alternatives = decoded.get("subjectAltName", ())
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), UTC)
    return Certificate(
        subject=_readable_name(decoded.get("subject", ())),
        names=tuple(str(value) for kind, value in alternatives if kind in ("DNS", "IP Address")),
        issuer=_readable_name(decoded.get("issuer", ())),
        expires=expires,
        days_left=(expires - now).total_seconds() / _SECONDS_A_DAY,
        is_verified=is_verified,
    )


def _readable_name(name: Any) -> str:
    """The common name, or else the organisation, of a decoded X.509 name (groups of pairs)."""
    parts = {key: value for group in name for key, value in group}
    return str(parts.get("commonName") or parts.get("organizationName") or "unnamed")
