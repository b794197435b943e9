"""Whole runs that follow redirects (-L), over the servers of this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
import ssl
from collections.abc import Callable

import pytest
from certificates import Authority
from forwarding_proxy import forwarding
from scripted_peer import ScriptedPeer, read_request
from whole_runs import BRIEF, IMPATIENT, Log, counts, numbers, options, run

from livepost.config import Limits, RequestOptions, RouteOptions, TlsOptions
from livepost.deliver import Delivery, deliver
from livepost.errors import DestinationError, PermanentDialError
from livepost.policy import OutcomeOptions, RetryOptions
from livepost.records.source import ObjectSource
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import fault_of_status
from livepost.rehearsal.record_log import Entry
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

FOLLOWING = OutcomeOptions(location=True)


def leading_to(location: str, status: int = 307) -> Callable[[RequestSeen], Reply | None]:
    """Everything but what has come there already."""

    def respond(request: RequestSeen) -> Reply | None:
        if request.target == location.encode():
            return None
        return Reply(status, ((b"Location", location.encode()),))

    return respond


@pytest.mark.parametrize("status", [307, 308])
def test_within_one_server_the_record_goes_over_the_same_connection(status: int) -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []
        respond = leading_to("/api?moved=1", status)
        async with PracticeServer(respond=respond, on_request=seen.append) as server:
            url = f"http://user:secret@127.0.0.1:{server.port}/api?old=1"
            result = await deliver(numbers(50), options(url, 1, outcome=FOLLOWING))
            assert counts(result) == (50, 0, 0, 0)
            assert result.summary.retries == {f"status_{status}": 50}
            assert (server.stats.connections, server.stats.requests) == (1, 100)
        arrived = [request for request in seen if request.target == b"/api?moved=1"]
        assert [int(request.body) for request in arrived] == list(range(1, 51))
        assert all(dict(request.headers)[b"Authorization"] for request in arrived)

    run(main())


def test_another_server_gets_the_record_over_its_own_connections_and_no_credentials() -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []
        async with (
            PracticeServer(on_request=seen.append) as there,
            PracticeServer(respond=leading_to(f"{there.url}/api")) as here,
        ):
            url = f"http://user:secret@127.0.0.1:{here.port}/api?old=1"
            with_key = RequestOptions(headers=("X-Api-Key: secret", "X-Trace: 1"))
            result = await deliver(numbers(200), options(url, 4, outcome=FOLLOWING, request=with_key))
            assert counts(result) == (200, 0, 0, 0)
            assert (here.stats.requests, there.stats.requests) == (200, 200)
            assert here.stats.connections <= 4
            assert there.stats.connections <= 4
            assert result.summary.connections.opened == here.stats.connections + there.stats.connections
        assert sorted(int(request.body) for request in seen) == list(range(1, 201))
        for request in seen:
            names = {name.lower() for name, _ in request.headers}
            assert names >= {b"x-trace", b"content-type"}
            assert not names & {b"authorization", b"x-api-key"}

    run(main())


def test_idle_connections_to_all_servers_are_counted_together() -> None:
    async def main() -> None:
        objects: queue.SimpleQueue[object] = queue.SimpleQueue()
        objects.put(1)

        async def here(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            await read_request(reader)
            head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {there.url}/api\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            try:
                async with asyncio.timeout(5):
                    assert await reader.read() == b""
            finally:
                objects.put(None)

        async with PracticeServer() as there, ScriptedPeer(here) as peer:
            to = options(peer.url, outcome=FOLLOWING, limits=Limits(max_conns_per_host=1, max_idle_conns=1))
            result = await deliver(ObjectSource(iter(objects.get, None)), to)
            assert (counts(result), there.stats.connections) == ((1, 0, 0, 0), 1)
        # The one idle for longer made room while the run went on.
        assert result.summary.connections.closed == {"idle_limit": 1, "finished": 1}

    run(main())


def test_another_server_is_not_shown_the_client_certificate(authority: Authority) -> None:
    async def main() -> None:
        files = authority.issue_files("client.test")
        known = TlsOptions(cacert=str(authority.ca_file), cert=str(files.certificate), key=str(files.key))
        asking = authority.server_context(asks_client=True)
        # Where a server says at once that it misses something.
        asking.maximum_version = ssl.TLSVersion.TLSv1_2
        async with (
            PracticeServer(ssl_context=asking) as there,
            PracticeServer(ssl_context=asking, respond=leading_to(f"{there.url}/api")) as here,
        ):
            to = options(f"{here.url}/api?old=1", 1, outcome=FOLLOWING, tls=known, pace=BRIEF)
            result = await deliver(numbers(3), to)
            assert there.stats.requests == 0
        assert counts(result) == (0, 0, 0, 3)

    run(main())


@pytest.mark.parametrize(
    ("exempt", "seen_by_proxy"), [("127.0.0.1", "there"), ("localhost", "here"), ("", "all")]
)
def test_each_server_is_reached_as_its_own_proxy_wants_it(
    monkeypatch: pytest.MonkeyPatch, exempt: str, seen_by_proxy: str
) -> None:
    async def main() -> None:
        heads: list[bytes] = []
        async with (
            PracticeServer() as there,
            PracticeServer(respond=leading_to(f"http://localhost:{there.port}/api")) as here,
            ScriptedPeer(forwarding(heads)) as proxy,
        ):
            monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", exempt)
            url = f"http://127.0.0.1:{here.port}/api?old=1"
            to = options(url, 1, outcome=FOLLOWING, route=RouteOptions(), pace=BRIEF)
            assert counts(await deliver(numbers(1), to)) == (1, 0, 0, 0)
            asked = {
                "here": b"POST %b HTTP/1.1" % url.encode(),
                "there": b"POST http://localhost:%d/api HTTP/1.1" % there.port,
            }
        expected = list(asked.values()) if seen_by_proxy == "all" else [asked[seen_by_proxy]]
        assert [head.partition(b"\r\n")[0] for head in heads] == expected
        assert [head.count(b"Proxy-Authorization: Basic") for head in heads] == [1] * len(heads)

    run(main())


def test_a_303_is_asked_with_get_and_no_record() -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []
        respond = leading_to("/api", 303)
        async with PracticeServer(respond=respond, on_request=seen.append) as server:
            result = await deliver(numbers(3), options(f"{server.url}/api?old=1", 1, outcome=FOLLOWING))
            assert counts(result) == (3, 0, 0, 0)
        assert [(request.method, request.body) for request in seen[1::2]] == [(b"GET", b"")] * 3

    run(main())


@pytest.mark.parametrize("status", [301, 302])
def test_a_post_is_not_turned_into_a_get_that_would_lose_it(status: int) -> None:
    async def main() -> None:
        log = Log()
        async with PracticeServer(respond=leading_to("/api", status)) as server:
            to = options(f"{server.url}/api?old=1", 1, outcome=FOLLOWING)
            assert counts(await deliver(numbers(2), to, observers=[log])) == (0, 2, 0, 0)
            assert server.stats.requests == 2
        reason = "the redirect would turn the POST into a GET without the record"
        assert log.told == [f"{number} rejected: status {status}: {reason}" for number in (1, 2)]
        async with PracticeServer(respond=leading_to("/api", status)) as server:
            put = dataclasses.replace(
                options(f"{server.url}/api?old=1", 1, outcome=FOLLOWING), request=RequestOptions(method="PUT")
            )
            assert counts(await deliver(numbers(2), put)) == (2, 0, 0, 0)

    run(main())


def test_without_l_it_is_rejected_and_told_what_to_do() -> None:
    async def main() -> None:
        log = Log()
        async with PracticeServer(respond=leading_to("/api")) as server:
            result = await deliver(numbers(1), options(f"{server.url}/api?old=1"), observers=[log])
        assert counts(result) == (0, 1, 0, 0)
        assert log.told == [
            "1 rejected: status 307, a redirect: give the new address to --to, or follow it with -L"
        ]

    run(main())


def test_what_fails_there_is_tried_again_there_and_agrees_with_the_servers_log() -> None:
    async def main() -> None:
        entries: list[Entry] = []
        faults = FaultScript(lambda head: fault_of_status(503) if head.number % 5 == 2 else None)
        async with (
            PracticeServer(faults=faults, log=entries.append) as there,
            PracticeServer(respond=leading_to(f"{there.url}/api")) as here,
        ):
            to = options(f"{here.url}/api?old=1", 2, outcome=FOLLOWING)
            delivery = Delivery(numbers(40), to, policy=IMPATIENT)
            result = await delivery.run()
            assert counts(result) == (40, 0, 0, 0)
            assert here.stats.requests == 40
        processed = [entry.record for entry in entries if entry.processed]
        assert len(processed) == len(set(processed)) == 40
        assert result.summary.retries["status_503"] == len(entries) - 40 > 0

    run(main())


def test_a_server_there_that_is_down_is_given_up_and_nothing_is_lost() -> None:
    async def main() -> None:
        async with PracticeServer() as there:
            gone = there.url
        async with PracticeServer(respond=leading_to(f"{gone}/api")) as here:
            to = options(f"{here.url}/api?old=1", 2, outcome=FOLLOWING, pace=BRIEF)
            result = await Delivery(numbers(20), to, policy=IMPATIENT).run()
        assert counts(result) == (0, 0, 0, 20)
        assert isinstance(result.error, DestinationError)
        assert "refused the connection" in str(result.error)
        assert result.was_reached

    run(main())


def test_from_http_to_https_is_followed_and_back_is_not(
    authority: Authority, server_tls: ssl.SSLContext
) -> None:
    async def main() -> None:
        trusting = TlsOptions(cacert=str(authority.ca_file))
        async with (
            PracticeServer(ssl_context=server_tls) as secure,
            PracticeServer(respond=leading_to(f"{secure.url}/api")) as plain,
        ):
            to = options(f"{plain.url}/api?old=1", 1, outcome=FOLLOWING, tls=trusting)
            assert counts(await deliver(numbers(5), to)) == (5, 0, 0, 0)
            assert (secure.stats.requests, secure.stats.handshakes) == (5, 1)
            untrusting = options(f"{plain.url}/api?old=1", 1, outcome=FOLLOWING)
            result = await deliver(numbers(5), untrusting)
            assert counts(result) == (0, 0, 0, 5)
            assert isinstance(result.error, PermanentDialError)
        async with (
            PracticeServer() as plain,
            PracticeServer(ssl_context=server_tls, respond=leading_to(f"{plain.url}/api")) as secure,
        ):
            log = Log()
            to = options(f"{secure.url}/api?old=1", 1, outcome=FOLLOWING, tls=trusting)
            assert counts(await deliver(numbers(1), to, observers=[log])) == (0, 1, 0, 0)
            assert log.told == ["1 rejected: status 307: the redirect leads from https to http"]

    run(main())


def test_a_certificate_that_only_the_redirect_needs_ends_the_run_if_it_cannot_be_read(
    server_tls: ssl.SSLContext,
) -> None:
    async def main() -> None:
        async with PracticeServer(respond=leading_to("https://127.0.0.1:1/api")) as plain:
            to = options(
                f"{plain.url}/api?old=1", 1, outcome=FOLLOWING, tls=TlsOptions(cacert="/no/such/file")
            )
            result = await deliver(numbers(3), to)
        assert counts(result) == (0, 0, 0, 3)
        assert "/no/such/file" in str(result.error)

    run(main())


def test_a_stop_leaves_unsent_what_waits_for_the_other_server() -> None:
    async def main() -> None:
        async with PracticeServer() as there:
            gone = there.url
        async with PracticeServer(respond=leading_to(f"{gone}/api")) as here:
            to = options(f"{here.url}/api?old=1", 2, outcome=FOLLOWING, retry=RetryOptions())
            delivery = Delivery(numbers(3), to, observers=[Log(lambda words: delivery.stop())])
            result = await delivery.run()
        assert counts(result) == (0, 0, 0, 3)
        assert (result.was_stopped, result.error) == (True, None)

    run(main())
