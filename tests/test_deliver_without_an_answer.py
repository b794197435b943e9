"""Whole runs in which a server takes records, or may have, and gives no whole answer."""

from __future__ import annotations

import asyncio

import pytest
from scripted_peer import ScriptedPeer
from whole_runs import BRIEF, IMPATIENT, Log, answer_with, counts, numbers, options, run

from livepost.config import RequestOptions, Timeouts
from livepost.deliver import Delivery, deliver
from livepost.errors import DestinationError
from livepost.rehearsal.reply import HANG_UP, RESET, SILENCE, After, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


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
        assert [int(request.body) for request in seen] == [1, 2, 3, 4, 5]
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
