"""Each fault as it is over HTTP/2, and as the server accounts for it."""

from __future__ import annotations

import itertools

import pytest
from practice_talk import FakeTransport, Http2Caller, ManualLoop, run

from livepost.errors import ConfigurationError
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.fault_http2 import FaultyHttp2Connection
from livepost.rehearsal.fault_over_http2 import OVER_HTTP2, check_over_http2
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.fault_reply import GARBAGE
from livepost.rehearsal.faults import TRAITS, Fault, FaultKind
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.ledger import Counts, Ledger
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.record_log import Entry
from livepost.rehearsal.reply import After
from livepost.rehearsal.stats import Tally
from livepost.rehearsal.visit import Visit
from livepost.wire.frames import ErrorCode

FIN = ["resume_reading", "write_eof"]


class Talk:
    """A misbehaving connection, and its client."""

    def __init__(self, *faults: Fault | None, latency: Latency | None = None) -> None:
        self.tally = Tally()
        self.log: list[Entry] = []
        self.ledger = Ledger(self.log.append)
        self.outages: list[Fault] = []
        api = PracticeApi(self.tally, ledger=self.ledger)
        conduct = Conduct(
            api, Processor(api), FaultScript(faults), self.ledger, itertools.count(1), self.outages.append
        )
        self.transport = FakeTransport()
        self.caller = Http2Caller()
        limits = ServerLimits(max_body_bytes=100)
        self.connection = FaultyHttp2Connection(Visit(1, self.tally), conduct, limits, latency)
        self.connection.connection_made(self.transport)
        self.send(self.caller.hello())

    def send(self, *data: bytes) -> Http2Caller:
        self.connection.data_received(b"".join(data))
        return self.caller.receive(self.transport.take())

    def post(self, count: int = 1) -> Http2Caller:
        return self.send(*[self.caller.request(b'{"id": %d}' % n) for n in range(1, count + 1)])

    @property
    def entries(self) -> list[tuple[object, bool, str | None, int | None]]:
        return [(line.record, line.processed, line.fault, line.status) for line in self.log]


def test_every_kind_but_one_has_a_form() -> None:
    assert TRAITS.keys() - OVER_HTTP2.keys() == {FaultKind.CUT_HEAD}
    with pytest.raises(ConfigurationError) as caught:
        check_over_http2(Fault(FaultKind.CUT_HEAD))
    assert str(caught.value) == "cut-head cannot happen over HTTP/2, where a head is a whole frame"
    assert caught.value.hint
    check_over_http2(Fault(FaultKind.CUT_BODY))


@pytest.mark.parametrize(
    ("kind", "code", "is_read"),
    [
        (FaultKind.RESET_BEFORE_READING, ErrorCode.REFUSED_STREAM, False),
        (FaultKind.RESET_AFTER_READING, ErrorCode.INTERNAL_ERROR, True),
        (FaultKind.RESET_AFTER_PROCESSING, ErrorCode.INTERNAL_ERROR, True),
    ],
)
def test_a_reset_is_that_of_the_stream(kind: FaultKind, code: ErrorCode, is_read: bool) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(None, Fault(kind), None)
        heard = talk.post(3)
        assert (heard.ended, heard.resets) == ([1, 5], {3: code})
        assert (talk.transport.told, heard.goaways) == ([], [])
        processed = TRAITS[kind].processed
        assert (2 if is_read else None, processed, kind.value, None) in talk.entries
        assert talk.ledger.counts == Counts(2 + processed, 0, 0, {kind.value: 1})

    run(steps)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.CLOSE_BEFORE_READING, FaultKind.CLOSE_AFTER_READING, FaultKind.CLOSE_AFTER_PROCESSING],
)
def test_a_close_takes_everything_with_it_and_says_nothing(kind: FaultKind) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.LATE, delay_seconds=1), Fault(kind), None)
        heard = talk.post(3)
        await loop.advance(2)
        assert (heard.ended, heard.resets, heard.goaways, talk.transport.told[:2]) == ([], {}, [], FIN)
        assert talk.transport.written == b""
        assert talk.ledger.counts.processed == 1 + TRAITS[kind].processed

    run(steps)


@pytest.mark.parametrize(
    ("fault", "goaways", "told"),
    [
        (Fault(FaultKind.STATUS, status=503), [], []),
        (Fault(FaultKind.STATUS, status=503, then=After.CLOSE), [(1, 0)], FIN),
        (Fault(FaultKind.STATUS, status=503, then=After.DROP), [], FIN),
        (Fault(FaultKind.STATUS, status=503, then=After.RESET), [], ["abort"]),
        (Fault(FaultKind.ANNOUNCE_CLOSE), [(1, 0)], FIN),
        (Fault(FaultKind.CLOSE_AFTER_ANSWER), [], FIN),
        (Fault(FaultKind.RESET_AFTER_ANSWER), [], ["abort"]),
        (Fault(FaultKind.USUAL), [], []),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_what_comes_after_an_answer_is_the_connections(
    fault: Fault, goaways: list[tuple[int, int]], told: list[str]
) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(fault)
        heard = talk.post()
        assert (heard.statuses, heard.ended) == ({1: [fault.status or 201]}, [1])
        assert (heard.goaways, talk.transport.told) == (goaways, told)
        assert talk.entries == [(1, fault.is_processed, fault.name, fault.status or 201)]

    run(steps)


def test_fields_are_added() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.STATUS, status=429, fields=((b"Retry-After", b"2"),)))
        assert talk.post().fields[1]["retry-after"] == "2"

    run(steps)


def test_an_early_answer_ends_its_stream_and_not_the_connection() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.STATUS, status=413, early=True))
        heard = talk.send(talk.caller.request(b"1", whole=False))
        assert (heard.statuses, heard.resets) == ({1: [413]}, {1: ErrorCode.NO_ERROR})
        assert (heard.goaways, talk.transport.told) == ([], [])
        assert talk.post().statuses[3] == [201]
        assert talk.entries == [(None, False, "413", 413), (1, True, None, 201)]

    run(steps)


def test_an_early_answer_to_a_request_that_is_whole_resets_nothing() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.STATUS, status=413, early=True))
        heard = talk.post()
        assert (heard.statuses, heard.resets, heard.ended) == ({1: [413]}, {}, [1])
        assert talk.entries == [(None, False, "413", 413)]

    run(steps)


def test_an_early_answer_that_is_late_still_comes_before_the_end_of_a_whole_request() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.STATUS, status=413, early=True, delay_seconds=1))
        assert talk.post().statuses == {}
        await loop.advance(1)
        heard = talk.caller.receive(talk.transport.take())
        assert (heard.statuses, heard.resets) == ({1: [413]}, {})
        assert talk.tally.requests == 0

    run(steps)


def test_late_and_never_hold_up_nobody_else() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.LATE, delay_seconds=1), Fault(FaultKind.NEVER), None)
        assert talk.post(3).ended == [5]
        await loop.advance(1)
        assert talk.caller.receive(talk.transport.take()).ended == [5, 1]
        await loop.advance(1000)
        assert talk.transport.written == b""
        assert talk.ledger.counts.processed == 3

    run(steps)


def test_a_fault_is_as_late_as_it_says_and_as_every_answer() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.LATE, delay_seconds=1), None, latency=Latency(0.5))
        talk.post(2)
        await loop.advance(0.5)
        assert talk.caller.receive(talk.transport.take()).ended == [3]
        await loop.advance(1)
        assert talk.caller.receive(talk.transport.take()).ended == [3, 1]

    run(steps)


def test_a_trickling_answer_is_a_byte_a_frame_and_waits_for_room() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.TRICKLE, interval_seconds=0.5))
        talk.post()
        for frames in range(1, 54):
            assert (talk.caller.data_frames, talk.caller.ended) == (frames, [])
            await loop.advance(0.5)
            talk.caller.receive(talk.transport.take())
        assert (len(talk.caller.bodies[1]), talk.caller.ended) == (54, [1])

    run(steps)


def test_a_trickling_answer_waits_for_its_window() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.TRICKLE, interval_seconds=0))
        talk.send(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x04\x00\x00\x00\x03")
        talk.post()
        for _ in range(20):
            await loop.advance(0.1)
        assert talk.caller.receive(talk.transport.take()).data_frames == 3
        assert talk.caller.ended == []

    run(steps)


@pytest.mark.parametrize(
    ("fault", "kept", "told"),
    [
        (Fault(FaultKind.CUT_BODY), 27, FIN),
        (Fault(FaultKind.CUT_BODY, cut_bytes=0), 0, FIN),
        (Fault(FaultKind.CUT_BODY, cut_bytes=1000, then=After.RESET), 53, ["abort"]),
        (Fault(FaultKind.CUT_BODY, then=After.KEEP), 27, []),
    ],
)
def test_a_body_is_cut(fault: Fault, kept: int, told: list[str]) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(fault)
        heard = talk.post()
        assert (heard.statuses, len(heard.bodies.get(1, b"")), heard.ended) == ({1: [201]}, kept, [])
        assert (talk.transport.told, heard.goaways) == (told, [])

    run(steps)


def test_garbage_is_no_frame() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.GARBAGE))
        talk.connection.data_received(talk.caller.request())
        assert talk.transport.take() == GARBAGE
        assert talk.transport.told == FIN

    run(steps)


def test_outages_are_begun_by_a_request() -> None:
    async def steps(loop: ManualLoop) -> None:
        refuse, outage = Fault(FaultKind.REFUSE, lasts_seconds=1), Fault(FaultKind.OUTAGE)
        talk = Talk(refuse, outage)
        heard = talk.post(2)
        assert (talk.outages, heard.ended) == ([refuse, outage], [1])
        assert talk.entries == [(1, True, None, 201), (None, False, "outage", None)]

    run(steps)


def test_a_body_that_is_too_large_is_in_the_log() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk()
        talk.send(talk.caller.request(b"1" * 101))
        assert talk.entries == [(None, False, None, 413)]

    run(steps)


def test_looking_at_the_counts_is_neither_failed_nor_noted() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(Fault(FaultKind.NEVER))
        heard = talk.send(talk.caller.request(b"", method="GET", path="/stats"))
        assert (heard.statuses, talk.entries, talk.tally.connections) == ({1: [200]}, [], 0)

    run(steps)
