from __future__ import annotations

import asyncio

import pytest
from forwarding_proxy import forwarding
from probing_peers import http1, opener_to
from scripted_peer import ScriptedPeer

from livepost.config import DeliveryOptions, RequestOptions, RouteOptions
from livepost.errors import ConfigurationError, DialError
from livepost.probing.opening import Opener
from livepost.target import parse_target


def test_the_request_has_the_headers_given_and_no_type_for_a_body_that_it_lacks() -> None:
    plain = opener_to("http://u:p@one.test/a?b=c")
    head = plain.head("HEAD")
    assert (head.method, head.target, head.authority) == (b"HEAD", b"/a?b=c", b"one.test")
    names = [name for name, _ in head.fields]
    assert names == [b"User-Agent", b"Accept", b"Authorization"]
    options = DeliveryOptions(
        plain.target, request=RequestOptions(headers=("X-Key: 1", "Content-Type: text/x"))
    )
    given = Opener(options, plain.samples, plain.clock).head("GET")
    assert given.fields[-1] == (b"X-Key", b"1")


def test_options_that_cannot_work_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError):
        opener_to("http://one.test", route=RouteOptions(proxy="", resolve=("nonsense",)))
    options = DeliveryOptions(parse_target("http://one.test"), request=RequestOptions(headers=("none",)))
    with pytest.raises(ConfigurationError):
        Opener(options, opener_to("http://x.test").samples, opener_to("http://x.test").clock).head("GET")


def test_a_proxy_is_asked_for_the_whole_url() -> None:
    asked: list[bytes] = []

    async def main() -> None:
        async with ScriptedPeer(http1()) as peer, ScriptedPeer(forwarding(asked)) as proxy:
            opener = opener_to(f"{peer.url}/x", route=RouteOptions(proxy=proxy.url))
            assert opener.next_hop.port == proxy.port
            assert await opener.look_up() == ["127.0.0.1"]
            assert 0 < await opener.connect_to("127.0.0.1") < 5
            with await opener.open() as conversation:
                assert (await conversation.ask(opener.head("HEAD"))).status == 200
            assert asked[0].startswith(f"HEAD {peer.url}/x HTTP/1.1".encode())
            assert opener.samples.connections == 2
            assert opener.samples.requests_sent == 1

    asyncio.run(main())


def test_what_cannot_be_reached_is_told_as_by_send() -> None:
    with pytest.raises(DialError, match="refused the connection"):
        asyncio.run(opener_to("http://127.0.0.1:9").open())
