"""Servers as they are, but for how long they keep an idle connection, and how many requests they take on one.

Each counts, by path, the connections that carried a POST, the POSTs, and how many of their bodies
were different.  nginx and Apache pass requests on to `counting_api`, which sees the bodies; their own
logs tell the connections.  None needs root.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
STARTS_WITHIN_SECONDS = 20.0
STOPS_WITHIN_SECONDS = 5.0

_NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    log_format counts '$request_method $uri $connection_requests';
    access_log {folder}/counts counts;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout {limit};
    {cap}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{behind}; }}
    }}
}}
"""

_APACHE = """\
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
User #65534
Group #65534
# Where threads are scarce it closes idle connections before their time, and so it does when it ends a child.
ServerLimit 4
StartServers 4
ThreadsPerChild 64
MaxRequestWorkers 256
MaxSpareThreads 256
KeepAlive On
KeepAliveTimeout {limit}
{cap}
LogFormat "%m %U %k" counts
CustomLog {folder}/counts counts
ProxyPass / http://127.0.0.1:{behind}/ disablereuse=on
"""

_NODE = """\
const paths = new Map();
const server = require("node:http").createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => { body += chunk; }).on("end", () => {
        response.setHeader("Content-Type", "application/json");
        if (request.method !== "POST") {
            const counts = [...paths].map(([path, one]) =>
                [path, [one.sockets.size, one.requests, one.bodies.size]]);
            response.end(JSON.stringify(Object.fromEntries(counts)));
            return;
        }
        const url = new URL(request.url, "http://localhost");
        if (!paths.has(url.pathname))
            paths.set(url.pathname, {sockets: new Set(), requests: 0, bodies: new Set()});
        const one = paths.get(url.pathname);
        one.sockets.add(request.socket);
        one.requests += 1;
        one.bodies.add(body);
        setTimeout(() => response.writeHead(201).end('{"ok": true}'), Number(url.searchParams.get("wait")));
    });
});
server.keepAliveTimeout = 1000 * Number(process.argv[2]);
server.maxRequestsPerSocket = Number(process.argv[3]);
server.listen(Number(process.argv[1]), "127.0.0.1");
"""


class ServerMissingError(Exception):
    """A server cannot take part; the text says why, and how to install it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What came to one path."""

    connections: int = 0
    """Those that carried a POST."""
    requests: int = 0
    different: int = 0
    """How many bodies were not the same as one before."""


class IdleServer:
    """A server that keeps an idle connection for `limit` seconds; `running` while a block runs.

    A POST to `/path?wait=50` is answered after 50 ms, and counted as one to `/path`.
    """

    key: str
    default_limit: int
    """Seconds, where nothing is said."""
    default_cap: int | None = None
    """Requests on a connection, where nothing is said; None: as many as may come."""
    takes_cap = False
    """It can be told a cap."""
    beyond_cap = 0
    """How many more it takes than it is told."""
    later: tuple[float, float] = (0.0, 0.1)
    """It closes so many seconds later than it is told, at the earliest and at the latest."""

    def cap(self, told: int | None) -> int | None:
        """How many requests a connection carries where it is told so many, or nothing; None: any number."""
        named = self.default_cap if told is None else told
        return None if named is None else named + self.beyond_cap

    def prepare(self) -> str:
        """Its name and version, or ServerMissingError."""
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self, folder: Path, limit: int, cap: int | None = None) -> Iterator[None]:
        """Run it; what it started is ended with the block.

        `cap` is how many requests it is told to take on a connection; None: as many as by default.
        Raises ServerMissingError if it does not start, or does not answer.
        """
        folder.mkdir()
        self._folder = folder
        self._port, behind = _free_ports(2)
        self.url = f"http://127.0.0.1:{self._port}"
        with contextlib.ExitStack() as stack:
            for command, port in self.commands(folder, limit, cap, self._port, behind):
                stack.enter_context(_process(command, folder, port))
            try:
                self.counts()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ServerMissingError(f"started, but does not answer as it should: {error}") from error
            yield

    def commands(
        self, folder: Path, limit: int, cap: int | None, port: int, behind: int
    ) -> list[tuple[list[str], int]]:
        """What to start, in this order, and the port on which each listens."""
        raise NotImplementedError

    def counts(self) -> dict[str, Counts]:
        """By path, so far."""
        return {path: Counts(*numbers) for path, numbers in json.loads(_ask(self._port)).items()}


class _Front(IdleServer):
    """Passes requests on, and logs for each how many its connection carried before."""

    first: str
    """How the log calls the first request of a connection."""

    def counts(self) -> dict[str, Counts]:
        lines = (self._folder / "counts").read_text().splitlines()
        return {
            path: Counts(lines.count(f"POST {path} {self.first}"), one.requests, one.different)
            for path, one in super().counts().items()
        }


class Nginx(_Front):
    key = "nginx"
    first = "1"
    default_limit, default_cap, takes_cap = 75, 1000, True

    def prepare(self) -> str:
        self._program = _find("nginx", "apt-get install nginx-light")
        shown = subprocess.run([self._program, "-v"], capture_output=True, text=True)
        return shown.stderr.strip().rpartition(" ")[2]

    def commands(
        self, folder: Path, limit: int, cap: int | None, port: int, behind: int
    ) -> list[tuple[list[str], int]]:
        configuration = folder / "nginx.conf"
        keep = "" if cap is None else f"keepalive_requests {cap};"
        text = _NGINX.format(folder=folder, limit=limit, cap=keep, port=port, behind=behind)
        configuration.write_text(text)
        return [
            (_counting_api(behind), behind),
            ([self._program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)], port),
        ]


class Apache(_Front):
    key = "apache"
    first = "0"
    default_limit, default_cap, takes_cap = 5, 100, True
    # It counts those that follow the first.
    beyond_cap = 1
    later = (0.0, 0.3)

    def prepare(self) -> str:
        self._program = _find("apache2", "apt-get install apache2")
        shown = subprocess.run([self._program, "-v"], capture_output=True, text=True)
        return shown.stdout.partition("version: ")[2].split()[0]

    def commands(
        self, folder: Path, limit: int, cap: int | None, port: int, behind: int
    ) -> list[tuple[list[str], int]]:
        configuration = folder / "apache.conf"
        modules = "/usr/lib/apache2/modules"
        keep = "" if cap is None else f"MaxKeepAliveRequests {cap}"
        names = {"folder": folder, "modules": modules, "port": port, "behind": behind}
        configuration.write_text(_APACHE.format(limit=limit, cap=keep, **names))
        return [
            (_counting_api(behind), behind),
            ([self._program, "-f", str(configuration), "-D", "FOREGROUND"], port),
        ]


class Node(IdleServer):
    key = "node"
    takes_cap = True
    later = (1.0, 1.2)

    def prepare(self) -> str:
        self._program = _find("node", "apt-get install nodejs")
        asked = [self._program, "-p", 'require("node:http").createServer().keepAliveTimeout']
        # 5 s until version 25, 65 s later.
        self.default_limit = int(subprocess.run(asked, capture_output=True, text=True).stdout) // 1000
        shown = subprocess.run([self._program, "--version"], capture_output=True, text=True)
        return f"Node.js {shown.stdout.strip()}"

    def commands(
        self, folder: Path, limit: int, cap: int | None, port: int, behind: int
    ) -> list[tuple[list[str], int]]:
        return [([self._program, "-e", _NODE, str(port), str(limit), str(cap or 0)], port)]


class PythonServer(IdleServer):
    """A server for ASGI or WSGI applications, run by this interpreter."""

    def __init__(
        self,
        key: str,
        *options: str,
        default_limit: int = 5,
        default_cap: int | None = None,
        later: tuple[float, float] = (0.0, 0.1),
    ) -> None:
        self.key = key
        self.default_limit, self.default_cap, self.later = default_limit, default_cap, later
        self.takes_cap = default_cap is not None
        self._options = options

    def prepare(self) -> str:
        try:
            return f"{self.key} {importlib.metadata.version(self.key)}"
        except importlib.metadata.PackageNotFoundError:
            raise ServerMissingError(f"not installed (pip install {self.key})") from None

    def commands(
        self, folder: Path, limit: int, cap: int | None, port: int, behind: int
    ) -> list[tuple[list[str], int]]:
        options = [option.format(limit=limit, port=port, folder=folder) for option in self._options]
        # Only hypercorn has a cap, and only in a file.
        (folder / "settings.toml").write_text("" if cap is None else f"keep_alive_max_requests = {cap}\n")
        return [([sys.executable, "-m", self.key, *options], port)]


def all_servers() -> list[IdleServer]:
    """Every server there is, in the order in which they are shown."""
    return [
        Nginx(),
        Apache(),
        Node(),
        PythonServer(
            *("uvicorn", "counting_api:app", "--port", "{port}", "--timeout-keep-alive", "{limit}"),
            *("--lifespan", "off", "--no-access-log"),
        ),
        PythonServer(
            *("gunicorn", "counting_api:application", "--bind", "127.0.0.1:{port}"),
            # Its default worker keeps no connection at all.
            *("--keep-alive", "{limit}", "--worker-class", "gthread", "--threads", "64"),
            default_limit=2,
            # It looks once a second.
            later=(0.0, 1.2),
        ),
        PythonServer(
            *("hypercorn", "counting_api:app", "--bind", "127.0.0.1:{port}", "--keep-alive", "{limit}"),
            *("--config", "{folder}/settings.toml"),
            default_cap=1000,
        ),
    ]


def _counting_api(port: int) -> list[str]:
    return [sys.executable, "-m", "counting_api", str(port)]


@contextlib.contextmanager
def _process(command: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    log = folder / "output"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOPS_WITHIN_SECONDS)
        # Its workers too, which are in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + STARTS_WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        time.sleep(0.02)
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise ServerMissingError(f"does not start: {lines[-1][-200:]}")


def _ask(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTS_WITHIN_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/counts", headers={"Connection": "close"})
        return connection.getresponse().read()


def _find(program: str, how: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ServerMissingError(f"not installed ({how})")
    return path


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]
