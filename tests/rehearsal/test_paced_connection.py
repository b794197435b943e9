from __future__ import annotations

import pytest
from practice_talk import FakeTransport, ManualLoop, run
from raw_client import get, post

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.fault_connection import FaultyConnection
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.paced_connection import PacedConnection
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.stats import Tally
from livepost.rehearsal.visit import Visit

NO_LIMITS = ServerLimits()


def opened(
    latency: Latency, limits: ServerLimits = NO_LIMITS
) -> tuple[PacedConnection, FakeTransport, Tally]:
    tally, transport = Tally(), FakeTransport()
    connection = PacedConnection(Visit(1, tally), PracticeApi(tally).answer, limits, latency)
    connection.connection_made(transport)
    return connection, transport, tally


def test_an_answer_takes_its_time_and_the_record_is_taken_at_once() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(Latency(0.5))
        connection.data_received(post())
        assert (tally.requests, transport.written, transport.told) == (1, b"", ["pause_reading"])
        await loop.advance(0.4)
        assert transport.written == b""
        await loop.advance(0.1)
        assert transport.take().startswith(b"HTTP/1.1 201 ")
        assert transport.told == ["pause_reading", "resume_reading"]

    run(steps)


def test_pipelined_requests_wait_for_each_other() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _ = opened(Latency(0.5))
        connection.data_received(post() * 3)
        written = []
        for _ in range(3):
            await loop.advance(0.5)
            written.append(transport.take().count(b"HTTP/1.1 201 "))
        assert written == [1, 1, 1]

    run(steps)


def test_looking_at_the_counts_does_not_wait() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(Latency(0.5))
        connection.data_received(get("/stats"))
        assert transport.take().startswith(b"HTTP/1.1 200 ")
        assert tally.connections == 0
        connection.data_received(post())
        assert tally.connections == 1

    run(steps)


def test_a_connection_is_not_idle_while_an_answer_is_due() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _ = opened(Latency(20), ServerLimits(idle_timeout=5))
        connection.data_received(post())
        for _ in range(19):
            await loop.advance(1)
        assert "close" not in transport.told
        await loop.advance(1)
        assert transport.take().startswith(b"HTTP/1.1 201 ")
        await loop.advance(4.9)
        assert "close" not in transport.told
        await loop.advance(5)
        assert transport.told[-1] == "close"
        connection.connection_lost(None)

    run(steps)


@pytest.mark.parametrize("announces", [True, False])
def test_a_connection_that_grows_too_old_meanwhile_ends_after_its_answer(announces: bool) -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(Latency(20), ServerLimits(max_age=5, announces=announces))
        connection.data_received(post())
        await loop.advance(6)
        assert transport.told == ["pause_reading"]
        await loop.advance(14)
        assert (b"Connection: close" in transport.take()) is announces
        assert transport.told[-1] == ("write_eof" if announces else "close")
        assert tally.stats().age_ends == 1
        connection.connection_lost(None)

    run(steps)


def test_a_lost_connection_is_not_answered_any_more() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(Latency(0.5))
        connection.data_received(post())
        connection.connection_lost(None)
        await loop.advance(1)
        assert (transport.written, tally.open) == (b"", 0)

    run(steps)


def test_a_fault_has_its_own_delay_besides() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally, ledger, transport = Tally(), Ledger(), FakeTransport()
        api = PracticeApi(tally, ledger=ledger)
        faults = FaultScript([Fault(FaultKind.LATE, delay_seconds=2), None])
        conduct = Conduct(api, Processor(api), faults, ledger, iter(range(1, 9)), lambda fault: None)
        connection = FaultyConnection(Visit(1, tally), conduct, ServerLimits(), Latency(0.5))
        connection.connection_made(transport)
        connection.data_received(post() * 2)
        await loop.advance(2.4)
        assert (transport.take(), ledger.counts.processed) == (b"", 1)
        await loop.advance(0.1)
        assert transport.take().count(b"HTTP/1.1 201 ") == 1
        await loop.advance(0.4)
        assert transport.take() == b""
        await loop.advance(0.1)
        assert transport.take().count(b"HTTP/1.1 201 ") == 1

    run(steps)
