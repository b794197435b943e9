"""A server whose every byte the test chooses, for what no well-behaved server does.

async def script(reader, writer, number):
    head, body = await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\\r\\n")
    reset(writer)

async with ScriptedPeer(script) as peer:
    ...  # talk to peer.host, peer.port
assert peer.connections == 1
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]

# The client going away, which is how most scripts end.
_CLIENT_LEFT = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:[ \t]*chunked[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class RequestRead(NamedTuple):
    head: bytes
    """From the request line to the empty line, included."""
    body: bytes
    """Free of any chunked coding."""


class ScriptedPeer:
    """Runs `script` once for each connection, numbered from 1; its end closes the connection.

    A script may wait for ever: leaving the `async with` cancels what still runs and closes every
    connection.  It ends quietly when the client leaves; any other exception of a script, a failed
    assertion above all, is raised on leaving.
    """

    def __init__(
        self, script: Script, *, ssl_context: ssl.SSLContext | None = None, unix_socket: Path | None = None
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        """TCP connections accepted, whether or not a TLS handshake followed."""
        self._script = script
        self._ssl_context = ssl_context
        self._unix_socket = unix_socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []

    @property
    def url(self) -> str:
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self.host}:{self.port}"

    async def __aenter__(self) -> ScriptedPeer:
        loop = asyncio.get_running_loop()
        if self._unix_socket is not None:
            self._server = await loop.create_unix_server(
                self._accepted, self._unix_socket, ssl=self._ssl_context
            )
        else:
            self._server = await loop.create_server(self._accepted, self.host, 0, ssl=self._ssl_context)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        # A connection accepted just now becomes a transport, then a task, then a script that can clean up.
        for _ in range(3):
            await asyncio.sleep(0)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self._server.wait_closed()
        if self._unix_socket is not None and self._unix_socket.exists():
            os.unlink(self._unix_socket)
        if self._faults and error is None:
            raise self._faults[0]

    def _accepted(self) -> asyncio.StreamReaderProtocol:
        self.connections += 1
        number = self.connections

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._run(reader, writer, number))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=2**24), connected)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            await self._script(reader, writer, number)
            writer.close()
            await writer.wait_closed()
        except _CLIENT_LEFT:
            pass
        finally:
            writer.transport.abort()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._faults.append(fault)


async def read_request(reader: asyncio.StreamReader) -> RequestRead:
    """The next request, read to its end; IncompleteReadError if the client leaves before that."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length:
        return RequestRead(head, await reader.readexactly(int(length[1])))
    if _CHUNKED.search(head):
        return RequestRead(head, await _read_chunked(reader))
    return RequestRead(head, b"")


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP RST instead of a FIN; what is unread or unsent is lost."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
