"""What a probe finds out.  The fields of these classes, by their names, are its JSON schema.

Times are in seconds.  None means that it is not known: it was not asked, could not be, or the probe was
stopped before.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from livepost.net.idle_evidence import as_configured


@dataclass(frozen=True, slots=True)
class AddressFound:
    """One of the addresses that the host's name stands for."""

    address: str
    tcp_seconds: float | None
    """How long its TCP handshake took; None if it was not tried, or failed."""
    error: str | None


@dataclass(frozen=True, slots=True)
class LookUp:
    """From the name of the host, or of the proxy, to addresses."""

    name: str
    seconds: float
    addresses: tuple[AddressFound, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """How the server answers the request that the whole probe asks."""

    method: str
    status: int
    http_version: str
    """`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`."""
    keeps_alive: bool
    """A second request was answered on the same connection."""
    server: str | None
    """Its `Server` field."""
    location: str | None
    """Where a redirect leads, without its query."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whom the server's certificate names."""

    subject: str
    names: tuple[str, ...]
    issuer: str
    expires: datetime
    days_left: float
    is_verified: bool
    """It was checked, as --insecure did not say otherwise."""


@dataclass(frozen=True, slots=True)
class TlsHandshake:
    """One version of TLS."""

    version: str
    is_offered: bool
    full_seconds: float | None
    """How long the TLS handshake took, behind that of TCP."""
    resumes: bool | None
    """The session of one connection spared the next one the certificate."""
    resumed_seconds: float | None


@dataclass(frozen=True, slots=True)
class Tls:
    """What came of TLS handshakes."""

    version: str
    """The one that is used when nothing is asked for."""
    alpn: str | None
    """The protocol that the server chose; None if it chose none."""
    certificate: Certificate | None
    handshakes: tuple[TlsHandshake, ...]


@dataclass(frozen=True, slots=True)
class KeepAliveHint:
    """The `Keep-Alive` field of an HTTP/1.1 answer, asked for with `Connection: keep-alive`."""

    timeout_seconds: float | None = None
    max_requests: int | None = None
    """Requests that the connection takes: of Apache those behind this one, of Node all."""


class Ending(enum.Enum):
    """What became of a connection that was left idle."""

    FIN = "fin"
    """The server closed it."""
    ANNOUNCED = "announced"
    """The server said that it would: GOAWAY, or the answer 408."""
    RESET = "reset"
    REUSED = "reused"
    """It was open, and carried a request after that time."""
    DROPPED = "dropped"
    """It seemed to be open, but a request after that time came to nothing, or TCP's own keep-alives were
    not answered any more: something between has forgotten it without a word."""
    OPEN = "open"
    """Nothing had happened when the probe was stopped."""


CLOSED = (Ending.FIN, Ending.ANNOUNCED, Ending.RESET)
"""By the server."""


@dataclass(frozen=True, slots=True)
class IdleConnection:
    """One connection that was left idle after a request."""

    seconds: float
    """For how long."""
    ending: Ending


@dataclass(frozen=True, slots=True)
class IdleLimit:
    """How long a connection may be idle."""

    limit_seconds: float | None
    """When the server first closed one."""
    survived_seconds: float | None
    """The longest pause, below that, behind which a request was answered."""
    dropped_within_seconds: float | None
    """The shortest time behind which it came to nothing although no end had been seen: it was forgotten
    somewhere between the pause that was survived and this."""
    connections: tuple[IdleConnection, ...]

    @property
    def configured_seconds(self) -> float | None:
        """The limit that the server's closes show, as deliveries take it: in whole seconds."""
        closed = [one.seconds for one in self.connections if one.ending in CLOSED]
        if self.limit_seconds is None:
            return None
        # Three were begun apart from each other: none would be near a second by chance, and the others later.
        return as_configured(closed or [self.limit_seconds], enough=1 if len(closed) >= 3 else 2)


@dataclass(frozen=True, slots=True)
class RequestCap:
    """How many requests a connection carries."""

    cap: int | None
    """The server ends a connection after so many, and not for its age; None if it did not, or may not."""
    maximum_age_seconds: float | None
    """It ends a connection that is so old, however many requests that carried."""
    answered: int
    ending: Ending | None
    """How the server ended it; if neither of the two above is known, for the one or the other."""
    seconds: float
    """How old the connection was then."""
    stopped_by: str | None
    """Why no more were sent although the server had not ended it."""


@dataclass(frozen=True, slots=True)
class Pings:
    """What HTTP/2 PING frames do."""

    sent: int
    answered: int
    seconds: float | None
    """The shortest time until one was answered."""
    reset_idle_timer: bool | None
    """A connection with PINGs outlived those without."""
    are_borne: bool
    """The server did not end the connection because of them."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The time from here to the server and back."""

    tcp_handshakes: int
    tcp_min_seconds: float | None
    tcp_median_seconds: float | None
    requests: int
    request_min_seconds: float | None
    request_median_seconds: float | None
    request_p99_seconds: float | None


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """By how much the server's clock is ahead of ours (negative: behind), from the Date of its answers."""

    seconds: float
    uncertainty_seconds: float
    """The true value is at most so far away."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a probe found out, as far as it came."""

    url: str
    """Without user, password and query."""
    path: str
    """Of a query, only the `?` is left."""
    started: datetime
    seconds: float = 0.0
    is_complete: bool = False
    via_proxy: str | None = None
    look_up: LookUp | None = None
    connected_to: str | None = None
    contact: Contact | None = None
    tls: Tls | None = None
    is_http2_without_tls: bool | None = None
    """An http URL's server speaks HTTP/2 when it is spoken to in it; the rest was found out that way."""
    keep_alive_hint: KeepAliveHint | None = None
    idle: IdleLimit | None = None
    cap: RequestCap | None = None
    http2_settings: Mapping[str, int] | None = None
    """What the server has set, by name; what is not among them is as RFC 9113 section 6.5.2 has it."""
    pings: Pings | None = None
    round_trip: RoundTrip | None = None
    clock_skew: ClockSkew | None = None
    connections_opened: int = 0
    """What the probe cost the server: TCP connections."""
    requests_sent: int = 0
    troubles: tuple[str, ...] = field(default=())
    """What could not be found out, and why."""

    def as_dict(self) -> dict[str, Any]:
        """The findings as the documented schema has them."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
