"""What a connection of the practice server writes and tells its transport, and when."""

from __future__ import annotations

from practice_talk import FIRST_ANSWER, FakeTransport, ManualLoop, run
from raw_client import get, post

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.connection import Connection
from livepost.rehearsal.fault_connection import FaultyConnection
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.stats import ServerStats, Tally
from livepost.rehearsal.visit import Visit


def opened(limits: ServerLimits) -> tuple[Connection, FakeTransport]:
    tally = Tally()
    connection, transport = Connection(Visit(1, tally), PracticeApi(tally).answer, limits), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


def test_idleness_begins_anew_with_every_byte() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport = opened(ServerLimits(idle_timeout=5))
        await loop.advance(4)
        connection.data_received(b"P")
        await loop.advance(4)
        connection.data_received(b"O")
        await loop.advance(4.9)
        assert transport.told == []
        await loop.advance(0.2)
        assert transport.told == ["close"]
        connection.connection_lost(None)

    run(steps)


def test_by_default_a_connection_may_be_idle_for_ever() -> None:
    async def steps(loop: ManualLoop) -> None:
        _, transport = opened(ServerLimits())
        await loop.advance(1e9)
        assert transport.told == []

    run(steps)


def test_a_client_that_reads_no_answers_may_send_no_requests() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport = opened(ServerLimits())
        connection.pause_writing()
        connection.resume_writing()
        assert transport.told == ["pause_reading", "resume_reading"]

    run(steps)


def test_a_connection_lingers_a_second_after_its_last_answer() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport = opened(ServerLimits(idle_timeout=0.5))
        connection.pause_writing()
        connection.data_received(b"nonsense\r\n\r\n")
        connection.pause_writing()
        assert transport.written.startswith(b"HTTP/1.1 400 ")
        written = transport.written
        connection.data_received(post())
        await loop.advance(0.9)
        assert transport.told == ["pause_reading", "resume_reading", "write_eof"]
        await loop.advance(0.2)
        assert transport.told[3:] == ["close"]
        assert transport.written == written
        connection.connection_lost(None)

    run(steps)


def test_a_connection_given_up_before_it_was_open_never_opens() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally, transport = Tally(), FakeTransport()
        connection = Connection(Visit(1, tally), PracticeApi(tally).answer, ServerLimits())
        connection.give_up()
        connection.connection_made(transport)
        assert transport.told == ["abort"]
        connection.data_received(post())
        connection.connection_lost(None)
        assert transport.written == b""
        assert tally.stats() == ServerStats(connections=1, requests=0, handshakes=0, open=0)

    run(steps)


def test_each_answer_is_one_write() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally, transport = Tally(), FakeTransport()
        connection = Connection(Visit(1, tally), PracticeApi(tally).answer, ServerLimits())
        connection.connection_made(transport)
        connection.data_received(post() + post() + get("/x"))
        assert len(transport.writes) == 3

    run(steps)


def opened_to_fail(*faults: Fault | None) -> tuple[FaultyConnection, FakeTransport, Tally, Ledger]:
    tally = Tally()
    ledger = Ledger()
    api = PracticeApi(tally, ledger=ledger)
    conduct = Conduct(
        api, Processor(api), FaultScript(faults), ledger, iter(range(1, 100)), lambda fault: None
    )
    connection, transport = FaultyConnection(Visit(1, tally), conduct, ServerLimits()), FakeTransport()
    connection.connection_made(transport)
    return connection, transport, tally, ledger


def test_nothing_is_read_while_an_answer_is_held_back() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _, ledger = opened_to_fail(Fault(FaultKind.LATE, delay_seconds=5))
        connection.data_received(post())
        assert ledger.counts.processed == 1  # at once
        await loop.advance(4.9)
        connection.pause_writing()
        connection.resume_writing()
        assert (transport.told, transport.writes) == (["pause_reading", "pause_reading"], [])
        connection.data_received(post())
        assert transport.writes == []
        await loop.advance(0.2)
        assert transport.told[2:] == ["resume_reading"]
        assert len(transport.writes) == 2

    run(steps)


def test_a_trickling_answer_is_one_byte_a_write_at_its_interval() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _, _ = opened_to_fail(Fault(FaultKind.TRICKLE, interval_seconds=0.5))
        connection.data_received(post())
        for written in range(1, 20):
            assert len(transport.writes) == written
            await loop.advance(0.5)
        while len(transport.writes) < len(FIRST_ANSWER):
            await loop.advance(0.5)
        await loop.advance(10)
        assert transport.writes == [bytes((byte,)) for byte in FIRST_ANSWER]
        assert transport.told[-1] == "resume_reading"

    run(steps)


def test_a_connection_that_was_lost_is_not_answered_any_more() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally, _ = opened_to_fail(Fault(FaultKind.LATE, delay_seconds=5))
        connection.data_received(post())
        connection.connection_lost(None)
        await loop.advance(6)
        assert (transport.writes, tally.stats()) == ([], ServerStats(1, 1, 0, 0))

    run(steps)
