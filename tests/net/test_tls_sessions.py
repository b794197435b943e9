from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
from certificates import Authority

from livepost.net.tls_sessions import TlsSessions

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class EchoServer:
    """Answers what it is sent, over TLS, until `stop`; one connection after the other has its thread."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def stop(self) -> None:
        # A thread that waits in accept wakes up for this, not for close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(sock,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(10)
        with raw, contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as sock:
            while data := sock.recv(1000):
                sock.sendall(data)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    version: ssl.TLSVersion = request.param
    return version


@pytest.fixture
def server(authority: Authority, version: ssl.TLSVersion) -> Iterator[EchoServer]:
    context = authority.server_context()
    context.minimum_version = context.maximum_version = version
    server = EchoServer(context)
    yield server
    server.stop()


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


@pytest.fixture
def sessions(context: ssl.SSLContext) -> TlsSessions:
    return TlsSessions(context, FakeClock())


class FakeClock:
    """Gives the time that real sessions are of, and any later one."""

    later = 0.0

    def __call__(self) -> float:
        return time.time() + self.later


def dial(server: EchoServer, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


def ask(sock: ssl.SSLSocket) -> None:
    sock.sendall(b"hello")
    assert sock.recv(1000) == b"hello"


def first_session(server: EchoServer, context: ssl.SSLContext) -> ssl.SSLSession:
    with dial(server, context) as sock:
        ask(sock)
        session = sock.session
    assert session is not None
    return session


def test_a_session_is_there_after_the_first_answer_and_resumes(
    server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions, version: ssl.TLSVersion
) -> None:
    assert sessions.take() is None
    with dial(server, context) as sock:
        assert sock.session_reused is False
        # The ticket of TLS 1.3 comes after the handshake.
        assert sessions.offer(sock) is (version is ssl.TLSVersion.TLSv1_2)
        ask(sock)
        assert sessions.offer(sock)
    assert len(sessions) == 1
    session = sessions.take()
    assert session is not None
    assert len(sessions) == 0
    with dial(server, context, session) as sock:
        assert sock.session_reused is True
        ask(sock)


def test_every_connection_brings_the_session_for_the_next(
    server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions
) -> None:
    reused = []
    for _ in range(5):
        with dial(server, context, sessions.take()) as sock:
            reused.append(sock.session_reused)
            ask(sock)
            assert sessions.offer(sock)
        assert len(sessions) == 1
    assert reused == [False, True, True, True, True]


def test_each_of_several_connections_brings_one(
    server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions
) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dial(server, context)) for _ in range(3)]
        for sock in socks:
            ask(sock)
            assert sessions.offer(sock)
        assert len(sessions) == 3
        taken = [sessions.take() for _ in range(4)]
        assert [session is not None for session in taken] == [True, True, True, False]
        assert len({session.id for session in taken if session is not None}) == 3
        again = [stack.enter_context(dial(server, context, session)) for session in taken]
        assert [sock.session_reused for sock in again] == [True, True, True, False]


def test_the_newest_is_taken_first_and_the_oldest_gives_way(
    server: EchoServer, context: ssl.SSLContext
) -> None:
    sessions = TlsSessions(context, FakeClock(), most=2)
    offered = []
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(dial(server, context))
            ask(sock)
            assert sessions.offer(sock)
            assert sock.session is not None
            offered.append(sock.session.id)
    taken = [sessions.take(), sessions.take(), sessions.take()]
    assert [session and session.id for session in taken] == [offered[2], offered[1], None]


def test_the_same_session_is_kept_once(
    server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions
) -> None:
    with dial(server, context) as sock:
        ask(sock)
        assert sessions.offer(sock)
        assert sessions.offer(sock)
    assert len(sessions) == 1


def test_a_session_is_good_for_as_long_as_it_says(server: EchoServer, context: ssl.SSLContext) -> None:
    clock = FakeClock()
    sessions = TlsSessions(context, clock)
    with dial(server, context) as sock:
        ask(sock)
        sessions.offer(sock)
        session = sock.session
        assert session is not None
    lifetime = min(session.timeout, session.ticket_lifetime_hint or session.timeout)
    assert 60 <= lifetime <= 7200
    clock.later = lifetime - 5
    kept = sessions.take()
    assert kept is not None
    with dial(server, context, kept) as sock:
        ask(sock)
        sessions.offer(sock)
    clock.later = lifetime + 5
    assert sessions.take() is None
    assert len(sessions) == 0


def test_a_session_of_another_context_is_of_no_use(
    server: EchoServer, authority: Authority, sessions: TlsSessions
) -> None:
    """Python refuses to resume with one."""
    with dial(server, authority.client_context()) as sock:
        ask(sock)
        assert not sessions.offer(sock)
    assert len(sessions) == 0


def test_a_server_that_gives_no_session_costs_nothing(
    authority: Authority, context: ssl.SSLContext, sessions: TlsSessions, version: ssl.TLSVersion
) -> None:
    server_context = authority.server_context()
    server_context.minimum_version = server_context.maximum_version = version
    server_context.num_tickets = 0
    server_context.options |= ssl.OP_NO_TICKET
    server = EchoServer(server_context)
    try:
        with dial(server, context) as sock:
            ask(sock)
            # Without tickets TLS 1.2 has the server's memory, named by the session's id.
            assert sessions.offer(sock) is (version is ssl.TLSVersion.TLSv1_2)
    finally:
        server.stop()


def test_a_server_that_has_forgotten_the_session_makes_a_full_handshake(
    server: EchoServer, authority: Authority, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    session = first_session(server, context)
    other_context = authority.server_context()
    other_context.minimum_version = other_context.maximum_version = version
    other = EchoServer(other_context)
    try:
        with dial(other, context, session) as sock:
            assert sock.session_reused is False
            ask(sock)
    finally:
        other.stop()


def test_a_closed_socket_has_no_session(
    server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions
) -> None:
    sock = dial(server, context)
    ask(sock)
    sock.close()
    assert not sessions.offer(sock)


def test_all_can_be_forgotten(server: EchoServer, context: ssl.SSLContext, sessions: TlsSessions) -> None:
    with dial(server, context) as sock:
        ask(sock)
        sessions.offer(sock)
    sessions.clear()
    assert sessions.take() is None
