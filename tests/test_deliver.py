"""Whole runs in one process, against real servers on this machine."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from scripted_peer import ScriptedPeer
from whole_runs import BRIEF, IMPATIENT, Log, counts, numbers, options, run

from livepost.config import (
    InputOptions,
    Limits,
    RequestOptions,
    RouteOptions,
    Timeouts,
    TlsOptions,
)
from livepost.deliver import Delivery, deliver
from livepost.delivery.retry import RetryPolicy
from livepost.errors import (
    ConfigurationError,
    DestinationError,
    DialError,
    InputError,
    OutputError,
    PermanentDialError,
)
from livepost.net.dial import Dialed, Dialer
from livepost.records.source import FileSource, ObjectSource
from livepost.rehearsal.reply import HANG_UP, RESET, SILENCE, After, Reply, json_reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer
from livepost.report.progress import Snapshot


class FakeProgress:
    """Keeps what is asked of it; `on_tick` is called with the number of each tick."""

    def __init__(self, interval_seconds: float | None, on_tick: Callable[[int], None]) -> None:
        self.interval_seconds = interval_seconds
        self.calls: list[str] = []
        self.snapshots: list[Snapshot] = []
        self._on_tick = on_tick

    def start(self) -> None:
        self.calls.append("start")

    def tick(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self._on_tick(len(self.snapshots))

    def stop(self) -> None:
        self.calls.append("stop")


def answer_with(*replies: Reply | None) -> Callable[[RequestSeen], Reply | None]:
    """Scripted replies, one after the other; afterwards the usual ones."""
    script = itertools.chain(replies, itertools.repeat(None))
    return lambda request: next(script)


def numbered(request: RequestSeen) -> int:
    return int(request.body)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_2xx_is_delivered(status: int) -> None:
    async def main() -> None:
        async with PracticeServer(respond=lambda request: Reply(status)) as server:
            result = await deliver(numbers(10), options(f"{server.url}/api", 1))
            assert counts(result) == (10, 0, 0, 0)
            assert result.summary.statuses == {str(status): 10}
            assert server.stats.connections == result.summary.connections.opened == 1
            assert (result.error, result.was_stopped, result.was_reached) == (None, False, True)

    run(main())


@pytest.mark.parametrize("status", [301, 304, 400, 404, 413, 501])
def test_a_rejection_is_told_and_the_run_goes_on(status: int) -> None:
    async def main() -> None:
        async with PracticeServer(respond=answer_with(None, Reply(status, body=b"no"))) as server:
            log = Log()
            result = await deliver(numbers(3), options(f"{server.url}/api", 1), observers=[log])
            assert counts(result) == (2, 1, 0, 0)
            assert result.summary.statuses == {"201": 2, str(status): 1}
            hint = ", a redirect: give the new address to --to, or follow it with -L" if status == 301 else ""
            assert log.told[1] == f"2 rejected: status {status}{hint}"
            assert (server.stats.connections, server.stats.requests) == (1, 3)

    run(main())


@pytest.mark.parametrize("status", [408, 421, 425, 429, 503])
def test_what_the_server_says_it_did_not_process_is_tried_again(status: int) -> None:
    async def main() -> None:
        async with PracticeServer(respond=answer_with(None, Reply(status))) as server:
            log = Log()
            delivery = Delivery(
                numbers(3), options(f"{server.url}/api", 1), observers=[log], policy=IMPATIENT
            )
            result = await delivery.run()
            assert counts(result) == (3, 0, 0, 0)
            assert result.summary.statuses == {"201": 3, str(status): 1}
            assert log.told[1] == f"2 retried: status_{status}"
            assert (server.stats.connections, server.stats.requests) == (1, 4)

    run(main())


@pytest.mark.parametrize("status", [500, 502, 504, 520])
def test_what_may_have_been_processed_is_in_doubt_and_not_sent_again(status: int) -> None:
    async def main() -> None:
        async with PracticeServer(respond=answer_with(None, Reply(status))) as server:
            result = await deliver(numbers(3), options(f"{server.url}/api", 1))
            assert counts(result) == (2, 0, 1, 0)
            assert server.stats.requests == 3

    run(main())


def test_a_thousand_records_take_four_handshakes() -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []
        async with PracticeServer(on_request=seen.append) as server:
            result = await deliver(numbers(1000), options(f"{server.url}/api"))
            assert counts(result) == (1000, 0, 0, 0)
            assert (server.stats.connections, server.stats.requests) == (4, 1000)
        assert sorted(map(numbered, seen)) == list(range(1, 1001))
        carried = Counter(request.connection for request in seen)
        last = {request.connection: request.request_on_connection for request in seen}
        assert last == carried
        connections = result.summary.connections
        assert (connections.opened, connections.reused, connections.closed) == (4, 996, {"finished": 4})
        assert connections.handshakes_per_1000 == 4.0
        assert result.summary.attempts == 1000

    run(main())


def test_without_keep_alive_each_record_takes_a_handshake() -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []
        async with PracticeServer(on_request=seen.append) as server:
            limits = Limits(4, disable_keep_alives=True)
            result = await deliver(numbers(50), options(f"{server.url}/api", limits=limits))
            assert counts(result) == (50, 0, 0, 0)
            assert server.stats.connections == 50
        assert {request.request_on_connection for request in seen} == {1}
        assert not any(request.keep_alive for request in seen)
        assert result.summary.connections.closed == {"keepalive_off": 50}
        assert result.summary.connections.reused == 0

    run(main())


@pytest.mark.parametrize(
    ("reply", "closed"),
    [
        (Reply(201, body=b"ok", after=After.CLOSE), {"server_announced": 10}),
        (Reply(raw=b"HTTP/1.0 200 OK\r\n\r\nok", after=After.DROP), {"server_announced": 10}),
        (Reply(raw=b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), {"server_announced": 10}),
        (Reply(raw=b"HTTP/1.1 200 OK\r\n\r\nok", after=After.DROP), {"server_announced": 10}),
    ],
)
def test_a_server_that_closes_after_each_answer_gets_a_connection_for_each(
    reply: Reply, closed: dict[str, int]
) -> None:
    async def main() -> None:
        async with PracticeServer(respond=lambda request: reply) as server:
            log = Log()
            result = await deliver(numbers(10), options(f"{server.url}/api", 2), observers=[log])
            assert counts(result) == (10, 0, 0, 0)
            assert server.stats.connections == 10
            assert log.bodies == [b"ok"] * 10
            assert result.summary.connections.closed == closed

    run(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_an_answer_of_any_framing_leaves_the_connection_alive(raw: bytes) -> None:
    async def main() -> None:
        async with PracticeServer(respond=lambda request: Reply(raw=raw)) as server:
            log = Log()
            result = await deliver(numbers(10), options(f"{server.url}/api", 1), observers=[log])
            assert counts(result) == (10, 0, 0, 0)
            assert server.stats.connections == 1
            assert log.bodies == [b"ok"] * 10

    run(main())


@pytest.mark.parametrize(
    ("reply", "closed", "reason"),
    [
        (HANG_UP, "server_closed", "the server closed the connection"),
        (RESET, "reset", "connection reset by peer"),
        (Reply(raw=b"HTTP/1.1 20", after=After.DROP), "server_closed", "the server closed the connection"),
        (Reply(raw=b"SSH-2.0-x\r\n\r\n"), "protocol_error", None),
    ],
)
def test_a_record_without_an_answer_is_in_doubt_and_never_sent_again(
    reply: Reply, closed: str, reason: str | None
) -> None:
    async def main() -> None:
        seen: list[RequestSeen] = []

        def respond(request: RequestSeen) -> Reply | None:
            return reply if request.body == b"2" else None

        async with PracticeServer(on_request=seen.append, respond=respond) as server:
            log = Log()
            result = await deliver(numbers(5), options(f"{server.url}/api", 1), observers=[log])
            assert counts(result) == (4, 0, 1, 0)
            assert server.stats.connections == 2
        assert list(map(numbered, seen)) == [1, 2, 3, 4, 5]
        assert log.told[1].startswith("2 in_doubt: ")
        assert reason is None or log.told[1] == f"2 in_doubt: {reason}"
        assert result.summary.connections.closed == {closed: 1, "finished": 1}
        assert result.summary.retries == {}
        assert result.error is None

    run(main())


def test_an_answer_cut_off_after_its_status_still_delivers() -> None:
    async def main() -> None:
        half = Reply(raw=b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhal", after=After.DROP)
        async with PracticeServer(respond=answer_with(half)) as server:
            log = Log()
            result = await deliver(numbers(2), options(f"{server.url}/api", 1), observers=[log])
            assert counts(result) == (2, 0, 0, 0)
            assert log.told[0] == "1 delivered: status 201, answer cut off"
            assert log.bodies[0] == b"hal"

    run(main())


def test_a_record_whose_answer_takes_too_long_is_in_doubt() -> None:
    async def main() -> None:
        async with PracticeServer(respond=answer_with(SILENCE)) as server:
            log = Log()
            result = await deliver(
                numbers(2), options(f"{server.url}/api", 1, timeouts=Timeouts(max_time=0.05)), observers=[log]
            )
            assert counts(result) == (1, 0, 1, 0)
            assert log.told[0].startswith("1 in_doubt: no answer within 0.05")
            assert result.summary.connections.closed == {"timeout": 1, "finished": 1}

    run(main())


def test_what_the_server_provably_did_not_process_is_sent_again() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if number > 1:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await reader.readexactly(1) == b"1"
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            assert await reader.read() == b""
        assert b"\r\nExpect: 100-continue\r\n" in head

    async def main() -> None:
        async with ScriptedPeer(script) as peer:
            log = Log()
            result = await Delivery(
                numbers(1),
                options(peer.url, 1, request=RequestOptions(headers=("Expect: 100-continue",))),
                observers=[log],
                policy=IMPATIENT,
            ).run()
            assert counts(result) == (1, 0, 0, 0)
            assert result.summary.attempts == 2
            assert result.summary.retries == {"refused": 1}
            assert log.told == ["1 retried: refused", "1 delivered: status 201"]
            assert peer.connections == 2

    run(main())


def test_a_server_that_never_takes_a_body_is_given_up_and_uses_up_no_record() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def main() -> None:
        async with ScriptedPeer(script) as peer:
            result = await Delivery(
                numbers(1),
                options(peer.url, 1, request=RequestOptions(headers=("Expect: 100-continue",)), pace=BRIEF),
                policy=IMPATIENT,
            ).run()
            assert counts(result) == (0, 0, 0, 1)
            assert 4 <= result.summary.attempts == peer.connections <= 9
            assert isinstance(result.error, DestinationError)

    run(main())


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_server_that_is_down_is_never_reached() -> None:
    async def main() -> None:
        port = unused_port()
        delivery = Delivery(numbers(3), options(f"http://127.0.0.1:{port}/", pace=BRIEF), policy=IMPATIENT)
        result = await delivery.run()
        assert counts(result) == (0, 0, 0, 3)
        assert isinstance(result.error, DialError)
        assert str(result.error) == f"127.0.0.1:{port} refused the connection"
        assert (result.was_reached, result.was_stopped) == (False, False)
        assert list(result.summary.failed_dials) == [str(result.error)]
        assert 4 <= result.summary.failed_dials[str(result.error)] <= 10
        assert (result.summary.attempts, result.summary.bytes_sent) == (0, 0)

    run(main())


def test_a_server_that_dies_in_the_middle_ends_the_run() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stopping: list[asyncio.Task[None]] = []

        def respond(request: RequestSeen) -> Reply | None:
            if request.body == b"50":
                stopping.append(loop.create_task(server.stop()))
            return HANG_UP if stopping else None

        server = PracticeServer(respond=respond)
        async with server:
            result = await Delivery(
                numbers(200), options(f"{server.url}/api", pace=BRIEF), policy=IMPATIENT
            ).run()
            await stopping[0]
        delivered, rejected, in_doubt, unsent = counts(result)
        assert result.summary.records.read == 200
        assert 46 <= delivered <= 49
        assert (rejected, 1 <= in_doubt <= 4, unsent) == (0, True, 200 - delivered - in_doubt)
        assert isinstance(result.error, DestinationError)
        assert str(result.error).startswith("the server has taken nothing for 0.2 s: 127.0.0.1:")
        assert result.was_reached
        assert 4 <= sum(result.summary.failed_dials.values()) <= 14

    run(main())


@pytest.mark.parametrize("connections", [1, 64])
def test_a_server_that_talks_garbage_costs_few_records(connections: int) -> None:
    """Whatever was sent to it is in doubt, so the file must not be used up on it."""

    async def main() -> None:
        async with PracticeServer(respond=lambda request: Reply(raw=b"SSH-2.0-x\r\n\r\n")) as server:
            result = await Delivery(
                numbers(500), options(f"{server.url}/api", connections, pace=BRIEF), policy=IMPATIENT
            ).run()
        delivered, rejected, in_doubt, _ = counts(result)
        assert (delivered, rejected) == (0, 0)
        assert 4 <= in_doubt <= 10
        assert result.summary.connections.closed == {"protocol_error": in_doubt}
        assert isinstance(result.error, DestinationError)
        assert str(result.error).startswith("the server took nothing within 0.2 s")

    run(main())


@pytest.mark.parametrize("mine", [ZeroDivisionError("mine"), OutputError("mine")])
def test_an_unexpected_error_of_a_dial_comes_out_of_the_run(
    monkeypatch: pytest.MonkeyPatch, mine: Exception
) -> None:
    async def dial(self: Dialer) -> Dialed:
        raise mine

    monkeypatch.setattr(Dialer, "dial", dial)

    async def main() -> None:
        log = Log()
        coroutine = deliver(numbers(3), options("http://127.0.0.1:9/"), observers=[log])
        async with asyncio.timeout(10):
            if isinstance(mine, OutputError):
                assert (await coroutine).error is mine
            else:
                with pytest.raises(ZeroDivisionError, match="mine"):
                    await coroutine
        assert log.told == ["1 unsent", "2 unsent", "3 unsent"]

    run(main())


def test_a_name_that_does_not_exist_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[object] = []

    def getaddrinfo(host: object, *rest: object, **named: object) -> None:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main() -> None:
        result = await deliver(numbers(2), options("http://no.such.host.test/"))
        assert counts(result) == (0, 0, 0, 2)
        assert isinstance(result.error, PermanentDialError)
        assert str(result.error) == "there is no host named no.such.host.test"
        assert result.error.hint == "check the spelling of the URL"
        assert not result.was_reached

    run(main())
    assert looked_up == ["no.such.host.test"]


def test_a_name_that_cannot_be_looked_up_now_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    really_look_up = socket.getaddrinfo
    failures = iter([socket.EAI_AGAIN, socket.EAI_AGAIN])

    def getaddrinfo(host: object, port: Any, *rest: Any, **named: Any) -> object:
        error = next(failures, None)
        if error is not None:
            raise socket.gaierror(error, "Temporary failure in name resolution")
        return really_look_up("127.0.0.1", port, *rest, **named)

    async def main() -> None:
        async with PracticeServer() as server:
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            url = f"http://api.test:{server.port}/api"
            result = await Delivery(numbers(2), options(url, 1), policy=IMPATIENT).run()
            assert counts(result) == (2, 0, 0, 0)
            name = "the name api.test cannot be looked up at the moment"
            assert result.summary.failed_dials == {name: 2}

    run(main())


def test_a_certificate_nobody_trusts_ends_the_run_before_anything_is_sent(server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with PracticeServer(ssl_context=server_tls) as server:
            result = await deliver(numbers(2), options(f"{server.url}/api"))
            assert counts(result) == (0, 0, 0, 2)
            assert isinstance(result.error, PermanentDialError)
            assert str(result.error).startswith("the certificate of 127.0.0.1 cannot be trusted: ")
            assert "localhost" in str(result.error)
            assert "--cacert" in result.error.hint
            assert server.stats.requests == 0
            assert not result.was_reached

    run(main())


def test_records_go_over_tls(authority: Authority, server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with PracticeServer(ssl_context=server_tls) as server:
            trusting = TlsOptions(cacert=str(authority.ca_file))
            result = await deliver(numbers(100), options(f"{server.url}/api", 2, tls=trusting))
            assert counts(result) == (100, 0, 0, 0)
            assert (server.stats.connections, server.stats.handshakes) == (2, 2)
            connections = result.summary.connections
            assert connections.tls_full + connections.tls_resumed == 2

    run(main())


def raising(error: Exception, beginning: str) -> Callable[[str], None]:
    def on_call(words: str) -> None:
        if words.startswith(beginning):
            raise error

    return on_call


@pytest.mark.parametrize("beginning", ["1 delivered", "10 delivered", "11 rejected", "20 delivered"])
def test_receipts_that_cannot_be_written_end_the_run(beginning: str) -> None:
    async def main() -> None:
        source = ObjectSource([*range(1, 11), b"not JSON", *range(12, 21)])
        log = Log(raising(OutputError("the disk is full"), beginning))
        async with PracticeServer() as server:
            result = await deliver(source, options(f"{server.url}/api", 1), observers=[log])
            delivered, rejected, in_doubt, unsent = counts(result)
            number = int(beginning.split()[0])
            assert result.summary.records.read == 20
            assert (delivered, rejected, in_doubt) == (number - (number > 10), 1, 0)
            assert unsent == 20 - delivered - rejected
            assert server.stats.requests == delivered
            assert str(result.error) == "the disk is full"
            assert result.was_reached
            assert len({words.split()[0] for words in log.told}) == len(log.told) == 20

    run(main())


def test_any_other_error_of_an_observer_comes_out_of_the_run() -> None:
    async def main() -> None:
        log = Log(raising(ZeroDivisionError("mine"), "3 delivered"))
        progress = FakeProgress(None, lambda number: None)
        async with PracticeServer() as server:
            with pytest.raises(ZeroDivisionError, match="mine"):
                await deliver(
                    numbers(10), options(f"{server.url}/api", 1), observers=[log], progress=progress
                )
            assert server.stats.requests == 3
        assert log.told[3:] == [f"{number} unsent" for number in range(4, 11)]
        assert progress.calls == ["start", "stop"]

    run(main())


def test_what_came_before_damage_in_the_input_is_delivered(tmp_path: Path) -> None:
    lines = b"".join(b'{"n": %d}\n' % number for number in range(50_000))
    file = tmp_path / "users.ndjson.gz"
    file.write_bytes(gzip.compress(lines)[:8000])

    async def main() -> None:
        source = FileSource([str(file)], InputOptions())
        source.check()
        seen: list[RequestSeen] = []
        async with PracticeServer(on_request=seen.append) as server:
            result = await deliver(source, options(f"{server.url}/api"))
            delivered, *others = counts(result)
            assert delivered == server.stats.requests > 100
            assert others == [0, 0, 0]
        assert sorted(json.loads(request.body)["n"] for request in seen) == list(range(delivered))
        assert isinstance(result.error, InputError)
        assert "cut short" in str(result.error)
        assert result.was_reached

    run(main())


def test_what_the_source_raises_comes_out_after_what_came_before_it() -> None:
    def objects() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ZeroDivisionError("mine")

    async def main() -> None:
        async with PracticeServer() as server:
            # One record a batch: what the iterable gave before it broke has been handed over.
            source = ObjectSource(objects(), batch_records=1)
            with pytest.raises(ZeroDivisionError, match="mine"):
                await deliver(source, options(f"{server.url}/api"))
            assert server.stats.requests == 3

    run(main())


def test_nothing_to_send_opens_no_connection() -> None:
    async def main() -> None:
        async with PracticeServer() as server:
            result = await deliver(ObjectSource([]), options(f"{server.url}/api"))
            assert counts(result) == (0, 0, 0, 0)
            log = Log()
            source = ObjectSource([b"no", b"JSON"])
            result = await deliver(source, options(f"{server.url}/api"), observers=[log])
            assert counts(result) == (0, 2, 0, 0)
            assert [words.partition(":")[0] for words in log.told] == ["1 rejected", "2 rejected"]
            assert server.stats.connections == 0
            assert not result.was_reached

    run(main())


def test_a_record_that_comes_late_goes_over_the_idle_connection() -> None:
    answered = threading.Semaphore(0)

    def objects() -> Iterator[int]:
        for number in range(1, 4):
            yield number
            assert answered.acquire(timeout=30)

    async def main() -> None:
        log = Log(lambda words: answered.release())
        async with PracticeServer() as server:
            source = ObjectSource(objects(), batch_records=1)
            result = await deliver(source, options(f"{server.url}/api"), observers=[log])
            assert counts(result) == (3, 0, 0, 0)
            assert server.stats.connections == 1

    run(main())


def test_a_stop_lets_what_is_in_flight_finish() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def on_request(request: RequestSeen) -> None:
            if request.body == b"3":
                loop.call_soon(delivery.stop)

        async with PracticeServer(on_request=on_request) as server:
            delivery = Delivery(numbers(10), options(f"{server.url}/api", 1))
            result = await delivery.run()
            assert counts(result) == (3, 0, 0, 7)
            assert (result.was_stopped, result.error) == (True, None)
            assert server.stats.requests == 3
            delivery.stop()
            delivery.abort()

    run(main())


def test_an_abort_leaves_in_doubt_what_is_in_flight() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []

        def respond(request: RequestSeen) -> Reply:
            seen.append(numbered(request))
            if len(seen) == 4:
                loop.call_soon(delivery.abort)
            return SILENCE

        async with PracticeServer(respond=respond) as server:
            delivery = Delivery(numbers(10), options(f"{server.url}/api", 4))
            result = await delivery.run()
            assert counts(result) == (0, 0, 4, 6)
            assert (result.was_stopped, result.error) == (True, None)
            assert result.summary.connections.closed == {"stopped": 4}
        assert seen == [1, 2, 3, 4]

    run(main())


@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_stop_between_dials_ends_the_run_at_once(how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def stop_and_wait_long(low: float, high: float) -> float:
            loop.call_soon(getattr(delivery, how))
            return 3600.0

        delivery = Delivery(
            numbers(2),
            options(f"http://127.0.0.1:{unused_port()}/"),
            policy=RetryPolicy(uniform=stop_and_wait_long),
        )
        result = await delivery.run()
        assert counts(result) == (0, 0, 0, 2)
        assert (result.was_stopped, result.error, result.was_reached) == (True, None, False)

    run(main())


def test_a_dial_in_progress_is_cleaned_up_before_the_run_ends() -> None:
    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            # It never takes part in the TLS handshake.
            delivery.stop()
            await reader.read()

        async with ScriptedPeer(script) as peer:
            delivery = Delivery(numbers(2), options(f"https://{peer.host}:{peer.port}/"))
            result = await delivery.run()
            running = [str(task.get_coro()) for task in asyncio.all_tasks()]
            assert not any("Dialer.dial" in coroutine for coroutine in running)
        assert counts(result) == (0, 0, 0, 2)
        assert (result.was_stopped, result.was_reached) == (True, False)

    run(main())


def test_progress_is_shown_while_the_run_lasts() -> None:
    async def main() -> None:
        def on_tick(number: int) -> None:
            if number == 3:
                delivery.abort()

        progress = FakeProgress(0.001, on_tick)
        async with PracticeServer(respond=answer_with(None, None, SILENCE)) as server:
            delivery = Delivery(numbers(5), options(f"{server.url}/api", 1), progress=progress)
            result = await delivery.run()
        assert counts(result) == (2, 0, 1, 2)
        assert progress.calls == ["start", "stop"]
        assert len(progress.snapshots) == 3
        last = progress.snapshots[-1]
        assert (last.opened, last.fraction) == (1, None)
        assert last.seconds > 0

    run(main())


def test_the_fraction_read_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    file = tmp_path / "users.ndjson"
    file.write_bytes(b"1\n2\n")

    async def main() -> None:
        progress = FakeProgress(0.001, lambda number: delivery.abort())
        source = FileSource([str(file)], InputOptions())
        source.check()
        async with PracticeServer(respond=answer_with(SILENCE)) as server:
            delivery = Delivery(source, options(f"{server.url}/api", 1), progress=progress)
            await delivery.run()
        assert progress.snapshots[0].fraction in (0.0, 1.0)

    run(main())


@pytest.mark.parametrize("ending", ["answered", "unreachable", "cancelled"])
def test_progress_is_stopped_on_every_path(ending: str) -> None:
    async def main() -> None:
        progress = FakeProgress(None, lambda number: None)
        reply = SILENCE if ending == "cancelled" else None
        arrived = asyncio.Event()

        def respond(request: RequestSeen) -> Reply | None:
            arrived.set()
            return reply

        async with PracticeServer(respond=respond) as server:
            url = f"http://127.0.0.1:{unused_port()}/" if ending == "unreachable" else f"{server.url}/api"
            delivery = Delivery(numbers(1), options(url, 1, pace=BRIEF), progress=progress, policy=IMPATIENT)
            task = asyncio.create_task(delivery.run())
            if ending == "cancelled":
                await arrived.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task
        assert progress.calls == ["start", "stop"]
        assert progress.snapshots == []

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        {"request": RequestOptions(headers=("no colon",))},
        {"request": RequestOptions(method="a b")},
        {"tls": TlsOptions(cacert="/no/such/file")},
        {"route": RouteOptions(proxy="ftp://proxy.test")},
        {"route": RouteOptions(resolve=("nonsense",))},
    ],
)
def test_what_cannot_work_is_refused_before_the_source_is_touched(wrong: dict[str, Any]) -> None:
    def objects() -> Iterator[int]:
        raise AssertionError("it was read")
        yield 1

    with pytest.raises(ConfigurationError):
        Delivery(ObjectSource(objects()), options("https://api.test/", **wrong))


def test_the_answer_of_each_record_reaches_every_observer() -> None:
    async def main() -> None:
        first, second = Log(), Log()
        async with PracticeServer(respond=lambda request: json_reply(200, request.body)) as server:
            delivery = Delivery(numbers(5), options(f"{server.url}/api", 1), observers=[first])
            delivery.observe(second)
            await delivery.run()
        assert first.bodies == second.bodies == [b"1", b"2", b"3", b"4", b"5"]

    run(main())
