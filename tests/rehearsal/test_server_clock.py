"""What time it is at the practice server, and where it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from practice_talk import FakeTransport, Http2Caller, ManualLoop, run
from probing_peers import opener_to
from raw_client import RawClient

from livepost.config import RouteOptions
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import Fault, FaultKind, FromNow, TimeForm, fault_of_status
from livepost.rehearsal.http2_connection import Http2Connection
from livepost.rehearsal.limits import IdleEnding, ServerLimits
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.server import PracticeServer
from livepost.rehearsal.server_clock import ServerClock
from livepost.rehearsal.stats import Tally
from livepost.rehearsal.visit import Visit

Serve = Callable[[PracticeServer], RawClient]

MOMENT = 1_000_000_000.5
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"
POST = b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def clock(skew_seconds: float = 0.0) -> ServerClock:
    return ServerClock(skew_seconds, lambda: MOMENT)


@pytest.mark.parametrize(
    ("skew", "date"),
    [
        (0.0, DATE),
        (0.49, DATE),
        (0.5, "Sun, 09 Sep 2001 01:46:41 GMT"),
        (-60.0, "Sun, 09 Sep 2001 01:45:40 GMT"),
    ],
)
def test_the_date_is_that_of_a_clock_which_may_be_wrong(skew: float, date: str) -> None:
    assert clock(skew).date() == date.encode()
    assert clock(skew).now() == MOMENT + skew


def test_the_date_is_written_once_a_second() -> None:
    moments = iter([1.0, 1.999, 2.0])
    made = ServerClock(0.0, lambda: next(moments))
    first, second, third = made.date(), made.date(), made.date()
    assert first is second
    assert third == b"Thu, 01 Jan 1970 00:00:02 GMT"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST, 201),
        (b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"no request\r\n\r\n", 400),
    ],
)
def test_every_answer_has_it(serve: Serve, request_bytes: bytes, status: int) -> None:
    client = serve(PracticeServer(clock=clock()))
    client.send(request_bytes)
    answer = client.answer(to_head=request_bytes.startswith(b"HEAD"))
    assert (answer.status, answer.fields["date"]) == (status, DATE)


def test_the_answer_that_nobody_asked_for_has_it_too(serve: Serve) -> None:
    limits = ServerLimits(idle_timeout=0.05, idle_ending=IdleEnding.TIMEOUT_ANSWER)
    answer = serve(PracticeServer(clock=clock(), limits=limits)).answer()
    assert (answer.status, answer.fields["date"]) == (408, DATE)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.USUAL),
        Fault(FaultKind.LATE, delay_seconds=0),
        Fault(FaultKind.TRICKLE, interval_seconds=0),
        fault_of_status(503),
        Fault(FaultKind.STATUS, status=413, early=True),
    ],
    ids=lambda fault: fault.kind.name,
)
def test_answers_of_faults_have_it(serve: Serve, fault: Fault) -> None:
    client = serve(PracticeServer(clock=clock(), faults=FaultScript([fault])))
    client.send(POST)
    assert client.answer().fields["date"] == DATE


def test_of_an_answer_that_is_cut_so_has_the_part_that_is_sent(serve: Serve) -> None:
    client = serve(PracticeServer(clock=clock(), faults=FaultScript([Fault(FaultKind.CUT_BODY)])))
    client.send(POST)
    assert f"\r\nDate: {DATE}\r\n".encode() in client.rest()


@pytest.mark.parametrize("http2", [False, True])
def test_times_that_a_fault_tells_are_by_the_same_clock(http2: bool) -> None:
    """As those of a server whose clock is wrong would be."""
    fault = fault_of_status(503, (b"Retry-After", FromNow(TimeForm.HTTP_DATE, -60.0)))

    async def main() -> None:
        server = PracticeServer(clock=clock(60.0), faults=FaultScript([fault]), http2=http2)
        async with server:
            route = RouteOptions(proxy="", http2_prior_knowledge=http2)
            opener = opener_to(f"{server.url}/api", route=route)
            with await opener.open() as conversation:
                response = await conversation.ask(opener.head("GET"))
            assert (response.status, response.field(b"retry-after")) == (503, DATE.encode())
            assert response.field(b"date") == b"Sun, 09 Sep 2001 01:47:40 GMT"

    asyncio.run(main())


def test_over_http2_it_is_a_field_like_others() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally = Tally()
        replies = iter([None, Reply(headers=((b"DATE", b"mine"),))])
        api = PracticeApi(tally, respond=lambda _: next(replies))
        connection = Http2Connection(Visit(1, tally, clock()), api.answer, ServerLimits())
        transport = FakeTransport()
        connection.connection_made(transport)
        caller = Http2Caller()
        connection.data_received(caller.hello() + caller.request(b"{}") + caller.request(b"{}"))
        caller.receive(transport.take())
        assert [caller.fields[stream]["date"] for stream in (1, 3)] == [DATE, "mine"]

    run(steps)


def test_without_a_clock_there_is_no_date(serve: Serve) -> None:
    """RFC 9110 section 6.6.1."""
    client = serve(PracticeServer())
    client.send(POST)
    assert "date" not in client.answer().fields
