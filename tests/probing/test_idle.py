from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import pytest
from net_fakes import ManualTime
from probing_peers import http1, http2, opener_to, until
from scripted_peer import Script, ScriptedPeer, read_request

from livepost.config import RouteOptions, Timeouts
from livepost.net import dial
from livepost.probing.findings import Ending, IdleConnection, IdleLimit
from livepost.probing.idle import IdleMeasure, conclude
from livepost.probing.opening import Opener
from livepost.probing.recommend import measured_idle_limit_seconds
from livepost.rehearsal.limits import IdleEnding, ServerLimits
from livepost.rehearsal.server import PracticeServer

FIN, RESET, ANNOUNCED, REUSED, DROPPED, OPEN = (
    *(Ending.FIN, Ending.RESET, Ending.ANNOUNCED),
    *(Ending.REUSED, Ending.DROPPED, Ending.OPEN),
)


@pytest.mark.parametrize(
    ("seen", "limit", "survived", "dropped"),
    [
        ([], None, None, None),
        ([(5.0, FIN), (5.1, FIN), (5.2, FIN)], 5.0, None, None),
        ([(5.0, RESET)], 5.0, None, None),
        ([(60.0, REUSED), (75.0, ANNOUNCED), (75.1, FIN)], 75.0, 60.0, None),
        ([(60.0, REUSED), (120.0, REUSED), (130.0, REUSED)], None, 130.0, None),
        ([(60.0, REUSED), (120.0, DROPPED), (130.0, DROPPED)], None, 60.0, 120.0),
        # A connection that another's limit has met is no drop.
        ([(75.0, FIN), (120.0, DROPPED)], 75.0, None, None),
        # Another backend, with another limit.
        ([(60.0, FIN), (75.0, REUSED), (120.0, FIN)], 60.0, None, None),
        ([(60.0, DROPPED), (65.0, REUSED), (75.0, FIN)], 75.0, None, 60.0),
        ([(12.0, OPEN), (12.0, OPEN)], None, None, None),
    ],
)
def test_what_connections_say_together(
    seen: list[tuple[float, Ending]], limit: float | None, survived: float | None, dropped: float | None
) -> None:
    connections = tuple(IdleConnection(*one) for one in seen)
    assert conclude(connections) == IdleLimit(limit, survived, dropped, connections)


def measured(
    script: Script,
    max_wait: float,
    pauses: Sequence[float] = (),
    *,
    route: RouteOptions | None = None,
    max_time: float = 5.0,
) -> tuple[IdleLimit, list[str]]:
    async def main() -> tuple[IdleLimit, list[str]]:
        async with ScriptedPeer(script) as peer:
            opener = opener_to(peer.url, route=route, timeouts=Timeouts(max_time=max_time))
            measure = IdleMeasure(opener, opener.head("HEAD"), max_wait, pauses=pauses)
            await measure.run()
            assert measure.limit_seconds == measure.found().limit_seconds
            return measure.found(), measure.troubles

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "route", "ending"),
    [
        (http1(idle=0.3), None, FIN),
        (http2(idle=0.3), RouteOptions(proxy="", http2_prior_knowledge=True), ANNOUNCED),
    ],
)
def test_the_limit_is_when_the_server_ends_three_connections_at_a_time(
    script: Script, route: RouteOptions | None, ending: Ending
) -> None:
    idle, troubles = measured(script, 10.0, route=route)
    assert troubles == []
    assert idle.limit_seconds == pytest.approx(0.3, abs=0.1)
    assert [one.ending for one in idle.connections] == [ending] * 3
    assert (idle.survived_seconds, idle.dropped_within_seconds) == (None, None)


def test_a_pause_below_the_limit_is_survived() -> None:
    idle, _ = measured(http1(idle=0.4), 10.0, [0.1, 5.0])
    assert idle.survived_seconds == pytest.approx(0.1, abs=0.05)
    assert idle.limit_seconds == pytest.approx(0.4, abs=0.1)
    assert [one.ending for one in idle.connections] == [REUSED, FIN, FIN, FIN, FIN]


def test_what_the_server_does_not_end_is_used_again_after_the_longest_wait() -> None:
    idle, _ = measured(http1(), 0.2)
    assert idle.limit_seconds is None
    assert idle.survived_seconds == pytest.approx(0.2, abs=0.1)


def test_a_connection_that_was_forgotten_without_a_word_is_found_by_using_it() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        while True:
            await read_request(reader)
            if loop.time() - idle_since < 0.2:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            idle_since = loop.time()

    idle, _ = measured(script, 0.4, [0.1, 0.3], max_time=0.2)
    assert idle.limit_seconds is None
    assert idle.survived_seconds == pytest.approx(0.1, abs=0.05)
    assert idle.dropped_within_seconds == pytest.approx(0.3, abs=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
@pytest.mark.parametrize(
    ("pauses", "survived", "dropped"),
    [([0.3, 1.2], 0.3, 1.2), ([0.3], 0.3, 2.0), ([], None, 2.0)],
)
def test_that_our_own_keep_alives_find_it_forgotten_says_nothing_of_when(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], survived: float | None, dropped: float
) -> None:
    """It was forgotten after 0.6 s, and TCP gives up at 2 s, with ETIMEDOUT: no limit of the server's."""
    for name in ("_KEEPALIVE_IDLE_SECONDS", "_KEEPALIVE_INTERVAL_SECONDS", "_KEEPALIVE_PROBES"):
        monkeypatch.setattr(dial, name, 1)
    monkeypatch.setattr(dial, "_USER_TIMEOUT_MILLISECONDS", 1_000)

    async def main() -> IdleLimit:
        limits = ServerLimits(idle_timeout=0.6, idle_ending=IdleEnding.VANISH)
        async with PracticeServer(limits=limits) as server:
            opener = opener_to(f"{server.url}/api")
            measure = IdleMeasure(opener, opener.head("HEAD"), 9.0, pauses=pauses)
            await measure.run()
            assert measure.troubles == []
            return measure.found()

    idle = asyncio.run(main())
    assert {one.ending for one in idle.connections[len(pauses) :]} == {DROPPED}
    assert idle.limit_seconds is None
    assert idle.survived_seconds == (survived and pytest.approx(survived, abs=0.1))
    assert idle.dropped_within_seconds == pytest.approx(dropped, abs=0.3)
    sure = idle.dropped_within_seconds if survived is None else idle.survived_seconds
    assert measured_idle_limit_seconds(idle) == sure


def test_connections_that_cannot_be_made_are_told_and_spoil_nothing_else() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number > 1:
            await http1(idle=0.1)(reader, writer, number)

    idle, troubles = measured(script, 5.0)
    assert idle.limit_seconds == pytest.approx(0.1, abs=0.1)
    assert len(idle.connections) == 2
    assert len(troubles) == 1
    assert troubles[0].startswith("idle limit: the server ")


def test_what_is_known_when_it_is_stopped_is_how_long_they_were_open() -> None:
    time = ManualTime()

    async def main() -> None:
        async with ScriptedPeer(http1()) as peer:
            opener = Opener(opener_to(peer.url).options, opener_to(peer.url).samples, time)
            measure = IdleMeasure(opener, opener.head("HEAD"), 130.0, pauses=(60.0,))
            assert measure.status() == "connecting"
            task = asyncio.create_task(measure.run())
            await until(lambda: len(measure.found().connections) == 4)
            time.now += 42
            assert measure.status() == "4 connections open after 42 s of 2 min 10 s"
            task.cancel()
            await asyncio.wait([task])
            assert measure.found() == IdleLimit(None, None, None, (IdleConnection(42.0, OPEN),) * 4)

    asyncio.run(main())
