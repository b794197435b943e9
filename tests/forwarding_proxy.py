"""An HTTP proxy for tests: forwards whole URLs, and opens tunnels."""

from __future__ import annotations

import asyncio
import contextlib

from scripted_peer import Script, read_request


def forwarding(heads: list[bytes]) -> Script:
    """The script of a ScriptedPeer that is a proxy; the heads of what it was asked go to `heads`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        request = await read_request(reader)
        heads.append(request.head)
        method, url, _ = request.head.split(b" ", 2)
        authority = url if method == b"CONNECT" else url.removeprefix(b"http://").partition(b"/")[0]
        host, _, port = authority.decode().rpartition(":")
        from_server, to_server = await asyncio.open_connection(host, int(port))
        try:
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))
            while method != b"CONNECT":
                to_server.write(request.head.replace(b"http://" + authority, b"", 1) + request.body)
                # Read in the same way: its body has a Content-Length, too.
                answer = await read_request(from_server)
                writer.write(answer.head + answer.body)
                request = await read_request(reader)
                heads.append(request.head)
        finally:
            to_server.transport.abort()

    return script


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        # Both may end at the same time.
        writer.write_eof()
