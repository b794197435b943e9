"""Servers that speak HTTP/2, as other people wrote them; none needs root.

Each is a context manager that is given a folder, the files of a certificate (None for cleartext, which takes
prior knowledge) and runs the server on `Http2Server.port` while the block runs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from certificates import CertificateFiles
from cryptography.hazmat.primitives import serialization
from server_process import installed, listens_at, running, unused_port

ServeHttp2 = Callable[[Path, CertificateFiles | None], AbstractContextManager[int]]
"""Gives the port."""

_APACHE_CONFIGURATION = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule http2_module {modules}/mod_http2.so
{tls}
# Only root becomes somebody else; for others these two have no effect.
User #65534
Group #65534
Protocols {protocols} http/1.1
Redirect 204 /
"""

_APACHE_TLS = """
LoadModule ssl_module {modules}/mod_ssl.so
SSLEngine on
SSLCertificateFile {certificate}
SSLCertificateKeyFile {key}
"""

_NGINX_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} {listen};
        {tls}
        location / {{ {location} }}
    }}
}}
"""

_NODE_SCRIPT = """
const [port, certificate, key] = process.argv.slice(1);
const http2 = require("node:http2"), fs = require("node:fs");
const answer = (request, response) => {
    let isSlow = false;
    request.on("data", (data) => { isSlow ||= data.includes('"slow"'); }).on("end", () => {
        if (isSlow) { return; }
        response.writeHead(201, {"Content-Type": "application/json"});
        response.end('{"ok": true}');
    });
};
const server = certificate
    ? http2.createSecureServer({cert: fs.readFileSync(certificate), key: fs.readFileSync(key)}, answer)
    : http2.createServer(answer);
server.listen(Number(port), "127.0.0.1");
"""


@contextlib.contextmanager
def nghttpd(folder: Path, files: CertificateFiles | None) -> Iterator[int]:
    """nghttp2's own server; it answers with a file."""
    program, port = installed("nghttpd", package="nghttp2-server"), unused_port()
    pages = folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_text('{"ok": true}')
    options = ["--htdocs", str(pages), "--address", "127.0.0.1"]
    tls = ["--no-tls", str(port)] if files is None else [str(port), str(files.key), str(files.certificate)]
    with running([program, *options, *tls], folder / "log", listens_at(port)):
        yield port


@contextlib.contextmanager
def nginx(folder: Path, files: CertificateFiles | None, *, upstream: str = "") -> Iterator[int]:
    """As it is when nothing is set: a connection ends after 1,000 requests.

    `upstream` is the URL of a server that answers instead.
    """
    program, port = installed("nginx", package="nginx-light"), unused_port()
    tls = "" if files is None else f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"
    listen = "http2" if files is None else "ssl http2"
    location = f"proxy_pass {upstream};" if upstream else """return 201 '{"ok": true}';"""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX_CONFIGURATION.format(folder=folder, port=port, listen=listen, tls=tls, location=location)
    )
    command = [program, "-p", str(folder), "-e", str(folder / "log"), "-c", str(configuration)]
    with running(command, folder / "log", listens_at(port)):
        yield port


@contextlib.contextmanager
def apache(folder: Path, files: CertificateFiles | None) -> Iterator[int]:
    """Apache httpd with mod_http2."""
    program, port = installed("apache2", package="apache2"), unused_port()
    modules = "/usr/lib/apache2/modules"
    tls, protocols = "", "h2c"
    if files is not None:
        tls = _APACHE_TLS.format(modules=modules, certificate=files.certificate, key=files.key)
        protocols = "h2"
    configuration = folder / "apache.conf"
    configuration.write_text(
        _APACHE_CONFIGURATION.format(folder=folder, port=port, modules=modules, tls=tls, protocols=protocols)
    )
    with running([program, "-f", str(configuration), "-D", "FOREGROUND"], folder / "log", listens_at(port)):
        yield port


@contextlib.contextmanager
def hypercorn(folder: Path, files: CertificateFiles | None, *, is_limited: bool = False) -> Iterator[int]:
    """hypercorn, which builds on h2.

    `is_limited`: with the 1,001st request on a connection it says that this is the last, and then answers
    nothing that is open.  So it does when nothing is set; but then it closes the connection only after 5 s.
    """
    port = unused_port()
    tls = [] if files is None else ["--certfile", str(files.certificate), "--keyfile", str(files.key)]
    configuration = folder / "hypercorn.toml"
    configuration.write_text(
        "keep_alive_timeout = 0.2" if is_limited else "keep_alive_max_requests = 1_000_000"
    )
    command = ["hypercorn", "counting_app:app", "--bind", f"127.0.0.1:{port}", *tls]
    command += ["--config", str(configuration)]
    with running([sys.executable, "-m", *command], folder / "log", listens_at(port)):
        yield port


@contextlib.contextmanager
def granian(folder: Path, files: CertificateFiles | None) -> Iterator[int]:
    """granian, which builds on hyper."""
    port = unused_port()
    command = ["granian", "counting_app:app", "--interface", "asginl", "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    if files is not None:
        command += ["--ssl-certificate", str(files.certificate)]
        command += ["--ssl-keyfile", str(_as_pkcs8(files.key, folder))]
    with running([sys.executable, "-m", *command], folder / "log", listens_at(port)):
        yield port


@contextlib.contextmanager
def node(folder: Path, files: CertificateFiles | None) -> Iterator[int]:
    """Node's http2 server, as it is when nothing is set.  A body that holds `"slow"` is never answered."""
    program, port = installed("node", package="nodejs"), unused_port()
    tls = [] if files is None else [str(files.certificate), str(files.key)]
    with running([program, "-e", _NODE_SCRIPT, str(port), *tls], folder / "log", listens_at(port)):
        yield port


def _as_pkcs8(key: Path, folder: Path) -> Path:
    """The only form in which granian takes a key."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    path = folder / "key-pkcs8.pem"
    path.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path
