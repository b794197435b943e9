from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from practice_stats import stats
from raw_client import RawClient, get, post

from livepost.errors import ConfigurationError
from livepost.rehearsal import endpoint as endpoint_module
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.reply import RESET, After, Reply
from livepost.rehearsal.server import PracticeServer, serve
from livepost.rehearsal.stats import ServerStats

Serve = Callable[[PracticeServer], RawClient]

pytestmark = pytest.mark.usefixtures("each_loop")


def ask(connection: http.client.HTTPConnection, path: str = "/api", body: str = "{}") -> tuple[int, object]:
    connection.request("POST" if path == "/api" else "GET", path, body if path == "/api" else None)
    with connection.getresponse() as response:
        return response.status, json.loads(response.read())


def test_live_connections_as_the_server_counts_them() -> None:
    with PracticeServer().run_in_thread() as server:
        first = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        second = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        assert ask(first) == (201, {"id": 1, "connection": 1, "request_on_connection": 1})
        assert ask(first) == (201, {"id": 2, "connection": 1, "request_on_connection": 2})
        assert ask(second, body='{"name": "Lucy"}') == (
            201,
            {"id": 3, "connection": 2, "request_on_connection": 1},
        )
        assert ask(second, body="{")[0] == 400
        assert server.stats == ServerStats(connections=2, requests=4, handshakes=0, open=2)
        first.close()
        second.close()
    assert server.stats == ServerStats(connections=2, requests=4, handshakes=0, open=0)


def test_a_new_connection_for_every_record() -> None:
    with PracticeServer().run_in_thread() as server:
        for number in range(1, 51):
            with RawClient.dial(server.port) as client:
                answer = client.ask(post(b"{}", "Connection: close"))
                assert answer.json == {"id": number, "connection": number, "request_on_connection": 1}
                assert client.ending() == "closed"
        assert (server.stats.connections, server.stats.requests) == (50, 50)


def test_looking_changes_no_count(serve: Serve) -> None:
    server = PracticeServer()
    client = serve(server)
    client.ask(post())
    expected = ServerStats(connections=1, requests=1, handshakes=0, open=1)
    for _ in range(3):
        with RawClient.dial(server.port) as onlooker:
            for _ in range(2):
                answer = onlooker.ask(get("/stats"))
                assert answer.json == stats(1, 1)
                assert server.stats == expected
    assert client.ask(get("/stats")).json == stats(1, 1)
    assert server.stats == expected


def test_an_onlooker_that_goes_on_to_work_counts_from_then_on(serve: Serve) -> None:
    server = PracticeServer()
    client = serve(server)
    client.ask(get("/stats"))
    assert server.stats == ServerStats(0, 0, 0, 0)
    assert client.ask(post()).json == {"id": 1, "connection": 1, "request_on_connection": 2}
    client.ask(get("/stats"))
    assert server.stats == ServerStats(connections=1, requests=1, handshakes=0, open=1)


def test_a_connection_without_a_request_counts(serve: Serve) -> None:
    server = PracticeServer()
    client = serve(server)
    while server.stats.connections == 0:
        pass
    assert server.stats == ServerStats(connections=1, requests=0, handshakes=0, open=1)
    client.ask(get("/nowhere"))
    assert server.stats.connections == 1


def test_tls_handshakes_are_counted(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with PracticeServer(ssl_context=server_tls).run_in_thread() as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        for number in (1, 2, 3):
            client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=client_tls)
            for _ in range(5):
                assert ask(client)[0] == 201
            assert (server.stats.handshakes, server.stats.requests) == (number, number * 5)
            assert ask(client, "/stats") == (
                200,
                stats(number, number * 5, full=number),
            )
            client.close()
        onlooker = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=client_tls)
        for _ in range(2):
            assert ask(onlooker, "/stats") == (200, stats(3, 15, full=3))
        onlooker.close()


def test_a_handshake_that_fails_is_a_connection_but_no_handshake(server_tls: ssl.SSLContext) -> None:
    with PracticeServer(ssl_context=server_tls).run_in_thread() as server:
        distrusting = ssl.create_default_context()
        with (
            socket.create_connection(("127.0.0.1", server.port)) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            distrusting.wrap_socket(sock, server_hostname="localhost")
        with RawClient.dial(server.port) as cleartext:
            cleartext.send(post())
            assert b"HTTP/" not in cleartext.rest()
    # With TLS 1.3 the server is done with the handshake before the client has judged its certificate.
    assert server.stats.connections == 2
    assert server.stats.requests == 0
    assert server.stats.open == 0


def tls_client(server: PracticeServer, context: ssl.SSLContext) -> RawClient:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return RawClient(context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False))


@pytest.mark.parametrize("after", [After.CLOSE, After.DROP])
def test_over_tls_the_client_is_told_of_a_close(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    after: After,
) -> None:
    monkeypatch.setattr(endpoint_module, "LINGER_SECONDS", 0.02)
    server = PracticeServer(ssl_context=server_tls, respond=lambda request: Reply(after=after))
    with server.run_in_thread(), tls_client(server, client_tls) as client:
        assert client.ask(post()).status == 200
        assert client.ending() == "closed"  # with close_notify, else it would be an SSLEOFError
    assert server.stats == ServerStats(connections=1, requests=1, handshakes=1, open=0)


def test_the_server_may_stop_in_the_instant_of_an_accept() -> None:
    for _ in range(20):
        server = PracticeServer()
        with server.run_in_thread():
            RawClient.dial(server.port).__exit__(None, None, None)
        assert server.stats.open == 0


def test_a_reset_over_tls_is_one_of_tcp(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    server = PracticeServer(ssl_context=server_tls, respond=lambda request: RESET)
    with server.run_in_thread(), tls_client(server, client_tls) as client:
        client.send(post())
        # Looked at below TLS, as ssl before Python 3.12.3 takes a reset for an end of file.
        with RawClient(socket.socket(fileno=os.dup(client.sock.fileno()))) as tcp:
            assert tcp.ending() == "reset"


def test_a_refusal_over_tls_reaches_a_client_in_the_middle_of_its_body(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = PracticeServer(ssl_context=server_tls, limits=ServerLimits(max_body_bytes=1000))
    with server.run_in_thread(), tls_client(server, client_tls) as client:
        assert client.ask(post(b"1" * 8_000_000)).status == 413


def test_stopping_closes_every_connection_whatever_its_state(server_tls: ssl.SSLContext) -> None:
    with PracticeServer(ssl_context=server_tls).run_in_thread() as server:
        silent = [RawClient.dial(server.port) for _ in range(5)]
        halfway = RawClient.dial(server.port)
        halfway.send(b"\x16\x03\x01\x02\x00\x01")
        while server.stats.connections < 6:
            pass
        assert server.stats == ServerStats(connections=6, requests=0, handshakes=0, open=6)
    assert server.stats.open == 0
    for client in (*silent, halfway):
        with client:
            assert client.ending() == "closed"


def test_stopping_closes_idle_busy_and_lingering_connections() -> None:
    with PracticeServer().run_in_thread() as server:
        idle, busy, lingering = (RawClient.dial(server.port) for _ in range(3))
        for client in (idle, busy):
            client.ask(post())
        busy.send(post()[:-1])
        assert lingering.ask(b"nonsense\r\n\r\n").status == 400
        assert server.stats.open == 3
    assert server.stats.open == 0
    for client in (idle, busy, lingering):
        with client:
            assert client.ending() == "closed"
    with pytest.raises(ConnectionRefusedError):
        RawClient.dial(server.port)


@pytest.mark.parametrize("turns", range(6))
def test_stopping_right_after_connections_came_loses_none(turns: int, server_tls: ssl.SSLContext) -> None:
    async def steps(tls: ssl.SSLContext | None) -> ServerStats:
        async with PracticeServer(ssl_context=tls) as server:
            clients = [RawClient.dial(server.port) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
        for client in clients:
            with client:
                assert client.ending() in ("closed", "reset")
        return server.stats

    for tls in (None, server_tls):
        with asyncio.Runner() as runner:
            stats = runner.run(steps(tls))
        assert stats.open == stats.requests == stats.handshakes == 0


def test_in_the_callers_own_loop() -> None:
    async def steps() -> None:
        async with PracticeServer() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post())
            assert await reader.readline() == b"HTTP/1.1 201 Created\r\n"
            assert server.stats == ServerStats(connections=1, requests=1, handshakes=0, open=1)
            with pytest.raises(RuntimeError):
                await server.start()
            writer.close()
            await writer.wait_closed()
        await server.stop()

    with asyncio.Runner() as runner:
        runner.run(steps())


def test_it_can_be_started_again_on_the_same_port() -> None:
    server = PracticeServer()
    with server.run_in_thread():
        port = server.port
        with RawClient.dial(port) as client:
            client.ask(post())
    with server.run_in_thread(), RawClient.dial(port) as client:
        assert client.ask(post()).json == {"id": 2, "connection": 2, "request_on_connection": 1}
    assert server.stats == ServerStats(connections=2, requests=2, handshakes=0, open=0)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "practice.sock"
    with PracticeServer(unix_socket=str(path)).run_in_thread() as server:
        assert (server.url, server.port) == ("http://localhost", 0)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            with RawClient(sock) as client:
                assert client.ask(post()).status == 201
        with (
            pytest.raises(ConfigurationError) as caught,
            PracticeServer(unix_socket=str(path)).run_in_thread(),
        ):
            pass
        assert str(caught.value) == f"cannot listen on {path}: Address already in use"
    assert not path.exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:{}"), ("0.0.0.0", "http://localhost:{}"), ("::1", "http://[::1]:{}")],
)
def test_the_url_is_one_that_reaches_it(host: str, url: str) -> None:
    try:
        with PracticeServer(host).run_in_thread() as server:
            assert server.url == url.format(server.port)
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
            assert ask(connection)[0] == 201
            connection.close()
    except ConfigurationError:
        if host != "::1":
            raise
        pytest.skip("no IPv6 on this machine")


def test_a_taken_port() -> None:
    with (
        PracticeServer().run_in_thread() as first,
        pytest.raises(ConfigurationError) as caught,
        PracticeServer(port=first.port).run_in_thread(),
    ):
        pass
    assert str(caught.value) == f"port {first.port} is taken"
    assert caught.value.hint == "choose another with --port"


@pytest.mark.parametrize("host", ["192.0.2.1", "not a name", "a" * 300, "\ud800"])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(ConfigurationError) as caught, PracticeServer(host).run_in_thread():
        pass
    assert str(caught.value) == f"{host} is not an address of this machine"
    assert caught.value.hint == "choose another with --host"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PracticeServer(port=port)
    assert str(caught.value) == f"port is {port}"


def test_serve_says_when_it_is_ready_and_ends_when_told() -> None:
    async def steps() -> tuple[ServerStats, int]:
        stop = asyncio.Event()
        ready: asyncio.Future[PracticeServer] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(PracticeServer(), on_ready=ready.set_result, stop=stop))
        server = await ready
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"{}", "Connection: close"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        stop.set()
        return await serving, server.port

    with asyncio.Runner() as runner:
        stats, port = runner.run(steps())
    assert stats == ServerStats(connections=1, requests=1, handshakes=0, open=0)
    with pytest.raises(ConnectionRefusedError):
        RawClient.dial(port)


def test_serve_on_a_taken_port() -> None:
    async def steps(port: int) -> None:
        with pytest.raises(ConfigurationError):
            await serve(
                PracticeServer(port=port), on_ready=lambda server: pytest.fail("ready"), stop=asyncio.Event()
            )

    with PracticeServer().run_in_thread() as server, asyncio.Runner() as runner:
        runner.run(steps(server.port))
