"""A connection on its socket, everything around it in the test's hands, and the server's end.

line.post(b"1", b"2")            # work arrives
line.peer.send(ANSWER)           # what the server says, byte by byte
line.until(lambda: line.work.answers)

With a `ServerEnd`, `serve` and `answer` speak for the server in whichever protocol.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes
from net_fakes import FakeWork, ManualTime, Peer, RecordingObserver, tcp_pair, turn, turn_until
from server_ends import Http2End, ServerEnd

from livepost.config import Timeouts
from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.connection import Connection
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import Deadlines
from livepost.net.multiplexed import MultiplexedConnection
from livepost.net.poller import Poller
from livepost.net.surroundings import Surroundings
from livepost.wire.http1 import Http1Machine
from livepost.wire.machine import Machine
from livepost.wire.message import Response


class Line:
    """A connection, its surroundings, and the server's end of it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        time: ManualTime,
        sockets: tuple[socket.socket, socket.socket],
        timeouts: Timeouts,
        work: FakeWork,
        end: ServerEnd | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.loop = loop
        self.time = time
        self.ours, theirs = sockets
        self.work = work
        self.peer = Peer(theirs, self.turn)
        self.observer = RecordingObserver()
        self.idled = 0
        """How often it was hungry with nothing under way."""
        self.hungry = 0
        self.changed: list[int] = []
        """What its capacity was when it said that it had changed."""
        self.on_changed: Callable[[Connection], None] = lambda connection: None
        self.closed: list[CloseReason] = []
        self.end = end
        self.machine = machine or (Http1Machine() if end is None else end.machine())
        self.poller = Poller(work, time, loop)
        kind = MultiplexedConnection if self.machine.is_multiplexed else Connection
        self.connection = kind(
            7,
            self.ours,
            self.machine,
            Surroundings(work, timeouts, Deadlines(time, time.call_later), time, self.poller, self.observer),
            on_hungry=self._on_hungry,
            on_changed=self._on_changed,
            on_closed=self._on_closed,
        )

    def _on_hungry(self, connection: Connection) -> None:
        assert connection is self.connection
        if connection.state is ConnectionState.IDLE:
            self.idled += 1
        else:
            assert self.machine.is_multiplexed
        self.hungry += 1

    def _on_changed(self, connection: Connection) -> None:
        assert connection is self.connection
        self.changed.append(connection.capacity)
        self.on_changed(connection)

    def _on_closed(self, connection: Connection, reason: CloseReason) -> None:
        assert connection is self.connection
        assert connection.state is ConnectionState.CLOSED
        self.closed.append(reason)

    def turn(self) -> None:
        turn(self.loop)

    def until(self, happened: Callable[[], object]) -> None:
        turn_until(self.loop, happened)

    def until_closed(self) -> None:
        self.until(lambda: self.closed)

    def arrives(self) -> None:
        """Until what the server did last is known to this side's kernel, but not to the event loop."""
        readable, _, _ = select.select([self.ours], [], [], 5.0)
        assert readable

    def arrives_at_the_server(self) -> None:
        """Until what was written is known to the kernel of the other side."""
        readable, _, _ = select.select([self.peer.sock], [], [], 5.0)
        assert readable

    def finish_tcp(self) -> None:
        """The server sends FIN, under a TLS connection as well."""
        socket.socket.shutdown(self.peer.sock, socket.SHUT_WR)

    def post(self, *bodies: bytes) -> None:
        """Work arrives."""
        self.work.add(*bodies)
        self.offer()

    def offer(self) -> None:
        """The connection, hungry so far, is offered work, as by the pool."""
        if self.connection.wake(self.time.now):
            self.poller.offer((self.connection,))

    # With an end.

    @property
    def http2(self) -> Http2End:
        assert isinstance(self.end, Http2End)
        return self.end

    def greet(self) -> None:
        """Begin as connections do: offered work, of which there is none yet, and greeted."""
        assert self.end is not None
        self.offer()
        self.say(self.end.greeting())
        self.serve()

    def say(self, data: bytes) -> None:
        """The server says this, and the connection takes it in."""
        received = self.connection.bytes_received + len(data)
        self.peer.send_all(data)
        self.until(lambda: self.connection.bytes_received >= received or self.closed)
        # What the connection does in a later round.
        self.turn()

    def serve(self, requests: int = 0) -> None:
        """The server takes what has come, and goes on until so many requests have come wholly."""
        assert self.end is not None
        while True:
            self.turn()
            said = self.end.receive(self.peer.read_some())
            if said:
                self.say(said)
            elif len(self.end.bodies) >= requests and not self.peer.has_some():
                break

    def answer(self, count: int = 1) -> None:
        """The server answers the oldest requests."""
        assert self.end is not None
        for _ in range(count):
            answers = len(self.work.answers)
            self.say(self.end.answer())
            assert len(self.work.answers) == answers + 1

    @property
    def reason(self) -> CloseReason:
        """Why the connection was closed: once."""
        (event,) = self.observer.closed
        assert self.closed == [event.reason]
        return event.reason

    @property
    def failure(self) -> tuple[bytes, Sent, str]:
        """The only failure."""
        assert self.work.answers == []
        (failure,) = self.work.failures
        return failure

    @property
    def response(self) -> Response:
        """The only answer."""
        assert self.work.failures == []
        ((_, response),) = self.work.answers
        return response

    def finish(self) -> None:
        """At the end of a test: close, and see that nothing was lost on the way."""
        self.peer.close()
        self.connection.close(CloseReason.FINISHED)
        self.connection.close(CloseReason.STOPPED)
        self.poller.close()
        assert len(self.closed) == 1
        assert self.reason is self.closed[0]
        assert self.ours.fileno() == -1
        assert len(self.work.pulled) == len(self.work.answers) + len(self.work.failures)


MakeLine = Callable[..., Line]
MakeTlsPair = Callable[..., tuple[ssl.SSLSocket, ssl.SSLSocket]]


def greeted(make_line: MakeLine, settings: dict[SettingCodes, int] | None = None, **timeouts: Any) -> Line:
    """A line for HTTP/2 whose server has said how much it takes."""
    line = make_line(end=Http2End(settings), **timeouts)
    line.greet()
    line.hungry = line.idled = 0
    line.changed.clear()
    return line


def numbered(count: int) -> list[bytes]:
    """Bodies: 1, 2, 3 …"""
    return [b"%d" % number for number in range(1, count + 1)]


def pair(kind: str, tls_pair: MakeTlsPair, buffer_bytes: int | None = None) -> Any:
    """Both ends of a connection, plain or with TLS."""
    return tcp_pair(buffer_bytes) if kind == "plain" else tls_pair(buffer_bytes)


plain_and_tls = pytest.mark.parametrize("kind", ["plain", "tls"])


def see(line: Line, seen_by: str) -> None:
    """What the server did last: the event loop gets a turn, or work is offered before it does."""
    line.arrives()
    if seen_by == "offer":
        line.post(b"next")
        assert line.closed
    else:
        line.until_closed()
