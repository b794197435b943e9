"""One connection to a scripted peer: what is answered, and how and when it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from certificates import Authority
from probing_peers import http1, http2, opener_to
from scripted_peer import Script, ScriptedPeer, read_request, reset

from livepost.clock import monotonic
from livepost.config import RouteOptions, Timeouts, TlsOptions
from livepost.events import CloseReason
from livepost.net.dial import Dialed
from livepost.probing.conversation import Conversation, NoAnswer
from livepost.probing.findings import Ending
from livepost.wire.frames import MAX_CONCURRENT_STREAMS

Returned = TypeVar("Returned")

PRIOR_KNOWLEDGE = RouteOptions(proxy="", http2_prior_knowledge=True)


def converse(
    script: Script,
    talk: Callable[[Conversation], Awaitable[Returned]],
    *,
    route: RouteOptions | None = None,
    timeouts: Timeouts | None = None,
    tls: TlsOptions | None = None,
    server_tls: ssl.SSLContext | None = None,
) -> Returned:
    async def main() -> Returned:
        async with ScriptedPeer(script, ssl_context=server_tls) as peer:
            opener = opener_to(peer.url, route=route, timeouts=timeouts, tls=tls)
            with await opener.open() as conversation:
                return await talk(conversation)

    return asyncio.run(main())


async def ask(conversation: Conversation) -> int:
    head = opener_to("http://localhost").head("GET")
    return (await conversation.ask(head)).status


def test_requests_are_answered_one_after_the_other() -> None:
    async def talk(conversation: Conversation) -> None:
        assert [await ask(conversation), await ask(conversation)] == [404, 404]
        assert conversation.spoken == "HTTP/1.1"
        assert conversation.settings is None
        assert conversation.goodbye is None

    converse(http1(status=b"404 Not Found"), talk)


def test_over_http_2_the_settings_are_told_by_name() -> None:
    async def talk(conversation: Conversation) -> None:
        assert await ask(conversation) == 200
        assert conversation.spoken == "HTTP/2"
        assert conversation.settings == {"max_concurrent_streams": 7, "enable_connect_protocol": 1, "0x77": 9}

    converse(http2(settings={MAX_CONCURRENT_STREAMS: 7, 8: 1, 0x77: 9}), talk, route=PRIOR_KNOWLEDGE)


def test_a_ping_takes_a_round_trip_and_one_that_is_refused_none() -> None:
    async def talk(conversation: Conversation) -> None:
        await ask(conversation)
        seconds = await conversation.ping(5.0)
        assert seconds is not None
        assert 0 < seconds < 5
        assert await conversation.ping(5.0) is None
        assert conversation.closing is CloseReason.ENHANCE_YOUR_CALM

    converse(http2(pings_borne=1), talk, route=PRIOR_KNOWLEDGE)


async def _silent_then(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: Callable[[], None]
) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0.05)
    end()
    await asyncio.sleep(5)


@pytest.mark.parametrize(
    ("ending", "over_tls"),
    [
        *((Ending.FIN, False), (Ending.RESET, False), (Ending.ANNOUNCED, False)),
        *((Ending.FIN, True), (Ending.ANNOUNCED, True)),
    ],
)
def test_the_end_of_an_idle_connection_is_seen_when_it_comes(
    authority: Authority, server_tls: ssl.SSLContext, ending: Ending, over_tls: bool
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        ends = {
            Ending.FIN: writer.close,
            Ending.RESET: lambda: reset(writer),
            Ending.ANNOUNCED: lambda: writer.write(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"),
        }
        await _silent_then(reader, writer, ends[ending])

    async def talk(conversation: Conversation) -> None:
        await ask(conversation)
        loop = asyncio.get_running_loop()
        since = loop.time()
        goodbye = await conversation.listen(3.0)
        assert goodbye is not None
        assert goodbye.ending is ending
        assert 0.03 < goodbye.at - since < 1.0
        with pytest.raises(NoAnswer, match="the server ended the connection"):
            await ask(conversation)

    converse(
        script,
        talk,
        tls=TlsOptions(cacert=str(authority.ca_file)),
        server_tls=server_tls if over_tls else None,
    )


def test_an_idle_connection_that_lasts_is_left_after_the_wait() -> None:
    async def talk(conversation: Conversation) -> None:
        await ask(conversation)
        assert await conversation.listen(0.05) is None
        assert await ask(conversation) == 200

    converse(http1(), talk)


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    await reader.read()


async def _stops_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    await asyncio.sleep(0.02)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    await reader.read()


@pytest.mark.parametrize(
    ("script", "timeouts"),
    [
        (_says_nothing, Timeouts(max_time=0.1)),
        (_says_nothing, Timeouts(max_time=None, response_header_timeout=0.1)),
        (_stops_in_the_body, Timeouts(max_time=0.1)),
        (_stops_in_the_body, Timeouts(max_time=0.2, response_header_timeout=0.1)),
    ],
)
def test_silence_is_no_answer(script: Script, timeouts: Timeouts) -> None:
    async def talk(conversation: Conversation) -> None:
        with pytest.raises(NoAnswer, match=r"no answer came within 0\.[12]") as caught:
            await ask(conversation)
        assert caught.value.was_silence
        assert conversation.goodbye is None

    converse(script, talk, timeouts=timeouts)


class Torrent:
    """A socket with always more to read, interim answers; from the beginning, or when something was sent."""

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self._ends_at = monotonic() + 5.0

    def recv(self, size: int) -> bytes:
        assert monotonic() < self._ends_at, "nobody else had a turn"
        if not self._is_open:
            raise BlockingIOError
        return b"HTTP/1.1 102 Processing\r\n\r\n"

    def send(self, data: bytes) -> int:
        self._is_open = True
        return len(data)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("is_open", "reason"),
    [(False, r"no answer came within 0\.\d+ s"), (True, "the server ended the connection")],
)
def test_a_server_that_never_pauses_does_not_outlast_the_time_limit(is_open: bool, reason: str) -> None:
    async def main() -> None:
        torrent: Any = Torrent(is_open=is_open)
        opener = opener_to("http://localhost")
        conversation = opener.converse(Dialed(torrent, "peer", 0.0, None, False))
        with conversation, pytest.raises(NoAnswer, match=reason):
            await conversation.ask(opener.head("GET"), 0.05)

    asyncio.run(main())


def test_a_body_may_take_longer_than_its_head() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n")
        await asyncio.sleep(0.15)
        writer.write(b"ok")
        await reader.read()

    async def talk(conversation: Conversation) -> None:
        assert await ask(conversation) == 200
        assert conversation.spoken == "HTTP/1.0"

    converse(script, talk, timeouts=Timeouts(max_time=5.0, response_header_timeout=0.1))


def test_what_is_not_http_is_no_answer() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        await reader.read()

    async def talk(conversation: Conversation) -> None:
        with pytest.raises(NoAnswer):
            await ask(conversation)

    converse(script, talk)
