from __future__ import annotations

import asyncio

import pytest
from scripted_peer import ScriptedPeer
from server_process import unused_port
from whole_runs import counts, numbers, options, run

from livepost.deliver import Delivery
from livepost.delivery.retry import RetryPolicy
from livepost.rehearsal.reply import SILENCE, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


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
            seen.append(int(request.body))
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
