"""What is measured: which server is spoken to, how, and with how much at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servers import Nghttpd, Nginx, Server

STREAMS = 100
"""Requests at a time over HTTP/2: what nghttpd takes on one connection, and livepost by default."""

HTTP2 = ("http2-nginx", "http2-nginx-tls", "http2-nghttpd", "http2-nghttpd-tls")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One table of the report."""

    key: str
    title: str
    server: Server
    url: str
    certificate: Path | None
    """To be trusted; None in cleartext."""
    at_once: int
    """Connections, or over HTTP/2 the streams of one."""
    is_http2: bool = False
    http1_url: str | None = None
    """The same server over HTTP/1.1, where it speaks that, too."""

    @property
    def is_tls(self) -> bool:
        return self.certificate is not None


def http1(nginx: Nginx, connections: int) -> list[Scenario]:
    """One request at a time on each connection."""
    amount = f"{connections} connections"
    return [
        Scenario("http", f"HTTP/1.1, cleartext: {amount}", nginx, nginx.http_url, None, connections),
        Scenario("tls", f"HTTP/1.1 over TLS: {amount}", nginx, nginx.tls_url, nginx.certificate, connections),
    ]


def http2(nginx: Nginx, nghttpd: Nghttpd | None) -> Sequence[Scenario]:
    """All requests on one connection."""
    amount = f"one connection, {STREAMS} streams"
    found = [
        Scenario(
            f"http2-nginx{'-tls' * (certificate is not None)}",
            f"HTTP/2 {how}, nginx: {amount}",
            nginx,
            url,
            certificate,
            STREAMS,
            is_http2=True,
            http1_url=http1_url,
        )
        for how, url, http1_url, certificate in (
            ("cleartext", nginx.http2_url, nginx.http_url, None),
            ("over TLS", nginx.http2_tls_url, nginx.tls_url, nginx.certificate),
        )
    ]
    if nghttpd is not None:
        for how, url, certificate in (
            ("cleartext", nghttpd.http_url, None),
            ("over TLS", nghttpd.tls_url, nghttpd.certificate),
        ):
            found.append(
                Scenario(
                    f"http2-nghttpd{'-tls' * (certificate is not None)}",
                    f"HTTP/2 {how}, nghttpd: {amount}",
                    nghttpd,
                    url,
                    certificate,
                    STREAMS,
                    is_http2=True,
                )
            )
    return found
