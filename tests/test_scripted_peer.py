from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from pathlib import Path

import pytest
from raw_client import get, post
from scripted_peer import ScriptedPeer, read_request, reset


async def echo(reader: Reader, writer: Writer, number: int) -> None:
    while True:
        head, body = await read_request(reader)
        writer.write(b"%d %d %s" % (number, len(head), body))


async def talk(peer: ScriptedPeer, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(
        peer.host, peer.port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        writer.write(data)
        return await reader.read(1000)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def test_requests_are_read_to_their_end_and_connections_counted() -> None:
    async def steps() -> None:
        async with ScriptedPeer(echo) as peer:
            chunked = get("/", "transfer-encoding: chunked")
            data = post(b"[1]") + chunked + b"2;x\r\n[2\r\n1\r\n]\r\n0\r\nT: x\r\n\r\n" + get("/")
            assert peer.url == f"http://127.0.0.1:{peer.port}"
            reader, writer = await asyncio.open_connection(peer.host, peer.port)
            writer.write(data)
            assert await reader.readexactly(21) == b"1 58 [1]1 63 [2]1 35 "
            writer.close()
            await writer.wait_closed()
            assert await talk(peer, post(b"x")) == b"2 58 x"
            assert peer.connections == 2

    asyncio.run(steps())


def test_over_tls_and_on_a_unix_socket(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async def steps() -> None:
        async with ScriptedPeer(echo, ssl_context=server_tls) as peer:
            assert peer.url == f"https://127.0.0.1:{peer.port}"
            assert await talk(peer, post(b"x"), client_tls) == b"1 58 x"
        path = tmp_path / "peer.sock"
        async with ScriptedPeer(echo, unix_socket=path) as peer:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(post(b"y"))
            assert await reader.read(100) == b"1 58 y"
            writer.close()
            await writer.wait_closed()
        assert not path.exists()

    asyncio.run(steps())


def test_a_script_that_ends_closes_and_one_that_resets_resets() -> None:
    async def script(reader: Reader, writer: Writer, number: int) -> None:
        await read_request(reader)
        if number == 2:
            reset(writer)

    async def steps() -> None:
        async with ScriptedPeer(script) as peer:
            assert await talk(peer, post()) == b""
            with pytest.raises(ConnectionResetError):
                await talk(peer, post())

    asyncio.run(steps())


def test_leaving_ends_scripts_that_wait_and_closes_their_connections() -> None:
    async def script(reader: Reader, writer: Writer, number: int) -> None:
        writer.write(b"ready")
        await asyncio.Event().wait()

    async def steps() -> None:
        async with ScriptedPeer(script) as peer:
            reader, writer = await asyncio.open_connection(peer.host, peer.port)
            assert await reader.readexactly(5) == b"ready"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(steps())


def test_a_fault_of_the_script_is_raised_on_leaving() -> None:
    async def script(reader: Reader, writer: Writer, number: int) -> None:
        assert (await read_request(reader)).body == b"expected"

    async def steps() -> None:
        async with ScriptedPeer(script) as peer:
            assert await talk(peer, post(b"other")) == b""

    with pytest.raises(AssertionError, match="expected"):
        asyncio.run(steps())
