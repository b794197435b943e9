"""Servers with the manners that a probe looks for, as scripts of a ScriptedPeer; and openers to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from scripted_peer import Script, read_request

from livepost.clock import monotonic, utc_now
from livepost.config import DeliveryOptions, RouteOptions, Timeouts, TlsOptions
from livepost.probing.opening import Opener
from livepost.probing.samples import Samples
from livepost.target import parse_target
from livepost.wire.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    GOAWAY,
    HEADERS,
    LARGEST_STREAM,
    PING,
    PREFACE,
    ErrorCode,
    frame_head,
    ping_frame,
    settings_frame,
)

NOW = datetime(2026, 11, 25, 12, 0, 0, 500_000, tzinfo=UTC)

_NEVER = 3600.0
# `:status: 200` of HPACK's static table.
_OK_BLOCK = b"\x88"


def opener_to(
    url: str,
    *,
    route: RouteOptions | None = None,
    tls: TlsOptions | None = None,
    timeouts: Timeouts | None = None,
) -> Opener:
    options = DeliveryOptions(
        target=parse_target(url),
        route=route or RouteOptions(proxy=""),
        tls=tls or TlsOptions(),
        timeouts=timeouts or Timeouts(max_time=5.0),
    )
    return Opener(options, Samples(utc_now), monotonic)


def http1(
    *, fields: bytes = b"", status: bytes = b"200 OK", idle: float = _NEVER, cap: int | None = None
) -> Script:
    """Answers `cap` requests, and closes a connection that is idle for so long."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        answered = 0
        while answered != cap:
            try:
                await asyncio.wait_for(read_request(reader), idle)
            except TimeoutError:
                return
            answered += 1
            last = b"Connection: close\r\n" if answered == cap else b""
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n%b%b\r\n" % (status, fields, last))

    return script


def http2(
    *,
    settings: Mapping[int, int] | None = None,
    idle: float = _NEVER,
    ping_counts: bool = False,
    pings_borne: int = 1_000,
    cap: int | None = None,
) -> Script:
    """Answers `cap` requests with 200, and says GOAWAY to a connection that is idle for so long."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        loop = asyncio.get_running_loop()
        await reader.readexactly(len(PREFACE))
        writer.write(settings_frame(dict(settings or {})))
        answered = pings = 0
        idle_at = loop.time() + idle
        while answered != cap and pings <= pings_borne:
            try:
                async with asyncio.timeout_at(idle_at):
                    head = await reader.readexactly(FRAME_HEAD_BYTES)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            except TimeoutError:
                writer.write(_goaway(LARGEST_STREAM, ErrorCode.NO_ERROR))
                return
            kind, flags, stream_id = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == HEADERS:
                answered += 1
                idle_at = loop.time() + idle
                flags = END_HEADERS | END_STREAM
                writer.write(frame_head(HEADERS, len(_OK_BLOCK), flags, stream_id) + _OK_BLOCK)
            elif kind == PING and not flags & ACK:
                pings += 1
                writer.write(ping_frame(payload, ACK))
                if ping_counts:
                    idle_at = loop.time() + idle
        code = ErrorCode.NO_ERROR if answered == cap else ErrorCode.ENHANCE_YOUR_CALM
        writer.write(_goaway(2 * answered - 1, code))

    return script


def _goaway(last: int, code: ErrorCode) -> bytes:
    return frame_head(GOAWAY, 8) + last.to_bytes(4, "big") + code.to_bytes(4, "big")


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until it is so; fails after a while."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came about")
