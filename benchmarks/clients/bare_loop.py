"""Posts the records with nothing but sockets and one epoll: the least that Python and the kernel cost.

It keeps no account, parses nothing and gives up at the first trouble, so it is no client, but what none
written in Python can go below: the rest of what livepost uses is livepost's.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import loop

_READ_BYTES = 65_536
_CLOSING = b"\r\nConnection: close\r\n"


class Wire:
    """One connection, and another in its place when the server ends it."""

    def __init__(self, job: loop.Job, epoll: select.epoll) -> None:
        parts = urlsplit(job.url)
        self._address = (parts.hostname or "", parts.port or (443 if job.cacert else 80))
        self._context = ssl.create_default_context(cafile=job.cacert) if job.cacert else None
        self._epoll = epoll
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            self.socket = self._context.wrap_socket(self.socket, server_hostname=self._address[0])
        self.socket.setblocking(False)
        self.recv, self.send = self.socket.recv, self.socket.send
        self._epoll.register(self.socket.fileno(), select.EPOLLIN)


def _requests(job: loop.Job) -> Iterator[bytes]:
    parts = urlsplit(job.url)
    fields = "".join(f"{name}: {value}\r\n" for name, value in loop.HEADERS.items())
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{fields}Content-Length: ".encode()
    return (head + b"%d\r\n\r\n" % len(record) + record for record in job.records)


def main(job: loop.Job) -> None:
    requests = _requests(job)
    statuses: list[int] = []
    started = loop.start()
    with select.epoll() as epoll:
        wires = [Wire(job, epoll) for _ in range(job.connections)]
        at = {wire.socket.fileno(): wire for wire in wires}
        for wire, request in zip(wires, requests, strict=False):
            wire.send(request)
        while len(statuses) < len(job.records):
            idle = []
            for descriptor, _ in epoll.poll(-1, job.connections):
                wire = at[descriptor]
                try:
                    answer = wire.recv(_READ_BYTES)
                except ssl.SSLWantReadError:
                    continue
                if not answer:
                    raise SystemExit("the server closed a connection without saying so before")
                statuses.append(int(answer[9:12]))
                if _CLOSING in answer:
                    del at[descriptor]
                    wire.socket.close()
                    wire.open()
                    at[wire.socket.fileno()] = wire
                idle.append(wire)
            for wire, request in zip(idle, requests, strict=False):
                wire.send(request)
    loop.finish(started, statuses)


main(loop.job())
