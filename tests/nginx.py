"""nginx as somebody else's server, with its own counts; it needs no root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import CertificateFiles

_STARTS_WITHIN_SECONDS = 10.0

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    keepalive_requests {keepalive_requests};
    keepalive_timeout {keepalive_timeout};
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl{http2};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ return 201 '{{"ok": true}}'; }}
        location = /counts {{ stub_status; }}
    }}
}}
"""


class Nginx:
    def __init__(self, port: int, tls_port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/"
        self.tls_url = f"https://127.0.0.1:{tls_port}/"

    def counts(self) -> tuple[int, int]:
        """Connections accepted and requests so far, without those of this question."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/counts") as answer:
            accepted, _, requests = map(int, answer.read().split(b"\n")[2].split())
        looks = self._looks = getattr(self, "_looks", 0) + 1
        return accepted - looks, requests - looks


@contextlib.contextmanager
def nginx(
    folder: Path,
    files: CertificateFiles,
    *,
    keepalive_requests: int,
    keepalive_timeout: str = "75s",
    http2: bool = False,
) -> Iterator[Nginx]:
    """Run nginx while the block runs; where there is none the test is skipped, but fails under CI."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        missing = "nginx is not installed (on Debian and Ubuntu: apt-get install nginx-light)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    port, tls_port = _unused_ports(2)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            port=port,
            tls_port=tls_port,
            keepalive_requests=keepalive_requests,
            keepalive_timeout=keepalive_timeout,
            http2=" http2" if http2 else "",
            certificate=files.certificate,
            key=files.key,
        )
    )
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(process, port, folder)
        running = Nginx(port, tls_port)
        yield running
    finally:
        process.terminate()
        process.wait()


def _unused_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    ends = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            # Bound but not connected: nginx never counts it.
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    pytest.fail(f"nginx did not start: {(folder / 'error.log').read_text()}")
