"""As many requests at a time as --connections allows, also where one connection could carry any number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from whole_runs import DIRECT, counts, numbers, options, run

from livepost.config import DeliveryOptions, Limits, RequestOptions, RouteOptions
from livepost.deliver import Delivery, deliver
from livepost.events import HttpVersion
from livepost.policy import RetryOptions
from livepost.records.source import ObjectSource
from livepost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    HEADERS,
    PREFACE,
    frame_head,
    settings_frame,
)

_NO_CONTENT = b"\x89"


@dataclass
class UnlimitedServer:
    """Speaks HTTP/2, takes any number of streams, and answers each a moment later."""

    most_open: int = 0
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[int] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        loop = asyncio.get_running_loop()
        writer.write(settings_frame({}))
        try:
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(FRAME_HEAD_BYTES)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                stream_id = int.from_bytes(head[5:], "big")
                if head[3] == HEADERS:
                    self._open.add(stream_id)
                    self.most_open = max(self.most_open, len(self._open))
                if head[3] in (HEADERS, DATA) and head[4] & END_STREAM:
                    loop.call_later(0.005, self._answer, writer, stream_id)
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()
            self.ended.set()

    def _answer(self, writer: asyncio.StreamWriter, stream_id: int) -> None:
        self._open.remove(stream_id)
        writer.write(frame_head(HEADERS, 1, END_HEADERS | END_STREAM, stream_id) + _NO_CONTENT)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_server_without_a_limit_is_asked_for_no_more_at_a_time(method: str) -> None:
    async def main() -> None:
        unlimited = UnlimitedServer()
        server = await asyncio.start_server(unlimited.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            result = await deliver(
                numbers(100),
                options(
                    f"http://127.0.0.1:{port}/",
                    request=RequestOptions(method=method),
                    limits=Limits(max_conns_per_host=4),
                    route=RouteOptions(proxy="", http2_prior_knowledge=True),
                ),
            )
            await unlimited.ended.wait()
        assert counts(result) == (100, 0, 0, 0)
        assert (unlimited.most_open, unlimited.connections) == (4, 1)

    run(main())


def most_open(chosen: DeliveryOptions) -> int:
    """On one connection, to a server that names no limit."""
    machine = Delivery(ObjectSource([]), chosen)._make_machine(HttpVersion.HTTP_2)
    machine.receive(settings_frame({}))
    return machine.room


@pytest.mark.parametrize(
    ("method", "limits", "max_in_doubt", "expected"),
    [
        ("PUT", Limits(max_conns_per_host=4), 100, 4),
        ("PUT", Limits(max_conns_per_host=500), 100, 500),
        ("POST", Limits(max_conns_per_host=4), 100, 4),
        ("POST", Limits(max_conns_per_host=500), 100, 100),
        ("POST", Limits(max_conns_per_host=500), 7, 7),
        ("PUT", Limits(max_conns_per_host=4, disable_keep_alives=True), 100, 1),
    ],
)
def test_so_many_may_be_open_on_one_connection(
    method: str, limits: Limits, max_in_doubt: int, expected: int
) -> None:
    chosen = options(
        "http://localhost/",
        request=RequestOptions(method=method),
        retry=RetryOptions(max_in_doubt=max_in_doubt),
        limits=limits,
        route=DIRECT,
    )
    assert most_open(chosen) == expected
