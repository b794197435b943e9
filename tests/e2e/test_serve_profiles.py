"""`livepost serve` as real servers are: its limits, its pace, TLS and HTTP/2, by raw clients."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from command import Running, started
from practice_stats import stats
from practice_talk import Http2Caller
from raw_client import RawClient, get, post

from livepost.wire.frames import MAX_CONCURRENT_STREAMS


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[tuple[Running, int]]:
    with started("serve", "--port", 0, *arguments) as server:
        port = re.search(r"https?://127\.0\.0\.1:(\d+)/api", server.read_err())
        assert port is not None
        yield server, int(port[1])


def test_a_profile_with_shorter_limits() -> None:
    with serving("--profile", "apache", "--idle-timeout", "2s", "--max-requests", 3) as (server, port):
        assert server.read_err() == "as apache: idle 2s, 3 requests, Keep-Alive: timeout=N, max=M\n"
        with RawClient.dial(port) as client:
            answers = [client.ask(post(b"{}", "Connection: keep-alive")) for _ in range(3)]
            assert [answer.fields.get("keep-alive") for answer in answers] == [
                "timeout=2, max=2",
                "timeout=2, max=1",
                None,
            ]
            assert answers[2].fields["connection"] == "close"
            assert client.ending() == "closed"
        with RawClient.dial(port) as onlooker:
            assert onlooker.ask(get("/stats")).json == stats(1, 3, cap=1)
        server.signal(signal.SIGINT)
        ended = server.ended()
    assert (ended.code, ended.err) == (
        0,
        "answered 3 requests on 1 connections\nended: 0 idle, 1 used up, 0 too old\n",
    )


def test_limits_without_a_profile() -> None:
    limits = ("--idle-timeout", "100ms", "--idle-ending", "408", "--max-age", "1h", "--unannounced")
    with serving(*limits) as (server, port):
        assert (
            server.read_err() == "a connection's limits: idle 100ms (answers 408), age 1h, ends unannounced\n"
        )
        with RawClient.dial(port) as client:
            assert client.ask(post()).status == 201
            assert client.answer().status == 408
            assert client.ending() == "closed"
        with RawClient.dial(port) as onlooker:
            assert onlooker.ask(get("/stats")).json == stats(1, 1, idle=1)


def test_answers_and_handshakes_take_their_time() -> None:
    with serving("--latency", "50ms+-10ms", "--handshake-latency", "100ms") as (_, port):
        begun = time.monotonic()
        with RawClient.dial(port) as client:
            client.ask(post())
            first = time.monotonic()
            client.ask(post())
        # Never less, but for what timers may be early; how much more depends on the machine.
        assert first - begun >= 0.135
        assert time.monotonic() - first >= 0.035


def trusting(server: Running) -> tuple[ssl.SSLContext, Path]:
    """A client context by what the server said of its certificate."""
    told = re.fullmatch(r"its certificate is trusted with --cacert (.*)\n", server.read_err())
    assert told is not None
    return ssl.create_default_context(cafile=told[1]), Path(told[1])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_by_a_certificate_made_on_the_spot_with_sessions_resumed(version: ssl.TLSVersion) -> None:
    with serving("--tls") as (server, port):
        context, ca_file = trusting(server)
        context.minimum_version = context.maximum_version = version
        session = None
        for number in range(1, 4):
            sock = socket.create_connection(("127.0.0.1", port))
            tls = context.wrap_socket(sock, server_hostname="127.0.0.1", session=session)
            with RawClient(tls) as client:
                assert client.ask(post()).status == 201
                session = tls.session
                expected = stats(number, number, full=1, resumed=number - 1)
                assert client.ask(get("/stats")).json == expected
        server.signal(signal.SIGTERM)
        assert server.ended().err == (
            "answered 3 requests on 3 connections\nTLS handshakes: 1 full, 2 resumed\n"
        )
    assert not ca_file.parent.exists()


def test_tls_by_a_certificate_of_ones_own(authority: Authority) -> None:
    files = authority.issue_files()
    with serving("--tls-cert", files.certificate, "--tls-key", files.key) as (_, port):
        sock = socket.create_connection(("127.0.0.1", port))
        with RawClient(authority.client_context().wrap_socket(sock, server_hostname="localhost")) as client:
            assert client.ask(post()).status == 201


def ask(sock: socket.socket, caller: Http2Caller, data: bytes, answers: int) -> Http2Caller:
    """Send, and read until so many answers are whole."""
    sock.sendall(data)
    while len(caller.ended) < answers:
        received = sock.recv(100_000)
        assert received
        caller.receive(received)
    return caller


def test_http2_over_tls_as_nginx_speaks_it() -> None:
    with serving("--tls", "--http2", "--profile", "nginx", "--max-requests", 100) as (server, port):
        context, _ = trusting(server)
        assert server.read_err() == "as nginx: idle 75s, 100 requests, age 1h\n"
        context.set_alpn_protocols(["h2", "http/1.1"])
        raw, caller = socket.create_connection(("127.0.0.1", port)), Http2Caller()
        with context.wrap_socket(raw, server_hostname="localhost") as sock:
            assert sock.selected_alpn_protocol() == "h2"
            requests = b"".join(caller.request() for _ in range(101))
            heard = ask(sock, caller, caller.hello() + requests, 100)
            assert heard.settings[MAX_CONCURRENT_STREAMS] == 128
            assert heard.goaways == [(199, 0)]
            assert set(heard.ended) == set(range(1, 201, 2))
        context.set_alpn_protocols(["http/1.1"])
        raw = socket.create_connection(("127.0.0.1", port))
        with RawClient(context.wrap_socket(raw, server_hostname="localhost")) as onlooker:
            assert onlooker.ask(get("/stats")).json == stats(1, 100, full=1, http2=1, cap=1)
        server.signal(signal.SIGINT)
        assert server.ended().err == (
            "answered 100 requests on 1 connections\nTLS handshakes: 1 full, 0 resumed\n"
            "HTTP/2 on 1 of the connections\nended: 0 idle, 1 used up, 0 too old\n"
        )


def test_http2_in_clear_text_with_faults() -> None:
    with serving("--http2", "--fail", "reset-after-processing:every=2", "--fail", "503:from=3:to=3") as (
        server,
        port,
    ):
        assert "it fails on purpose" in server.read_err()
        caller = Http2Caller()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            requests = b"".join(caller.request(b'{"id": %d}' % n) for n in range(4))
            heard = ask(sock, caller, caller.hello() + requests, 2)
            while len(heard.resets) < 2:
                heard.receive(sock.recv(1000))
            assert (heard.statuses, heard.resets) == ({1: [201], 5: [503]}, {3: 2, 7: 2})
        with RawClient.dial(port) as onlooker:
            account = onlooker.ask(get("/stats")).json
        assert account == stats(
            1,
            4,
            http2=1,
            processed=3,
            duplicates=0,
            replayed=0,
            faults={"503": 1, "reset-after-processing": 2},
        )
