"""Which version of HTTP a dial leads to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
from certificates import Authority
from dial_world import Loop, make_dialer
from forwarding_proxy import forwarding
from scripted_peer import ScriptedPeer

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, RouteOptions, TlsOptions
from livepost.errors import DialError
from livepost.events import HttpVersion
from livepost.net.dial import Dialer
from livepost.target import parse_target

H1, H2 = HttpVersion.HTTP_1_1, HttpVersion.HTTP_2


async def spoken_by(dialer: Dialer) -> HttpVersion:
    """Dial, wait until the server has the connection, and hang up."""
    dialed = await dialer.dial()
    dialed.socket.setblocking(False)
    try:
        data = b""
        while not data:
            await asyncio.sleep(0.001)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                data = dialed.socket.recv(1)
    finally:
        dialed.socket.close()
    return dialed.http_version


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"hello")
    await reader.read()


@pytest.mark.parametrize(
    ("route", "expected"),
    [({}, H1), ({"http1_1": True}, H1), ({"http2_prior_knowledge": True}, H2)],
)
def test_what_is_spoken_without_tls(loop: Loop, route: dict[str, Any], expected: HttpVersion) -> None:
    async def main() -> None:
        async with ScriptedPeer(greet) as peer:
            dialer = make_dialer(peer.url, **route)
            assert await spoken_by(dialer) is expected
            # And from then on HTTP/1.1, whatever was asked for.
            dialer.speak_http_1_1()
            assert await spoken_by(dialer) is H1

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("route", "spoken", "expected"),
    [
        ({}, ["h2", "http/1.1"], H2),
        ({}, ["http/1.1"], H1),
        ({}, [], H1),
        ({"http1_1": True}, ["h2", "http/1.1"], H1),
        ({"http2_prior_knowledge": True}, ["h2"], H2),
        ({"http2_prior_knowledge": True}, ["http/1.1"], H1),
        ({"http2_prior_knowledge": True}, [], H2),
    ],
)
def test_what_is_spoken_over_tls(
    loop: Loop, authority: Authority, route: dict[str, Any], spoken: list[str], expected: HttpVersion
) -> None:
    server = authority.server_context()
    if spoken:
        server.set_alpn_protocols(spoken)

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=server) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            dialer = make_dialer(f"https://localhost:{peer.port}", tls=tls, **route)
            assert await spoken_by(dialer) is expected
            if spoken != ["h2"]:
                dialer.speak_http_1_1()
                assert await spoken_by(dialer) is H1

    loop.run_until_complete(main())


@pytest.mark.parametrize("prior_knowledge", [True, False])
def test_what_is_spoken_through_a_proxy(loop: Loop, authority: Authority, prior_knowledge: bool) -> None:
    """With one that is given whole URLs HTTP/1.1, whatever is known of the server; in a tunnel as without."""
    server = authority.server_context()
    server.set_alpn_protocols(["h2", "http/1.1"])
    heads: list[bytes] = []

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=server) as secure:
            for url, script, expected in (
                ("http://192.0.2.1/", greet, H1),
                (f"https://localhost:{secure.port}", forwarding(heads), H2),
            ):
                async with ScriptedPeer(script) as proxy:
                    options = DeliveryOptions(
                        target=parse_target(url),
                        tls=TlsOptions(cacert=str(authority.ca_file)),
                        route=RouteOptions(http2_prior_knowledge=prior_knowledge),
                    )
                    dialer = Dialer(options, parse_target(proxy.url), monotonic)
                    assert await spoken_by(dialer) is expected

    loop.run_until_complete(main())
    assert heads[0].startswith(b"CONNECT localhost:")


@pytest.mark.parametrize(
    ("route", "chosen", "is_taken"),
    [
        ({}, "spdy/3", False),
        ({}, "", False),
        ({"http1_1": True}, "h2", False),
        ({"http1_1": True}, "http/1.1", True),
    ],
)
def test_what_was_not_offered_is_not_spoken(
    loop: Loop,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    route: dict[str, Any],
    chosen: str,
    is_taken: bool,
) -> None:
    monkeypatch.setattr(ssl.SSLSocket, "selected_alpn_protocol", lambda sock: chosen)

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=authority.server_context()) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            dialer = make_dialer(f"https://localhost:{peer.port}", tls=tls, **route)
            if is_taken:
                assert await spoken_by(dialer) is H1
                return
            with pytest.raises(DialError) as caught:
                await dialer.dial()
            assert str(caught.value) == f"the server chose to speak {chosen!r}, which it was not offered"
            # The socket is closed: the event loop of these tests counts.

    loop.run_until_complete(main())
