"""The CPU a record costs inside livepost, without sockets, kernel or server.

Run: .venv/bin/python benchmarks/engine.py.  Everything from the NDJSON block to the tally is the real
thing; only the socket and the event loop are stand-ins.  The minimum of several rounds is what a quiet
machine needs.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
import uuid
from typing import Any, cast

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, Timeouts
from livepost.delivery.policies import Policies
from livepost.delivery.request import make_request_head
from livepost.delivery.schedule import Schedule
from livepost.model import Record, Rejection
from livepost.net.connection import Connection
from livepost.net.deadlines import Deadlines
from livepost.net.poller import Poller
from livepost.net.surroundings import Surroundings
from livepost.records.ndjson import NdjsonReader
from livepost.report.tally import Tally
from livepost.target import parse_target
from livepost.wire.http1 import Http1Machine

RECORDS = 20_000
ROUNDS = 15
CONNECTIONS = 32
LINE = b'{"id":123456,"name":"User 123456","email":"user123456@example.com","note":"%s"}\n' % (b"x" * 120)
ANSWER = (
    b"HTTP/1.1 201 Created\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 13:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 29\r\nConnection: keep-alive\r\n\r\n"
    b'{"id":123456,"created":"yes"}'
)


class StandInSocket:
    """Takes everything and always has the same answer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def recv(self, size: int) -> bytes:
        return ANSWER

    def send(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass


class StandInEpoll:
    """Says by turns that every connection is readable, and that none is."""

    def __init__(self) -> None:
        self._news = [[(descriptor, select.EPOLLIN) for descriptor in range(CONNECTIONS)], []]

    def register(self, descriptor: int, mask: int) -> None:
        pass

    def poll(self, seconds: float, most: int = 1) -> list[tuple[int, int]]:
        self._news.reverse()
        return self._news[0]


class StandInLoop:
    def add_reader(self, file: int, callback: Any) -> None:
        pass


class StandInRecorder:
    """Marks in memory; in a run directory that memory is a mapped file."""

    def __init__(self) -> None:
        self.marks = memoryview(bytearray(RECORDS + 1))


class StandInSupply:
    """Records that are all there already."""

    ended = False

    def __init__(self, items: list[Record | Rejection]) -> None:
        self._items = items
        self._taken = 0

    @property
    def waiting(self) -> int:
        return len(self._items) - self._taken

    def take(self, limit: int) -> list[Record | Rejection]:
        taken = self._items[self._taken : self._taken + limit]
        self._taken += len(taken)
        return taken

    def peek(self) -> Record | Rejection | None:
        return self._items[self._taken] if self.waiting else None


def read_block() -> list[Record | Rejection]:
    return NdjsonReader("users.ndjson", max_record_bytes=1 << 24).feed(LINE * RECORDS)


def deliver(items: list[Record | Rejection]) -> float:
    """Seconds of CPU to carry all of `items` through connection, machine, schedule and tally."""
    tally = Tally()
    options = DeliveryOptions(target=parse_target("http://localhost/api"))
    head = make_request_head(options, None)
    schedule = Schedule(
        cast(Any, StandInSupply(items)),
        head,
        Policies.of(options, head, uuid.uuid4(), now=monotonic(), wall_clock=time.time),
        (tally,),
        recorder=cast(Any, StandInRecorder()),
        remind=lambda seconds: None,
        on_failed=lambda error: None,
        on_finished=lambda: None,
    )
    loop = cast(asyncio.AbstractEventLoop, StandInLoop())
    deadlines = Deadlines(monotonic, lambda seconds, callback: cast(Any, None))
    poller = Poller(schedule, monotonic, loop)
    poller._epoll.close()
    poller._epoll = cast(Any, StandInEpoll())
    shared = Surroundings(schedule, Timeouts(), deadlines, monotonic, poller, tally)
    for descriptor in range(CONNECTIONS):
        connection = Connection(
            descriptor + 1,
            cast(socket.socket, StandInSocket(descriptor)),
            Http1Machine(),
            shared,
            on_hungry=lambda connection: None,
            on_changed=lambda connection: None,
            on_closed=lambda connection, reason: None,
        )
        connection.wake(monotonic())
        poller._round([], {descriptor: connection})
        poller._epoll.poll(0)
    news = poller._epoll.poll(0) or poller._epoll.poll(0)
    turn = poller._round
    started = time.process_time()
    for _ in range(len(items) // CONNECTIONS - 1):
        turn(news, {})
        poller._epoll.poll(0)
    seconds = time.process_time() - started
    assert tally.records_delivered == len(items) - CONNECTIONS
    return seconds


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    reading, delivering = [], []
    for _ in range(ROUNDS):
        started = time.process_time()
        items = read_block()
        reading.append(time.process_time() - started)
        delivering.append(deliver(items))
    print(f"read a record       {min(reading) / RECORDS * 1e6:6.2f} µs")
    print(f"deliver a record    {min(delivering) / RECORDS * 1e6:6.2f} µs  (without system calls)")


if __name__ == "__main__":
    main()
