"""A relay in front of a server, which counts connections and says nothing of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class CountingRelay:
    """Passes bytes on between whoever connects to `port` and the server at another one."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.port = 0
        self.connections = 0

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))
        finally:
            to_server.transport.abort()
            writer.transport.abort()

    async def _run(self, is_ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        is_ready.set()
        async with server:
            await self._is_over.wait()

    @contextlib.contextmanager
    def run_in_thread(self) -> Iterator[CountingRelay]:
        """Relay while the block runs."""
        is_ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._run(is_ready)))
        thread.start()
        try:
            is_ready.wait()
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._is_over.set)
            thread.join()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
