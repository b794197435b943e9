"""Handshakes with servers on this machine: what they take, and whether sessions are resumed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime

import pytest
from certificates import Authority
from forwarding_proxy import forwarding
from probing_peers import NOW, http1, opener_to
from scripted_peer import ScriptedPeer

from livepost.config import RouteOptions, TlsOptions
from livepost.events import HttpVersion
from livepost.probing.findings import AddressFound, LookUp, Tls
from livepost.probing.handshakes import look_up_addresses, time_tcp, try_addresses, try_tls


def tried(context: ssl.SSLContext, tls: TlsOptions, *, via_proxy: bool = False) -> tuple[Tls, list[bytes]]:
    asked: list[bytes] = []

    async def main() -> Tls:
        async with (
            ScriptedPeer(http1(), ssl_context=context) as peer,
            ScriptedPeer(forwarding(asked)) as proxy,
        ):
            route = RouteOptions(proxy=proxy.url if via_proxy else "")
            opener = opener_to(peer.url, route=route, tls=tls)
            found = await try_tls(opener, HttpVersion.HTTP_1_1, opener.head("HEAD"), NOW)
            trips = opener.samples.round_trip()
            assert trips.tcp_handshakes == sum(
                one.is_offered + (one.resumes is not None) for one in found.handshakes
            )
            return found

    return asyncio.run(main()), asked


def test_both_versions_of_tls_are_tried_and_their_sessions_resumed(authority: Authority) -> None:
    found, _ = tried(authority.server_context(), TlsOptions(cacert=str(authority.ca_file)))
    assert found.version == "TLSv1.3"
    assert [(one.version, one.is_offered, one.resumes) for one in found.handshakes] == [
        ("TLSv1.2", True, True),
        ("TLSv1.3", True, True),
    ]
    for one in found.handshakes:
        assert one.full_seconds is not None
        assert one.resumed_seconds is not None
        assert 0 < one.resumed_seconds < 1
        assert 0 < one.full_seconds < 1


def test_a_server_without_tickets_resumes_nothing(authority: Authority) -> None:
    context = authority.server_context()
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    found, _ = tried(context, TlsOptions(cacert=str(authority.ca_file)))
    assert [(one.version, one.is_offered, one.resumes) for one in found.handshakes] == [
        ("TLSv1.2", False, None),
        ("TLSv1.3", True, False),
    ]


def test_a_version_that_is_not_offered_is_told(authority: Authority) -> None:
    context = authority.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    found, _ = tried(context, TlsOptions(cacert=str(authority.ca_file)))
    assert found.version == "TLSv1.2"
    assert [one.is_offered for one in found.handshakes] == [True, False]


@pytest.mark.parametrize("is_verified", [True, False])
def test_the_certificate_is_read_also_where_it_is_not_verified(
    authority: Authority, is_verified: bool
) -> None:
    tls = TlsOptions(cacert=str(authority.ca_file)) if is_verified else TlsOptions(insecure=True)
    found, _ = tried(authority.server_context("127.0.0.1", "one.test"), tls)
    certificate = found.certificate
    assert certificate is not None
    assert certificate.is_verified is is_verified
    assert sorted(certificate.names) == ["127.0.0.1", "one.test"]
    assert certificate.expires > NOW
    assert certificate.days_left == pytest.approx((certificate.expires - NOW).total_seconds() / 86_400)
    assert certificate.issuer.startswith("trustme")


def test_one_that_has_expired_is_read_where_it_is_not_verified(authority: Authority) -> None:
    found, _ = tried(authority.server_context(expired=True), TlsOptions(insecure=True))
    assert found.certificate is not None
    assert found.certificate.expires == datetime(2020, 1, 1, tzinfo=UTC)
    assert found.certificate.days_left < 0


def test_all_goes_through_the_tunnel_of_a_proxy(authority: Authority) -> None:
    context = authority.server_context()
    found, asked = tried(context, TlsOptions(cacert=str(authority.ca_file)), via_proxy=True)
    assert [one.resumes for one in found.handshakes] == [True, True]
    assert len(asked) == 5
    assert {head.partition(b" ")[0] for head in asked} == {b"CONNECT"}


def test_each_address_of_a_name_is_tried() -> None:
    async def main() -> LookUp | None:
        async with ScriptedPeer(http1()) as peer:
            route = RouteOptions(proxy="", resolve=(f"two.test:{peer.port}:127.0.0.1,127.0.0.2,[::1]",))
            opener = opener_to(f"http://two.test:{peer.port}", route=route)
            found = await look_up_addresses(opener)
            assert found is not None
            assert found.addresses == tuple(
                AddressFound(address, None, None) for address in ("127.0.0.1", "127.0.0.2", "::1")
            )
            found = await try_addresses(opener, found)
            assert opener.samples.round_trip().tcp_handshakes == 1
            return found

    found = asyncio.run(main())
    assert found is not None
    assert found.name == "two.test"
    live, *dead = found.addresses
    assert live.error is None
    assert live.tcp_seconds is not None
    assert all(one.tcp_seconds is None and "refused" in str(one.error) for one in dead)


def test_a_name_that_is_none_has_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "none")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert asyncio.run(look_up_addresses(opener_to("http://nowhere.test"))) is None


def test_a_unix_socket_needs_no_address() -> None:
    opener = opener_to("http://localhost", route=RouteOptions(unix_socket="/none"))
    assert asyncio.run(look_up_addresses(opener)) is None


def test_tcp_is_timed_without_the_look_up() -> None:
    async def main() -> None:
        async with ScriptedPeer(http1()) as peer:
            opener = opener_to(peer.url)
            await time_tcp(opener)
            assert opener.samples.round_trip().tcp_handshakes == 3
            assert opener.samples.connections == 4

    asyncio.run(main())
