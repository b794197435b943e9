"""nginx as somebody else's server, with its own counts; it needs no root."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from certificates import CertificateFiles
from server_process import installed, listens_at, running, unused_ports

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
    program = installed("nginx", package="nginx-light")
    port, tls_port = unused_ports(2)
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
    log = folder / "error.log"
    command = [program, "-p", str(folder), "-e", str(log), "-c", str(configuration)]
    # Without a request: nginx never counts such a connection.
    with running(command, log, listens_at(port)):
        yield Nginx(port, tls_port)
