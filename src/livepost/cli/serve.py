"""`livepost serve`: the practice server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from livepost.cli import event_loop
from livepost.cli.interrupts import Interrupts
from livepost.cli.parser import Parser
from livepost.cli.talk import say
from livepost.errors import ConfigurationError
from livepost.rehearsal.server import PracticeServer, serve

_DESCRIPTION = """\
A practice server.  POST /api (any method) takes JSON and answers 201 with
{"id": n, "connection": c, "request_on_connection": k}; GET /stats tells how many
connections, requests and TLS handshakes there were.  Ctrl-C stops it."""


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal comes.  Raises ConfigurationError when the port cannot be had."""
    parser = Parser("livepost serve", "livepost serve [OPTIONS]", _DESCRIPTION)
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=8080, help="port, 0 for a free one (default: %(default)s)"
    )
    given = parser.parse(arguments)
    if not 0 <= given.port <= 65535:
        raise ConfigurationError(
            f"there is no port {given.port}", "use one from 1 to 65535, or 0 for a free one"
        )
    event_loop.run(_serve(given.host, given.port))
    return 0


async def _serve(host: str, port: int) -> None:
    stop = asyncio.Event()

    def on_ready(server: PracticeServer) -> None:
        say(f"practice server on {server.url}/api, counts on {server.url}/stats; Ctrl-C stops it")

    interrupts = Interrupts(lambda _: stop.set(), stop.set)
    with interrupts.handled():
        stats = await serve(host, port, on_ready=on_ready, stop=stop)
    say(f"answered {stats.requests} requests on {stats.connections} connections")
