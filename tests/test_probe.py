"""Whole probes in one process, against servers on this machine whose limits are short."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from certificates import Authority
from forwarding_proxy import forwarding
from probing_peers import http1, http2
from scripted_peer import Script, ScriptedPeer, read_request

from livepost.config import DeliveryOptions, RequestOptions, RouteOptions, Timeouts, TlsOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.probe import Probe
from livepost.probing.conversation import NoAnswer
from livepost.probing.findings import Ending, Findings, KeepAliveHint
from livepost.probing.options import ProbeOptions
from livepost.probing.recommend import recommend
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.server import PracticeServer
from livepost.target import parse_target

DIRECT = RouteOptions(proxy="")
BRIEF = ProbeOptions(max_wait=1.5, max_requests=40)


def options(
    url: str, *, route: RouteOptions = DIRECT, tls: TlsOptions | None = None, max_time: float = 5.0
) -> DeliveryOptions:
    return DeliveryOptions(
        target=parse_target(url), route=route, tls=tls or TlsOptions(), timeouts=Timeouts(max_time=max_time)
    )


def probed(
    script: Script,
    asked: ProbeOptions = BRIEF,
    *,
    path: str = "/",
    route: RouteOptions = DIRECT,
    max_time: float = 5.0,
) -> Findings:
    async def main() -> Findings:
        async with ScriptedPeer(script) as peer:
            return await Probe(options(peer.url + path, route=route, max_time=max_time), asked).run()

    return asyncio.run(main())


def test_the_practice_server_is_found_out() -> None:
    async def main() -> tuple[Findings, int, int]:
        async with PracticeServer(limits=ServerLimits(idle_timeout=0.4)) as server:
            found = await Probe(options(f"{server.url}/api"), BRIEF).run()
            return found, server.stats.connections, server.stats.requests

    found, connections, requests = asyncio.run(main())
    assert found.is_complete
    assert found.troubles == ()
    assert found.contact is not None
    assert (found.contact.http_version, found.contact.keeps_alive) == ("HTTP/1.1", True)
    assert found.idle is not None
    assert found.idle.limit_seconds == pytest.approx(0.4, abs=0.15)
    assert found.cap is not None
    assert (found.cap.cap, found.cap.answered) == (None, 40)
    assert found.is_http2_without_tls is False
    assert found.tls is None
    assert found.pings is None
    assert found.look_up is not None
    assert [one.error for one in found.look_up.addresses if one.address == "127.0.0.1"] == [None]
    # Apart from those to other addresses of the name; what HTTP/2 said was none it understood.
    assert found.connections_opened == connections
    assert requests <= found.requests_sent <= requests + 1


def test_http_2_over_tls_is_found_out(authority: Authority) -> None:
    context = authority.server_context()
    context.set_alpn_protocols(["h2"])

    async def main() -> Findings:
        script = http2(idle=0.4, cap=30, settings={3: 50})
        async with ScriptedPeer(script, ssl_context=context) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            return await Probe(options(peer.url, tls=tls), BRIEF).run()

    found = asyncio.run(main())
    assert found.troubles == ()
    assert found.contact is not None
    assert found.contact.http_version == "HTTP/2"
    assert found.tls is not None
    assert (found.tls.version, found.tls.alpn) == ("TLSv1.3", "h2")
    assert [one.resumes for one in found.tls.handshakes] == [True, True]
    assert found.http2_settings == {"max_concurrent_streams": 50}
    assert found.idle is not None
    assert found.idle.limit_seconds == pytest.approx(0.4, abs=0.15)
    assert found.cap is not None
    assert (found.cap.cap, found.cap.ending) == (30, Ending.ANNOUNCED)
    assert found.pings is not None
    assert (found.pings.reset_idle_timer, found.pings.are_borne) == (False, True)
    assert found.is_http2_without_tls is None
    assert "--connections 50" in [advice.flag for advice in recommend(found).advice]


def test_http_2_without_tls_is_found_and_measured() -> None:
    found = probed(http2(idle=0.3))
    assert found.is_http2_without_tls is True
    assert found.contact is not None
    assert found.contact.http_version == "HTTP/2"
    assert recommend(found).advice[0].flag == "--http2-prior-knowledge"


@pytest.mark.parametrize("flag", ["http1_1", "http2_prior_knowledge"])
def test_a_version_that_is_asked_for_is_the_only_one_spoken(flag: str) -> None:
    prefaces = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        prefaces.append((await read_request(reader)).head.startswith(b"PRI "))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    route = RouteOptions(proxy="", http1_1=flag == "http1_1", http2_prior_knowledge=flag != "http1_1")
    if flag == "http1_1":
        assert probed(script, route=route).is_http2_without_tls is None
    else:
        with pytest.raises(NoAnswer, match="does not answer in HTTP/2: the server speaks HTTP/1"):
            probed(script, route=route)
    assert set(prefaces) == {flag != "http1_1"}


def test_http_2_that_is_offered_but_does_not_work_is_told(authority: Authority) -> None:
    context = authority.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            await http1(idle=0.2)(reader, writer, number)

    async def main() -> Findings:
        async with ScriptedPeer(script, ssl_context=context) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            return await Probe(options(peer.url, tls=tls), BRIEF).run()

    found = asyncio.run(main())
    assert len(found.troubles) == 1
    assert found.troubles[0].startswith("HTTP/2: the server ")
    assert found.contact is not None
    assert found.contact.http_version == "HTTP/1.1"
    assert recommend(found).advice[0].flag == "--http1.1"


def test_without_keep_alive_there_is_nothing_to_wait_for() -> None:
    found = probed(http1(cap=1))
    assert found.is_complete
    assert found.contact is not None
    assert not found.contact.keeps_alive
    assert (found.idle, found.cap) == (None, None)
    assert found.seconds < BRIEF.max_wait


def test_another_path_may_be_asked_and_secrets_are_not_told() -> None:
    heads = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            heads.append((await read_request(reader)).head)
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nKeep-Alive: timeout=9\r\n\r\n")

    found = probed(script, ProbeOptions(path="/a?k=s3cret", max_wait=0.2), path="/api?k=s3cret")
    assert any(head.startswith(b"HEAD /a?k=s3cret HTTP/1.1\r\n") for head in heads)
    assert not any(b"/api" in head for head in heads)
    assert found.path == "/a?"
    assert "s3cret" not in repr(found)
    assert found.keep_alive_hint == KeepAliveHint(9.0, None)


def test_a_proxy_is_probed_through() -> None:
    heads: list[bytes] = []

    async def main() -> Findings:
        async with ScriptedPeer(http1(idle=0.3)) as peer, ScriptedPeer(forwarding(heads)) as proxy:
            return await Probe(options(f"{peer.url}/x", route=RouteOptions(proxy=proxy.url)), BRIEF).run()

    found = asyncio.run(main())
    assert found.via_proxy is not None
    assert found.contact is not None
    assert {head.split(b" ")[0] for head in heads} == {b"HEAD"}


def test_a_unix_socket_is_probed(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> Findings:
        async with ScriptedPeer(http1(idle=0.2), unix_socket=path):
            return await Probe(
                options("http://localhost/", route=RouteOptions(unix_socket=str(path))), BRIEF
            ).run()

    found = asyncio.run(main())
    assert found.look_up is None
    assert found.connected_to == str(path)
    assert found.idle is not None
    assert found.idle.limit_seconds == pytest.approx(0.2, abs=0.15)


class Watching:
    """A display that stops the probe when `wanted` has been shown."""

    interval_seconds = 0.02

    def __init__(self, wanted: str) -> None:
        self.probe: Probe | None = None
        self.calls: list[str] = []
        self._wanted = wanted

    def start(self) -> None:
        self.calls.append("start")

    def tick(self, seconds: float, doing: Mapping[str, str]) -> None:
        self.calls.append(f"{doing}")
        if self._wanted in doing and self.probe is not None:
            self.probe.stop()

    def stop(self) -> None:
        self.calls.append("stop")


def test_stopped_it_tells_what_is_known_so_far() -> None:
    display = Watching("idle limit")

    async def main() -> Findings:
        async with ScriptedPeer(http1()) as peer:
            display.probe = Probe(options(peer.url), ProbeOptions(max_wait=60.0), display=display)
            return await display.probe.run()

    found = asyncio.run(main())
    assert not found.is_complete
    assert found.seconds < 10
    assert found.contact is not None
    assert found.idle is not None
    assert {one.ending for one in found.idle.connections} <= {Ending.OPEN}
    assert found.cap is not None
    assert found.cap.cap is None
    assert (display.calls[0], display.calls[-1]) == ("start", "stop")
    assert any("request cap" in call for call in display.calls)


def test_stopped_before_the_first_answer_it_knows_little() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read()

    display = Watching("handshakes")

    async def main() -> Findings:
        async with ScriptedPeer(script) as peer:
            display.probe = Probe(options(peer.url), BRIEF, display=display)
            return await display.probe.run()

    found = asyncio.run(main())
    assert found.contact is None
    assert found.connections_opened == 1
    assert recommend(found).advice == ()


def test_cancelled_it_is_cancelled() -> None:
    async def main() -> None:
        async with ScriptedPeer(http1()) as peer:
            task = asyncio.create_task(Probe(options(peer.url), ProbeOptions(max_wait=60.0)).run())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


async def _says_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9\r\n")
    await reader.read()


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("script", "words", "hint"),
    [
        (_says_ssh, "does not answer in HTTP: not an HTTP/1 answer", "check the port"),
        (_says_nothing, "takes connections, but no answer came within 0.2", "--max-time"),
    ],
)
def test_what_does_not_answer_in_http_is_an_error(script: Script, words: str, hint: str) -> None:
    with pytest.raises(NoAnswer, match=words) as caught:
        probed(script, max_time=0.2)
    assert hint in caught.value.hint


def test_errors_of_dialling_are_those_of_send(authority: Authority) -> None:
    async def main(tls: ssl.SSLContext | None, url: str = "") -> None:
        async with ScriptedPeer(_says_ssh, ssl_context=tls) as peer:
            await Probe(options(url or peer.url.replace("http:", "https:")), BRIEF).run()

    with pytest.raises(DialError, match="refused the connection"):
        asyncio.run(main(None, "http://127.0.0.1:9/"))
    with pytest.raises(PermanentDialError, match="cannot be trusted"):
        asyncio.run(main(authority.server_context()))
    with pytest.raises(PermanentDialError, match="does not speak TLS"):
        asyncio.run(main(None))


def test_options_that_cannot_work_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError):
        Probe(options("https://a.test/", tls=TlsOptions(cacert="/none")), BRIEF)
    wrong = DeliveryOptions(parse_target("http://a.test/"), request=RequestOptions(headers=("no colon",)))
    with pytest.raises(ConfigurationError):
        Probe(wrong, BRIEF)
