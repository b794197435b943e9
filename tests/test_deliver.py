"""Whole runs in one process: what becomes of records that are answered, over how many connections."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import Authority
from whole_runs import IMPATIENT, Log, answer_with, counts, numbers, options, run

from livepost.config import Limits, RequestOptions, RouteOptions, TlsOptions
from livepost.deliver import Delivery, deliver
from livepost.errors import ConfigurationError
from livepost.records.source import ObjectSource
from livepost.rehearsal.reply import After, Reply, json_reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


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
        assert sorted(int(request.body) for request in seen) == list(range(1, 1001))
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


def test_the_answer_of_each_record_reaches_every_observer() -> None:
    async def main() -> None:
        first, second = Log(), Log()
        async with PracticeServer(respond=lambda request: json_reply(200, request.body)) as server:
            delivery = Delivery(numbers(5), options(f"{server.url}/api", 1), observers=[first])
            delivery.observe(second)
            await delivery.run()
        assert first.bodies == second.bodies == [b"1", b"2", b"3", b"4", b"5"]

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
