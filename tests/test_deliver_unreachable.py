"""Whole runs to servers that are not there, not yet, not any more, or not to be trusted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from server_process import unused_port
from whole_runs import BRIEF, IMPATIENT, counts, numbers, options, run

from livepost.deliver import Delivery, deliver
from livepost.errors import DestinationError, DialError, PermanentDialError
from livepost.rehearsal.reply import HANG_UP, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


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
