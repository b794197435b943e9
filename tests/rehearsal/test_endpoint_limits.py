"""How connections end that reached a limit, by a manual clock and over real sockets."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

import pytest
from practice_stats import stats
from practice_talk import FakeTransport, ManualLoop, run
from raw_client import RawClient, get, post

from livepost.rehearsal import endpoint as endpoint_module
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.connection import Connection
from livepost.rehearsal.endpoint import FORGOTTEN_CHECK_SECONDS, FORGOTTEN_SECONDS
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.limits import Hint, IdleEnding, ServerLimits
from livepost.rehearsal.profiles import PROFILES
from livepost.rehearsal.server import PracticeServer
from livepost.rehearsal.stats import EndReason, Tally
from livepost.rehearsal.visit import Visit

Serve = Callable[[PracticeServer], RawClient]

pytestmark = pytest.mark.usefixtures("each_loop")


def opened(limits: ServerLimits) -> tuple[Connection, FakeTransport, Tally]:
    tally, transport = Tally(), FakeTransport()
    connection = Connection(Visit(1, tally), PracticeApi(tally).answer, limits)
    connection.connection_made(transport)
    return connection, transport, tally


def ended(tally: Tally) -> dict[EndReason, int]:
    return {reason: count for reason, count in tally.ended.items() if count}


@pytest.mark.parametrize(
    ("ending", "written", "told"),
    [
        (IdleEnding.CLOSE, b"", ["close"]),
        (IdleEnding.TIMEOUT_ANSWER, b"HTTP/1.1 408 Request Timeout\r\n", ["resume_reading", "write_eof"]),
        (IdleEnding.RESET, b"", ["abort"]),
        (IdleEnding.FORGET, b"", []),
        (IdleEnding.VANISH, b"", []),
    ],
)
def test_an_idle_connection_is_ended_as_it_is_wanted(
    ending: IdleEnding, written: bytes, told: list[str]
) -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(ServerLimits(idle_timeout=5, idle_ending=ending))
        await loop.advance(3)
        connection.data_received(post())
        transport.take()
        await loop.advance(4.9)
        assert (transport.told, ended(tally)) == ([], {})
        await loop.advance(0.2)
        assert transport.take().startswith(written)
        assert (transport.told, ended(tally)) == (told, {EndReason.IDLE: 1})
        connection.connection_lost(None)

    run(steps)


def test_a_forgotten_connection_is_reset_when_a_packet_was_dropped() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _ = opened(ServerLimits(idle_timeout=5, idle_ending=IdleEnding.FORGET))
        await loop.advance(5)
        for _ in range(100):
            await loop.advance(FORGOTTEN_CHECK_SECONDS)
        assert transport.told == []
        transport.socket.dropped += 1
        await loop.advance(FORGOTTEN_CHECK_SECONDS)
        assert transport.told == ["abort"]
        assert socket.SO_LINGER in transport.socket.options
        connection.connection_lost(None)

    run(steps)


def test_a_forgotten_connection_that_cannot_be_deaf_is_reset_by_what_it_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint_module, "drop_incoming", lambda sock: False)

    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(ServerLimits(idle_timeout=5, idle_ending=IdleEnding.FORGET))
        await loop.advance(5)
        assert transport.told == []
        connection.data_received(post())
        assert (transport.told, transport.written, tally.requests) == (["abort"], b"", 0)
        connection.connection_lost(None)

    run(steps)


@pytest.mark.parametrize("ending", [IdleEnding.FORGET, IdleEnding.VANISH])
def test_what_nobody_ends_is_dropped_when_a_clients_kernel_has_given_up(ending: IdleEnding) -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, _ = opened(ServerLimits(idle_timeout=5, idle_ending=ending))
        await loop.advance(5)
        await loop.advance(FORGOTTEN_SECONDS - 1)
        connection.pause_writing()
        assert transport.told == []
        await loop.advance(1)
        assert transport.told == ["abort"]
        connection.connection_lost(None)

    run(steps)


def test_the_unannounced_end_of_age_comes_at_its_moment() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(ServerLimits(max_age=60, announces=False))
        await loop.advance(59)
        connection.data_received(post())
        assert b"Connection" not in transport.take()
        await loop.advance(0.9)
        assert transport.told == []
        await loop.advance(0.1)
        assert (transport.told, ended(tally)) == (["close"], {EndReason.AGE: 1})
        connection.connection_lost(None)

    run(steps)


def test_the_announced_end_of_age_waits_for_the_next_answer() -> None:
    async def steps(loop: ManualLoop) -> None:
        connection, transport, tally = opened(ServerLimits(max_age=60))
        await loop.advance(59)
        connection.data_received(post())
        assert b"Connection" not in transport.take()
        await loop.advance(100)
        assert (transport.told, ended(tally)) == ([], {})
        connection.data_received(post())
        assert b"Connection: close\r\n" in transport.take()
        assert (transport.told, ended(tally)) == (["resume_reading", "write_eof"], {EndReason.AGE: 1})
        connection.connection_lost(None)

    run(steps)


def test_the_last_answer_is_announced(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(max_requests=3))
    client = serve(server)
    client.send(post() * 5)
    announced = [client.answer().fields.get("connection") for _ in range(3)]
    assert announced == [None, None, "close"]
    assert client.ending() == "closed"
    assert server.stats.requests == 3
    with RawClient.dial(server.port) as onlooker:
        assert onlooker.ask(get("/stats")).json == stats(1, 3, cap=1)


def test_the_last_answer_may_not_be_announced(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(max_requests=2, announces=False))
    client = serve(server)
    assert [client.ask(post()).fields.get("connection") for _ in range(2)] == [None, None]
    assert client.ending() == "closed"
    assert server.stats.cap_ends == 1


def test_a_client_that_closes_itself_was_not_ended_by_the_cap(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(max_requests=1))
    client = serve(server)
    assert client.ask(post(b"{}", "Connection: close")).fields["connection"] == "close"
    assert client.ending() == "closed"
    assert server.stats.cap_ends == 0


def test_faults_come_before_limits_and_limits_with_them(serve: Serve) -> None:
    faults = FaultScript(
        [Fault(FaultKind.TRICKLE, interval_seconds=0), Fault(FaultKind.LATE, delay_seconds=0.01)]
    )
    limits = ServerLimits(idle_timeout=9, max_requests=2, hint=Hint.TIMEOUT_AND_MAX, hints_unasked=True)
    server = PracticeServer(limits=limits, faults=faults)
    client = serve(server)
    assert client.ask(post()).fields["keep-alive"] == "timeout=9, max=1"
    assert client.ask(post()).fields["connection"] == "close"
    assert client.ending() == "closed"
    assert server.stats.cap_ends == 1


ASKS = "Connection: keep-alive"
COUNTED_DOWN = ["timeout=5, max=100", "timeout=5, max=99", "timeout=5, max=98"]


@pytest.mark.parametrize(
    ("profile", "field", "hints"),
    [
        ("apache", ASKS, COUNTED_DOWN),
        (
            "apache",
            "connection: Keep-Alive, TE",
            COUNTED_DOWN,
        ),
        ("apache", "X: keep-alive", [None, None, None]),
        ("tomcat", ASKS, ["timeout=60"] * 3),
        ("tomcat", "Accept: */*", [None] * 3),
        ("node", "Accept: */*", ["timeout=5"] * 3),
        ("nginx", ASKS, [None] * 3),
    ],
)
def test_hints_are_given_as_the_servers_do(
    serve: Serve, profile: str, field: str, hints: list[str | None]
) -> None:
    client = serve(PracticeServer(limits=PROFILES[profile].limits))
    answers = [client.ask(post(b"{}", field)) for _ in range(3)]
    assert [answer.fields.get("keep-alive") for answer in answers] == hints
    assert [answer.fields.get("connection") for answer in answers] == [
        hint and "keep-alive" for hint in hints
    ]


def test_apache_ends_with_the_answer_after_its_hundred(serve: Serve) -> None:
    client = serve(PracticeServer(limits=PROFILES["apache"].limits))
    answers = [client.ask(post(b"{}", ASKS)) for _ in range(101)]
    assert answers[99].fields["keep-alive"] == "timeout=5, max=1"
    assert ("keep-alive" in answers[100].fields, answers[100].fields["connection"]) == (False, "close")
    assert client.ending() == "closed"


def test_gunicorn_with_its_default_worker_keeps_no_connection(serve: Serve) -> None:
    client = serve(PracticeServer(limits=PROFILES["gunicorn-sync"].limits))
    assert client.ask(post()).fields["connection"] == "close"
    assert client.ending() == "closed"


def acknowledged_bytes(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[120:128], sys.byteorder)


def wait_for_end(server: PracticeServer) -> None:
    while server.stats.idle_ends == 0:
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
def test_a_forgotten_connection_answers_a_late_request_with_a_reset_unread(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(idle_timeout=0.05, idle_ending=IdleEnding.FORGET))
    client = serve(server)
    assert client.ask(post()).status == 201
    before = acknowledged_bytes(client.sock)
    wait_for_end(server)
    client.send(post())
    assert client.ending() == "reset"
    assert acknowledged_bytes(client.sock) == before
    assert server.stats.requests == 1


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
def test_a_vanished_connection_answers_nothing(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(idle_timeout=0.05, idle_ending=IdleEnding.VANISH))
    client = serve(server)
    assert client.ask(post()).status == 201
    before = acknowledged_bytes(client.sock)
    wait_for_end(server)
    client.send(post())
    client.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    assert acknowledged_bytes(client.sock) == before
    assert (server.stats.requests, server.stats.open) == (1, 1)


def test_an_unasked_408_then_a_close(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(idle_timeout=0.05, idle_ending=IdleEnding.TIMEOUT_ANSWER))
    client = serve(server)
    assert client.ask(post()).status == 201
    answer = client.answer()
    assert (answer.status, answer.fields["connection"]) == (408, "close")
    assert client.ending() == "closed"


def test_an_onlooker_that_is_idle_is_ended_and_not_counted(serve: Serve) -> None:
    server = PracticeServer(limits=ServerLimits(idle_timeout=0.05))
    client = serve(server)
    client.ask(get("/stats"))
    assert client.ending() == "closed"
    assert server.stats.idle_ends == 0
