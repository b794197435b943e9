from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from probing_peers import http1, http2, opener_to, until
from scripted_peer import Script, ScriptedPeer, read_request

from livepost.config import RouteOptions
from livepost.probing.cap import CapMeasure
from livepost.probing.conversation import Conversation
from livepost.probing.findings import Ending, RequestCap
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.server import PracticeServer


def measured(
    script: Script, max_requests: int = 50, max_wait: float = 5.0, *, route: RouteOptions | None = None
) -> RequestCap:
    async def main() -> RequestCap:
        async with ScriptedPeer(script) as peer:
            opener = opener_to(peer.url, route=route)
            measure = CapMeasure(opener, opener.head("HEAD"), max_requests, max_wait)
            await measure.run()
            assert measure.troubles == []
            found = measure.found()
            assert peer.connections == (1 if found.ending is None else 2)
            return found

    return asyncio.run(main())


async def _closes_after_three(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
) -> None:
    for _ in range(3):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "route", "cap", "ending"),
    [
        (http1(cap=20), None, 20, Ending.ANNOUNCED),
        (http1(cap=1), None, 1, Ending.ANNOUNCED),
        (http2(cap=20), RouteOptions(proxy="", http2_prior_knowledge=True), 20, Ending.ANNOUNCED),
        (_closes_after_three, None, 3, Ending.FIN),
    ],
)
def test_the_cap_is_the_last_request_answered(
    script: Script, route: RouteOptions | None, cap: int, ending: Ending
) -> None:
    found = measured(script, route=route)
    assert (found.cap, found.answered, found.ending, found.stopped_by) == (cap, cap, ending, None)
    assert found.maximum_age_seconds is None
    assert 0 < found.seconds < 5


def practised(
    limits: ServerLimits, latency: float, max_wait: float = 5.0, *, http2: bool = False
) -> RequestCap:
    async def main() -> RequestCap:
        async with PracticeServer(limits=limits, latency=Latency(latency), http2=http2) as server:
            route = RouteOptions(proxy="", http2_prior_knowledge=True) if http2 else None
            opener = opener_to(f"{server.url}/api", route=route)
            measure = CapMeasure(opener, opener.head("HEAD"), 100_000, max_wait)
            await measure.run()
            assert measure.troubles == []
            found = measure.found()
            if found.cap is not None:
                assert measure.status() == f"the server closes after {found.cap}"
            elif found.maximum_age_seconds is not None:
                assert measure.status().startswith("the server closes at an age of ")
            return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("announces", "latency", "http2"),
    [(True, 0.005, False), (False, 0.005, False), (True, 0.005, True), (True, 0.3, False)],
)
def test_an_age_is_told_from_a_cap_by_asking_less_often(announces: bool, latency: float, http2: bool) -> None:
    found = practised(ServerLimits(max_age=0.5, announces=announces), latency, http2=http2)
    assert found.cap is None
    assert found.ending is (Ending.ANNOUNCED if announces else Ending.FIN)
    assert found.maximum_age_seconds == pytest.approx(0.5, abs=0.05 + latency)
    assert (found.stopped_by, found.answered >= 2) == (None, True)


@pytest.mark.parametrize(("cap", "latency"), [(1, 0.1), (2, 0.1), (3, 0.1), (100, 0.005)])
def test_a_cap_is_one_however_often_it_is_asked(cap: int, latency: float) -> None:
    found = practised(ServerLimits(max_requests=cap), latency)
    assert (found.cap, found.maximum_age_seconds, found.answered) == (cap, None, cap)


def test_without_time_to_tell_it_is_neither() -> None:
    found = practised(ServerLimits(max_age=0.5), 0.005, 0.8)
    assert (found.cap, found.maximum_age_seconds) == (None, None)
    assert (found.ending, found.stopped_by) == (Ending.ANNOUNCED, None)
    assert found.answered > 20


def test_ends_that_have_nothing_in_common_are_neither() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for _ in range(40 if number == 1 else 4):
            await read_request(reader)
            await asyncio.sleep(0.005)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    found = measured(script)
    assert (found.cap, found.maximum_age_seconds, found.answered) == (None, None, 40)
    assert found.ending is Ending.FIN


def test_no_more_are_sent_than_allowed() -> None:
    found = measured(http1(), 30)
    assert (found.cap, found.answered, found.ending) == (None, 30, None)
    assert found.stopped_by == "no more were to be sent"


def test_the_longest_wait_ends_it_too() -> None:
    found = measured(http1(), 1_000_000, 0.05)
    assert found.cap is None
    assert found.stopped_by == "the longest wait was over"


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
@pytest.mark.parametrize("cap", [None, 1])
def test_a_server_that_asks_for_less_gets_less(status: bytes, cap: int | None) -> None:
    """Also if it closes the connection then: that is not its cap."""
    found = measured(http1(status=status, cap=cap))
    assert (found.cap, found.answered) == (None, 1)
    assert found.stopped_by == f"the server answered {status[:3].decode()}"


def test_a_connection_that_is_lost_on_the_way_shows_no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(socket.socket):
        """As when the kernel gives up on what the network has lost."""

        reads = 0

        def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
            data = super().recv(bufsize, flags)
            self.reads += 1
            if self.reads > 3:
                raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")
            return data

    async def main() -> RequestCap:
        async with ScriptedPeer(http1()) as peer:
            opener = opener_to(peer.url)
            conversation = await opener.open()
            sock = conversation.socket
            conversation.socket = Lost(fileno=sock.detach())

            async def open_lost() -> Conversation:
                return conversation

            monkeypatch.setattr(opener, "open", open_lost)
            measure = CapMeasure(opener, opener.head("HEAD"), 50, 5.0)
            await measure.run()
            return measure.found()

    found = asyncio.run(main())
    assert (found.cap, found.answered, found.ending) == (None, 3, None)
    assert found.stopped_by == "the connection was lost on the way"


def test_what_is_known_when_it_is_stopped_is_how_many_were_answered() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for _ in range(5):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async def main() -> None:
        async with ScriptedPeer(script) as peer:
            opener = opener_to(peer.url)
            measure = CapMeasure(opener, opener.head("HEAD"), 1_000_000, 60.0)
            task = asyncio.create_task(measure.run())
            await until(lambda: measure.found().answered == 5)
            assert measure.status() == "5 of 1,000,000 requests on one connection"
            task.cancel()
            await asyncio.wait([task])
            found = measure.found()
            assert (found.cap, found.answered, found.stopped_by) == (None, 5, "the probe was stopped")

    asyncio.run(main())
