from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
from collections.abc import Callable

import pytest
from certificates import Authority
from practice_stats import stats
from practice_talk import FakeTransport, Http2Caller, ManualLoop, run
from raw_client import RawClient, get, post

from livepost.errors import ConfigurationError
from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.connection import Connection
from livepost.rehearsal.fault_plan import FaultScript
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.protocol_choice import ProtocolChoice
from livepost.rehearsal.server import PracticeServer
from livepost.rehearsal.stats import Tally
from livepost.rehearsal.visit import Visit

Serve = Callable[[PracticeServer], RawClient]

pytestmark = pytest.mark.usefixtures("each_loop")


def ask(sock: socket.socket, caller: Http2Caller, data: bytes, answers: int) -> Http2Caller:
    """Send, and read until so many answers are whole."""
    sock.sendall(data)
    while len(caller.ended) < answers:
        received = sock.recv(100_000)
        assert received
        caller.receive(received)
    return caller


def test_in_clear_text_the_first_bytes_tell(serve: Serve) -> None:
    server = PracticeServer(http2=True)
    client, caller = serve(server), Http2Caller()
    heard = ask(client.sock, caller, caller.hello() + caller.request() + caller.request(), 2)
    assert heard.statuses == {1: [201], 3: [201]}
    with RawClient.dial(server.port) as other:
        assert other.ask(post()).json == {"id": 3, "connection": 2, "request_on_connection": 1}
        assert other.ask(get("/stats")).json == stats(2, 3, http2=1)


@pytest.mark.parametrize("data", [post(), get("/api", method="PUT"), get("/api", method="PROPFIND")])
def test_one_byte_at_a_time_tells_as_well(serve: Serve, data: bytes) -> None:
    client = serve(PracticeServer(http2=True))
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        client.send(bytes((byte,)))
    assert client.answer().status in (201, 400)


def test_http2_one_byte_at_a_time(serve: Serve) -> None:
    client, caller = serve(PracticeServer(http2=True)), Http2Caller()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in caller.hello() + caller.request():
        client.send(bytes((byte,)))
    assert ask(client.sock, caller, b"", 1).statuses == {1: [201]}


@pytest.mark.parametrize("faults", [None, FaultScript()])
@pytest.mark.parametrize(
    ("offered", "agreed"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)]
)
def test_over_tls_alpn_tells(
    authority: Authority, faults: FaultScript | None, offered: list[str], agreed: str | None
) -> None:
    context = authority.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    client_context = authority.client_context()
    if offered:
        client_context.set_alpn_protocols(offered)
    server = PracticeServer(ssl_context=context, http2=True, faults=faults)
    with server.run_in_thread(), socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with client_context.wrap_socket(sock, server_hostname="localhost") as tls:
            assert tls.selected_alpn_protocol() == agreed
            if agreed == "h2":
                caller = Http2Caller()
                assert ask(tls, caller, caller.hello() + caller.request(), 1).statuses == {1: [201]}
            else:
                tls.sendall(post())
                assert tls.recv(100).startswith(b"HTTP/1.1 201 ")
        assert (server.stats.handshakes, server.stats.http2) == (1, int(agreed == "h2"))
    assert server.stats.open == 0


def test_an_outage_resets_connections_of_both_kinds_and_undecided_ones(serve: Serve) -> None:
    outage = Fault(FaultKind.OUTAGE, lasts_seconds=30)
    server = PracticeServer(http2=True, faults=FaultScript([None, None, outage]))
    old, caller = serve(server), Http2Caller()
    assert old.ask(post()).status == 201
    with RawClient.dial(server.port) as new, RawClient.dial(server.port) as undecided:
        ask(new.sock, caller, caller.hello() + caller.request(), 1)
        while server.stats.connections < 3:
            pass
        new.send(caller.request())
        assert old.ending() == "reset"
        # One that is being taken over in that instant is closed by some event loops.
        assert undecided.ending() in ("reset", "closed")
        assert new.ending() in ("reset", "answered")


def test_a_connection_that_ends_as_it_begins_asks_for_no_protocol(serve: Serve) -> None:
    faults = FaultScript(connections=[Fault(FaultKind.RESET_ON_ACCEPT)])
    server = PracticeServer(http2=True, faults=faults)
    assert serve(server).ending() == "reset"
    with RawClient.dial(server.port) as client:
        assert client.ask(post()).status == 201


def test_an_undecided_connection_is_idle_and_may_be_ended_before_it_is_chosen() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally, transport = Tally(), FakeTransport()
        choice = ProtocolChoice(
            Visit(1, tally),
            ServerLimits(idle_timeout=5),
            make_http1=lambda: pytest.fail("chosen"),
            make_http2=lambda: pytest.fail("chosen"),
        )
        choice.connection_made(transport)
        choice.data_received(b"P")
        await loop.advance(5)
        assert (transport.told, tally.stats().idle_ends) == (["close"], 1)
        choice.data_received(b"OST")
        choice.connection_lost(None)
        assert tally.open == 0

    run(steps)


def test_a_connection_is_as_old_as_it_is_whatever_is_spoken_on_it_later() -> None:
    async def steps(loop: ManualLoop) -> None:
        tally, transport, limits = Tally(), FakeTransport(), ServerLimits(max_age=60, announces=False)
        visit = Visit(1, tally)
        choice = ProtocolChoice(
            visit,
            limits,
            make_http1=lambda: Connection(visit, PracticeApi(tally).answer, limits),
            make_http2=lambda: pytest.fail("chosen"),
        )
        choice.connection_made(transport)
        await loop.advance(50)
        choice.data_received(post())
        assert isinstance(transport.protocol, Connection)
        await loop.advance(9.9)
        assert transport.told == []
        await loop.advance(0.1)
        assert (transport.told, tally.stats().age_ends) == (["close"], 1)

    run(steps)


def test_stopping_ends_connections_of_either_kind() -> None:
    server = PracticeServer(http2=True, latency=Latency(60))
    with server.run_in_thread():
        clients = [RawClient.dial(server.port) for _ in range(3)]
        caller = Http2Caller()
        clients[0].send(caller.hello() + caller.request())
        clients[1].send(post())
        while server.stats.requests < 2 or server.stats.connections < 3:
            pass
    for client in clients:
        with client:
            assert client.ending() in ("closed", "reset", "answered")
    assert server.stats.open == 0


def test_without_the_package_h2_it_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        PracticeServer(http2=True)
    assert "the package h2, which is not installed" in str(caught.value)
    assert caught.value.hint == "pip install 'livepost[rehearsal]'"


def test_without_http2_its_preface_is_a_malformed_request(serve: Serve) -> None:
    client = serve(PracticeServer())
    assert client.ask(Http2Caller().hello()).status in (400, 505)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_and_counted_apart(authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    server = PracticeServer(ssl_context=authority.server_context())
    with server.run_in_thread():
        session = None
        for number in range(1, 4):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                tls = context.wrap_socket(sock, server_hostname="localhost", session=session)
                with RawClient(tls) as client:
                    assert client.ask(post()).status == 201
                    assert tls.session_reused is (number > 1)
                    expected = stats(number, number, full=1, resumed=number - 1)
                    assert client.ask(get("/stats")).json == expected
                    session = tls.session
        assert (server.stats.handshakes, server.stats.resumed) == (3, 2)


def test_an_onlooker_that_resumes_counts_nothing(authority: Authority) -> None:
    context = authority.client_context()
    server = PracticeServer(ssl_context=authority.server_context())
    with server.run_in_thread():
        session = None
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                tls = context.wrap_socket(sock, server_hostname="localhost", session=session)
                with RawClient(tls) as client:
                    assert client.ask(get("/stats")).json == stats(0, 0)
                    session = tls.session


@pytest.mark.parametrize("is_tls", [False, True])
def test_handshakes_take_their_time_and_hold_up_nobody(authority: Authority, is_tls: bool) -> None:
    slept: list[float] = []
    server = PracticeServer(
        ssl_context=authority.server_context() if is_tls else None, handshake_seconds=0.05
    )
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real_sleep(0)

    with pytest.MonkeyPatch.context() as patch, server.run_in_thread():
        patch.setattr(asyncio, "sleep", sleep)
        for _ in range(2):
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            if is_tls:
                sock = authority.client_context().wrap_socket(sock, server_hostname="localhost")
            with RawClient(sock) as client:
                assert client.ask(post()).status == 201
    assert [seconds for seconds in slept if seconds] == [0.1 if is_tls else 0.05] * 2


def test_a_handshake_that_is_under_way_can_be_stopped() -> None:
    server = PracticeServer(handshake_seconds=60)
    with server.run_in_thread():
        clients = [RawClient.dial(server.port) for _ in range(3)]
        while server.stats.connections < 3:
            pass
    for client in clients:
        with client:
            assert client.ending() in ("closed", "reset")
    assert server.stats.open == 0
