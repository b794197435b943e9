"""What a connection needs around it, in the test's hands: time, timers, work, the other end of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from livepost.events import CloseReason, ConnectionClosed, ConnectionOpened
from livepost.model import Sent
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Exchange, RequestHead, Response

PATIENCE_SECONDS = 10.0

HEAD = RequestHead(method=b"POST", target=b"/api", authority=b"localhost", scheme=b"http", fields=())
EXPECTING = dataclasses.replace(HEAD, expect_continue=True)
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
BIG = bytes(range(256)) * 8192
"""2 MiB, more than the kernel takes at once, and more than HTTP/2's windows."""

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ManualTimer:
    def __init__(self, timers: list[ManualTimer], when: float, callback: Callable[[], object]) -> None:
        self._timers = timers
        self.when = when
        self.callback = callback

    @property
    def is_pending(self) -> bool:
        return self in self._timers

    def cancel(self) -> None:
        if self.is_pending:
            self._timers.remove(self)


class ManualTime:
    """A clock that moves when told to, and the timers that go by it.

    Starts far from 0, as a monotonic clock does.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers_set = 0
        self._timers: list[ManualTimer] = []

    def __call__(self) -> float:
        return self.now

    @property
    def pending(self) -> list[float]:
        """When the timers that still wait will go off, from now."""
        return sorted(timer.when - self.now for timer in self._timers)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        timer = ManualTimer(self._timers, self.now + seconds, callback)
        self._timers.append(timer)
        self.timers_set += 1
        return timer

    def advance(self, seconds: float) -> None:
        """Go on by this much, calling each timer at its time."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, timer.when)
            timer.cancel()
            timer.callback()
        self.now = end


class ManualTimeLoop:
    """An event loop, but for its `call_later`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call_later: Callable[..., ManualTimer]) -> None:
        self._loop = loop
        self.call_later = call_later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class FakeWork:
    """Gives out bodies as exchanges, and keeps what became of them."""

    def __init__(self, *bodies: bytes, head: RequestHead = HEAD) -> None:
        self._ready: deque[Exchange] = deque()
        self._head = head
        self.pulled: list[Exchange] = []
        self.answers: list[tuple[bytes, Response]] = []
        self.failures: list[tuple[bytes, Sent, str]] = []
        self.causes: list[CloseReason | None] = []
        """For each answer or failure, the end of the connection that it came with."""
        self.add(*bodies)

    def add(self, *bodies: bytes) -> None:
        self._ready += [Exchange(self._head, body) for body in bodies]

    def put_back(self, exchange: Exchange) -> None:
        """It is to be tried again."""
        self._ready.append(exchange)

    def forget(self) -> None:
        """Forget what has ended."""
        del self.pulled[: len(self.answers) + len(self.failures)]
        self.answers.clear()
        self.failures.clear()

    @property
    def waiting(self) -> int:
        return len(self._ready)

    def pull(self, limit: int, now: float) -> list[Exchange]:
        pulled = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        for exchange in pulled:
            exchange.attempts += 1
            exchange.sent_at = now
        self.pulled += pulled
        return pulled

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        self.causes += [cause] * len(events)
        for event in events:
            if isinstance(event, Answered):
                self.answered(event.exchange, event.response, now)
            else:
                self.failed(event.exchange, event.sent, event.reason, now)

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        self.answers.append((exchange.body, response))

    def failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None:
        self.failures.append((exchange.body, sent, reason))


class ClosingWork(FakeWork):
    """Closes the connection in the middle of things, as an observer that aborts the run does.

    `when` is "pull", "pull of nothing", "answered" or "failed"; `close` is set by the test.
    """

    def __init__(self, when: str) -> None:
        super().__init__()
        self._when = when
        self.close: Callable[[], None] = lambda: None

    def pull(self, limit: int, now: float) -> list[Exchange]:
        pulled = [] if self._when == "pull of nothing" else super().pull(limit, now)
        if self._when.startswith("pull"):
            self.close()
        return pulled

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        super().answered(exchange, response, now)
        if self._when == "answered":
            self.close()

    def failed(self, exchange: Exchange, sent: Sent, reason: str, now: float) -> None:
        super().failed(exchange, sent, reason, now)
        if self._when == "failed":
            self.close()


class RecordingObserver:
    """Keeps everything it is told."""

    def __init__(self) -> None:
        self.opened: list[ConnectionOpened] = []
        self.closed: list[ConnectionClosed] = []
        self.failed_dials: list[str] = []
        self.heartbeats: list[int] = []
        """The numbers of the connections."""

    @property
    def reasons(self) -> list[CloseReason]:
        return [event.reason for event in self.closed]

    def connection_opened(self, event: ConnectionOpened) -> None:
        self.opened.append(event)

    def connection_closed(self, event: ConnectionClosed) -> None:
        self.closed.append(event)

    def dial_failed(self, reason: str) -> None:
        self.failed_dials.append(reason)

    def heartbeat(self, number: int, seconds: float) -> None:
        self.heartbeats.append(number)


class Peer:
    """The server's end of a socket: sends, reads and closes when the test says so."""

    def __init__(self, sock: socket.socket, turn: Callable[[], None]) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._turn = turn
        self._unread = bytearray()

    def send(self, data: bytes) -> None:
        assert self.sock.send(data) == len(data)

    def send_all(self, data: bytes) -> None:
        """Send more than the kernel takes at once, letting the event loop run."""
        unsent = memoryview(data)
        while unsent:
            with contextlib.suppress(*_NOT_NOW):
                unsent = unsent[self.sock.send(unsent) :]
            self._turn()

    def read(self, count: int) -> bytes:
        """Exactly so many bytes, letting the event loop run while they come."""
        while len(self._unread) < count:
            self._read_more()
        data = bytes(self._unread[:count])
        del self._unread[:count]
        return data

    def read_request_head(self) -> bytes:
        """All up to the empty line, included."""
        while (end := self._unread.find(b"\r\n\r\n") + 4) < 4:
            self._read_more()
        return self.read(end)

    def read_request(self) -> bytes:
        """One request with a Content-Length."""
        head = self.read_request_head()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        return head + self.read(int(fields[b"Content-Length"]))

    def read_rest(self) -> bytes:
        """What still comes until the other end closes; ConnectionResetError if it does so by RST."""
        try:
            while True:
                self._read_more()
        except EOFError:
            return self.read(len(self._unread))

    def read_some(self) -> bytes:
        """What is there now, which may be nothing."""
        self.has_some()
        return self.read(len(self._unread))

    def has_some(self) -> bool:
        """Something has come that was not read; an end is nothing."""
        with contextlib.suppress(*_NOT_NOW):
            self._unread += self.sock.recv(1 << 20)
        return bool(self._unread)

    def has_nothing(self) -> bool:
        """Nothing has come, not even an end."""
        try:
            self._unread += self.sock.recv(1)
        except _NOT_NOW:
            return not self._unread
        return False

    def finish(self) -> None:
        """Send FIN, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def say_goodbye(self) -> None:
        """Send TLS's close_notify, and nothing of TCP's."""
        assert isinstance(self.sock, ssl.SSLSocket)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.sock.unwrap()

    def close(self) -> None:
        self.sock.close()

    def _read_more(self) -> None:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up_at:
            try:
                data = self.sock.recv(65_536)
            except _NOT_NOW:
                self._turn()
                continue
            if not data:
                raise EOFError
            self._unread += data
            return
        raise AssertionError(f"nothing more comes after {bytes(self._unread)!r}")


def tcp_pair(buffer_bytes: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection on this machine: the dialling one, the accepted one.

    `buffer_bytes` is about how much the kernel takes on the way from the first to the second.
    """
    ours = socket.socket()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        # A test looks for bytes right after they were sent.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    return ours, theirs


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let everything run that can."""
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))


def turn_until(loop: asyncio.AbstractEventLoop, happened: Callable[[], object]) -> None:
    """Let the event loop run until something has happened."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < give_up_at, "it does not happen"
        turn(loop)


def descriptors() -> dict[str, str]:
    """The open file descriptors of this process, and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            # The one this listing was read through.
            continue
        # libuv keeps one of these in reserve, from its first server on.
        if target != "/dev/null":
            found[name] = target
    return found
