"""Servers that other people wrote, each with its own counts; none needs root."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from server_process import installed, running, unused_port

_ANSWERS_WITHIN_SECONDS = 20.0

# As Debian ships it: at most 100 reuses of a connection, each within 5 seconds (or what is asked for).
_APACHE_CONFIGURATION = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule alias_module {modules}/mod_alias.so
# Only root becomes somebody else; for others these two have no effect.
User #65534
Group #65534
KeepAlive On
KeepAliveTimeout {keepalive_timeout}
MaxKeepAliveRequests 100
GracefulShutdownTimeout 10
# The method, and how many requests the connection carried before this one.
LogFormat "%m %k" counts
CustomLog {folder}/counts counts
Redirect 204 /
"""

_NODE_SCRIPT = """
let connections = 0, requests = 0;
const server = require("node:http").createServer((request, response) => {
    if (request.method === "GET" && request.headers.connection !== "close") {
        response.end("ok");
        return;
    }
    if (request.method === "GET") {
        // Without the connection that asks.
        connections -= 1;
        response.setHeader("Connection", "close");
        response.end(JSON.stringify([connections, requests]));
        return;
    }
    requests += 1;
    request.resume().on("end", () => {
        response.writeHead(201, {"Content-Type": "application/json"}).end('{"ok": true}');
    });
});
server.on("connection", () => { connections += 1; });
if (process.argv[2]) { server.keepAliveTimeout = Number(process.argv[2]); }
server.listen(Number(process.argv[1]), "127.0.0.1");
"""


class Counts(NamedTuple):
    connections: int
    requests: int


class RealServer:
    """A running server; what it counted itself, without questions about it, is known at the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/"
        self.counts: Counts | None = None

    def ask(self) -> bytes:
        """What it answers to GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWERS_WITHIN_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"Connection": "close"})
            return connection.getresponse().read()


@contextlib.contextmanager
def apache(folder: Path, *, keepalive_timeout: int = 5) -> Iterator[RealServer]:
    """Run Apache httpd, which ends a connection after 101 requests, while the block runs."""
    program = installed("apache2", package="apache2")
    port = unused_port()
    configuration = folder / "apache.conf"
    configuration.write_text(
        _APACHE_CONFIGURATION.format(
            folder=folder,
            port=port,
            modules="/usr/lib/apache2/modules",
            keepalive_timeout=keepalive_timeout,
        )
    )
    command = [program, "-f", str(configuration), "-D", "FOREGROUND"]
    # This signal lets it finish what it has begun, so its log is complete.
    with _running(command, port, folder / "log", end_with=signal.SIGWINCH) as server:
        yield server
    lines = (folder / "counts").read_text().splitlines()
    posts = [line for line in lines if line.startswith("POST ")]
    server.counts = Counts(connections=posts.count("POST 0"), requests=len(posts))


@contextlib.contextmanager
def node(folder: Path, *, keepalive_milliseconds: int | None = None) -> Iterator[RealServer]:
    """Run Node's http server, as it is when nothing else is set, while the block runs."""
    program, port = installed("node", package="nodejs"), unused_port()
    options = [] if keepalive_milliseconds is None else [str(keepalive_milliseconds)]
    with _running([program, "-e", _NODE_SCRIPT, str(port), *options], port, folder / "log") as server:
        yield server
        server.counts = Counts(*json.loads(server.ask()))


@contextlib.contextmanager
def uvicorn(folder: Path, *options: str) -> Iterator[RealServer]:
    """Run uvicorn, as it is when nothing else is set, while the block runs."""
    with _running_app(folder, "uvicorn", "--lifespan", "off", "--no-access-log", *options) as server:
        yield server


@contextlib.contextmanager
def granian(folder: Path, *options: str) -> Iterator[RealServer]:
    """Run granian, as it is when nothing else is set, while the block runs."""
    with _running_app(folder, "granian", "--interface", "asginl", *options) as server:
        yield server


@contextlib.contextmanager
def hypercorn(folder: Path, *options: str) -> Iterator[RealServer]:
    """Run hypercorn, as it is when nothing else is set, while the block runs."""
    with _running_app(folder, "hypercorn", *options) as server:
        yield server


@contextlib.contextmanager
def _running_app(folder: Path, module: str, *options: str) -> Iterator[RealServer]:
    port = unused_port()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    if module == "hypercorn":
        where = ["--bind", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", module, "counting_app:app", *where, *options]
    with _running(command, port, folder / "log") as server:
        yield server
        server.counts = Counts(*json.loads(server.ask()))


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, log: Path, *, end_with: signal.Signals = signal.SIGTERM
) -> Iterator[RealServer]:
    server = RealServer(port)
    with running(command, log, server.ask, end_with=end_with):
        yield server
