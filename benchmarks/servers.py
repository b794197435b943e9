"""The servers of the benchmark, each pinned to one core, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

STARTED_WITHIN_SECONDS = 10.0
STOPPED_WITHIN_SECONDS = 5.0

_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        location = /api {{ return 201 '{{"id":1,"status":"created"}}'; }}
    }}
    server {{
        listen 127.0.0.1:{http2} http2;
        listen 127.0.0.1:{http2_tls} ssl http2;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        keepalive_requests 1000000000;
        location = /api {{ return 201 '{{"id":1,"status":"created"}}'; }}
    }}
    server {{
        listen 127.0.0.1:{status};
        location = / {{ stub_status; }}
    }}
}}
"""


class ServerError(Exception):
    """The server cannot be started; the text is one sentence with a hint."""


class Server:
    """A running server that counts; a context manager."""

    certificate: Path

    def connections_accepted(self) -> int:
        """Connections accepted since the start, without those that asked this question."""
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        """User and system time that it has used, to 10 ms."""
        raise NotImplementedError


class Nginx(Server):
    """nginx, which answers every request to /api with 201.

    Over HTTP/1.1 `keepalive_requests`, `keepalive_timeout` and everything of TLS stay at nginx's defaults: a
    connection is closed by the server after 1 000 requests.  Over HTTP/2 one connection lasts.
    """

    def __init__(self, directory: Path, core: int) -> None:
        self._directory = directory
        self._core = core
        self._program = _find("nginx", "nginx")
        self._http, self._tls, self._http2, self._http2_tls, self._status = _free_ports(5)
        self.certificate = directory / "certificate.pem"
        self.http_url = f"http://127.0.0.1:{self._http}/api"
        self.tls_url = f"https://127.0.0.1:{self._tls}/api"
        self.http2_url = f"http://127.0.0.1:{self._http2}/api"
        self.http2_tls_url = f"https://127.0.0.1:{self._http2_tls}/api"

    def __enter__(self) -> Nginx:
        self._directory.mkdir()
        _make_certificate(self._directory)
        configuration = self._directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                http=self._http,
                tls=self._tls,
                http2=self._http2,
                http2_tls=self._http2_tls,
                status=self._status,
            ),
            encoding="ascii",
        )
        self._errors = self._directory / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [self._program, "-p", str(self._directory), "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def connections_accepted(self) -> int:
        with socket.create_connection(("127.0.0.1", self._status), timeout=5.0) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        self._questions += 1
        _, _, counters = answer.partition(b"server accepts handled requests")
        return int(counters.split()[0]) - self._questions

    def cpu_seconds(self) -> float:
        return _cpu_seconds(self._worker)

    def _wait_until_ready(self) -> None:
        self._questions = 0
        give_up = time.monotonic() + STARTED_WITHIN_SECONDS
        while self._process.poll() is None and time.monotonic() < give_up:
            try:
                self.connections_accepted()
            except ConnectionRefusedError:
                time.sleep(0.02)
                continue
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            self._worker = int(children.read_text().split()[0])
            return
        lines = self._errors.read_text(errors="replace").splitlines() or ["it said nothing"]
        raise ServerError(f"nginx did not start: {lines[-1]}")

    def _stop(self) -> None:
        _stop(self._process)


class Nghttpd(Server):
    """nghttp2's own server, which answers every request to /api with 200; it speaks nothing but HTTP/2."""

    def __init__(self, directory: Path, core: int) -> None:
        self._directory = directory
        self._core = core
        self._program = _find("nghttpd", "nghttp2-server")
        self._ports = _free_ports(2)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.certificate = directory / "certificate.pem"
        self.http_url = f"http://127.0.0.1:{self._ports[0]}/api"
        self.tls_url = f"https://127.0.0.1:{self._ports[1]}/api"

    def __enter__(self) -> Nghttpd:
        pages = self._directory / "pages"
        pages.mkdir(parents=True)
        (pages / "api").write_text('{"id":1,"status":"created"}', encoding="ascii")
        _make_certificate(self._directory)
        http, tls = map(str, self._ports)
        secure = [tls, str(self._directory / "key.pem"), str(self.certificate)]
        try:
            for port, arguments in zip(self._ports, (["--no-tls", http], secure), strict=True):
                command = [self._program, "--address", "127.0.0.1", "--htdocs", str(pages), *arguments]
                self._start(command, port)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            _stop(process)

    def connections_accepted(self) -> int:
        """As the kernel has it, for all servers of this machine: nghttpd does not count."""
        names, values = Path("/proc/net/snmp").read_text().partition("Tcp:")[2].split("Tcp:")[:2]
        return int(dict(zip(names.split(), values.split("\n")[0].split(), strict=True))["PassiveOpens"])

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(process.pid) for process in self._processes)

    def _start(self, command: list[str], port: int) -> None:
        errors = self._directory / f"stderr-{port}"
        with errors.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
            )
        self._processes.append(process)
        give_up = time.monotonic() + STARTED_WITHIN_SECONDS
        while process.poll() is None and time.monotonic() < give_up:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.02)
        lines = errors.read_text(errors="replace").splitlines() or ["it said nothing"]
        raise ServerError(f"nghttpd did not start: {lines[-1]}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def nginx_version() -> str:
    """`nginx/1.22.1` or the like."""
    shown = subprocess.run([_find("nginx", "nginx"), "-v"], capture_output=True, text=True, check=True)
    return shown.stderr.strip().rpartition(" ")[2]


def nghttpd_version() -> list[str]:
    """`nghttpd nghttp2/1.52.0` or the like; nothing where there is none."""
    try:
        command = [_find("nghttpd", "nghttp2-server"), "--version"]
    except ServerError:
        return []
    return [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()]


def _find(program: str, package: str) -> str:
    # Distributions keep nginx where only root's PATH leads.
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ServerError(
            f"{program} is not installed, and the benchmark needs it: apt-get install {package}"
        )
    return path


def _make_certificate(directory: Path) -> None:
    """A self-signed certificate for 127.0.0.1, which is its own authority."""
    command = [
        _find("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    command += ["-nodes", "-days", "2", "-subj", "/CN=livepost benchmark"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServerError(f"openssl could not make a certificate: {made.stderr.strip().splitlines()[-1]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
