from __future__ import annotations

import asyncio

import pytest
from probing_peers import http1, http2, opener_to
from scripted_peer import Script, ScriptedPeer, read_request

from livepost.config import RouteOptions, Timeouts
from livepost.probing.contact import Met, ask_for_hint, meet, read_hint
from livepost.probing.conversation import NoAnswer
from livepost.probing.findings import KeepAliveHint
from livepost.probing.options import SAFE_METHODS
from livepost.wire.message import Response


def met(script: Script, methods: tuple[str, ...] = SAFE_METHODS, *, route: RouteOptions | None = None) -> Met:
    async def main() -> Met:
        async with ScriptedPeer(script) as peer:
            return await meet(opener_to(peer.url, route=route, timeouts=Timeouts(max_time=0.2)), methods)

    return asyncio.run(main())


def by_method(**answers: bytes) -> Script:
    """Each method with its status and fields; those that say so are followed by the end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            request = await read_request(reader)
            answer = answers[request.head.partition(b" ")[0].decode()]
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % answer)
            if b"Connection: close" in answer:
                return

    return script


def test_head_is_preferred() -> None:
    contact = met(http1(status=b"404 Not Found", fields=b"Server: x/1\r\nKeep-Alive: timeout=5, max=99\r\n"))
    assert (contact.contact.method, contact.contact.status) == ("HEAD", 404)
    assert (contact.contact.keeps_alive, contact.contact.http_version) == (True, "HTTP/1.1")
    assert (contact.contact.server, contact.contact.location) == ("x/1", None)
    assert contact.hint == KeepAliveHint(5.0, 99)
    assert contact.settings is None
    assert contact.address.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("answers", "method", "status"),
    [
        ({"HEAD": b"405 No", "GET": b"200 OK"}, "GET", 200),
        ({"HEAD": b"501 No", "GET": b"405 No", "OPTIONS": b"204 No Content"}, "OPTIONS", 204),
        ({"HEAD": b"405 No", "GET": b"405 No", "OPTIONS": b"405 No"}, "HEAD", 405),
        # One that keeps the connection is the better one to ask.
        ({"HEAD": b"200 OK\r\nConnection: close", "GET": b"200 OK"}, "GET", 200),
        ({"HEAD": b"200 OK\r\nConnection: close", "GET": b"405 No", "OPTIONS": b"405 No"}, "HEAD", 200),
    ],
)
def test_another_method_is_asked_where_one_is_refused(
    answers: dict[str, bytes], method: str, status: int
) -> None:
    contact = met(by_method(**answers)).contact
    assert (contact.method, contact.status) == (method, status)


def test_nothing_but_the_chosen_method_is_asked() -> None:
    contact = met(by_method(GET=b"405 No"), ("GET",)).contact
    assert (contact.method, contact.status, contact.keeps_alive) == ("GET", 405, True)


@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b""])
def test_a_server_that_closes_after_each_answer_keeps_nothing_alive(fields: bytes) -> None:
    """Announced or not."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%b\r\n" % fields)

    assert not met(script).contact.keeps_alive


def test_http_1_0_ends_with_its_answer() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")

    contact = met(script).contact
    assert (contact.http_version, contact.keeps_alive) == ("HTTP/1.0", False)


def test_http_2_has_settings_and_no_hint() -> None:
    found = met(http2(settings={3: 9}), route=RouteOptions(proxy="", http2_prior_knowledge=True))
    assert (found.contact.http_version, found.contact.keeps_alive) == ("HTTP/2", True)
    assert (found.settings, found.hint) == ({"max_concurrent_streams": 9}, None)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"https://u:p@h.test/x?key=s3cret", "https://h.test/x"),
        (b"/login?next=s3cret", "/login"),
        (b"http://[", None),
    ],
)
def test_where_a_redirect_leads_is_told_without_secrets(location: bytes, shown: str | None) -> None:
    contact = met(http1(status=b"302 Found", fields=b"Location: %b\r\n" % location)).contact
    assert (contact.status, contact.location) == (302, shown)


def test_no_http_is_no_answer_to_any_method() -> None:
    asked = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        asked.append(number)
        await read_request(reader)
        writer.write(b"* OK IMAP4rev1 ready\r\n")

    with pytest.raises(NoAnswer, match="not an HTTP/1 answer"):
        met(script)
    assert asked == [1, 2, 3]


def test_silence_is_not_waited_for_again() -> None:
    asked = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        asked.append(number)
        await reader.read()

    with pytest.raises(NoAnswer) as caught:
        met(script)
    assert caught.value.was_silence
    assert asked == [1]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b"timeout=5, max=100", KeepAliveHint(5.0, 100)),
        (b'MAX = 7 ,Timeout="20"', KeepAliveHint(20.0, 7)),
        (b"timeout=65", KeepAliveHint(65.0, None)),
        (b"timeout=-1, max=ten, x=1, 5", KeepAliveHint()),
        (b"timeout=0", KeepAliveHint(0.0, None)),
    ],
)
def test_hints_are_read_as_far_as_they_make_sense(value: bytes, hint: KeepAliveHint) -> None:
    assert read_hint(Response(200, ((b"keep-alive", value),), b"")) == hint


def test_a_hint_is_asked_for_in_http_1_1_alone() -> None:
    async def main(script: Script) -> KeepAliveHint | None:
        async with ScriptedPeer(script) as peer:
            opener = opener_to(peer.url, route=RouteOptions(proxy="", http2_prior_knowledge=True))
            return await ask_for_hint(opener, opener.head("HEAD"))

    assert asyncio.run(main(http1(fields=b"Keep-Alive: timeout=3\r\n"))) == KeepAliveHint(3.0, None)
    assert asyncio.run(main(http1())) == KeepAliveHint()
    assert asyncio.run(main(http2())) is None
