"""Certificates for practising: an authority of one's own, and what it signs, made on the spot.

By the `openssl` program, so that nothing has to be installed for it with this package.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from livepost.errors import ConfigurationError

DAYS_VALID = 30
_PATIENCE_SECONDS = 30.0
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_ANY_ADDRESS = ("", "0.0.0.0", "::")
_GIVE_YOUR_OWN = "give a certificate of your own with --tls-cert and --tls-key"

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternatives}
"""


@dataclass(frozen=True, slots=True)
class PracticeCertificate:
    """PEM files, readable by their owner only."""

    ca_file: Path
    """Whoever trusts it trusts the server."""
    certificate: Path
    key: Path


@contextlib.contextmanager
def practice_certificate(host: str = "localhost") -> Iterator[PracticeCertificate]:
    """A certificate for this machine's names and `host`, in a directory that is removed at the end.

    The authority's key is destroyed as soon as it has signed, so nobody can sign with it later.
    Raises ConfigurationError if the openssl program is missing or fails.
    """
    names = _LOCAL_NAMES if host in (*_LOCAL_NAMES, *_ANY_ADDRESS) else (*_LOCAL_NAMES, host)
    with tempfile.TemporaryDirectory(prefix="livepost-serve-") as folder:
        yield _make(Path(folder), names)


def server_context(certificate: str, key: str | None, *, http2: bool = False) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 for a server, sessions resumed by tickets, and HTTP/2 by ALPN if asked for.

    Raises ConfigurationError for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except OSError as error:
        given = certificate if key is None else f"{certificate} with --tls-key {key}"
        reason = getattr(error, "reason", None) or error.strerror or "it is not PEM"
        raise ConfigurationError(
            f"--tls-cert {given} cannot be used: {str(reason).replace('_', ' ').lower()}",
            "give PEM files: the certificate, and the key that belongs to it",
        ) from None
    return context


def _refuse_password() -> str:
    raise ConfigurationError(
        "the key of --tls-cert is encrypted",
        "decrypt it into a file only you can read: openssl pkey -in KEY -out PLAINKEY",
    )


def _make(folder: Path, names: Sequence[str]) -> PracticeCertificate:
    made = PracticeCertificate(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    ca_key, request, serial = (
        folder / "ca.key",
        folder / "request.pem",
        str(int.from_bytes(os.urandom(8), "big")),
    )
    authority, server = folder / "authority.cnf", folder / "server.cnf"
    alternatives = ", ".join(_alternative(name) for name in names)
    for config, name in ((authority, "livepost practice authority"), (server, "localhost")):
        config.write_text(_CONFIG.format(name=name, alternatives=alternatives), "utf-8")
    for key in (ca_key, made.key):
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    days = ("-sha256", "-days", str(DAYS_VALID))
    _openssl(
        "req",
        "-new",
        "-x509",
        "-config",
        authority,
        "-extensions",
        "authority",
        *days,
        "-key",
        ca_key,
        "-out",
        made.ca_file,
    )
    _openssl("req", "-new", "-config", server, "-sha256", "-key", made.key, "-out", request)
    _openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        made.ca_file,
        "-CAkey",
        ca_key,
        "-set_serial",
        serial,
        *days,
        "-extfile",
        server,
        "-extensions",
        "server",
        "-out",
        made.certificate,
    )
    for path in (ca_key, request, authority, server):
        path.unlink()
    return made


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            umask=0o077,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigurationError(
            "--tls makes a certificate with the openssl program, which is not installed",
            f"install openssl, or {_GIVE_YOUR_OWN}",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"openssl does not work: {error}", _GIVE_YOUR_OWN) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise ConfigurationError(f"openssl {arguments[0]} failed: {said[-1]}", _GIVE_YOUR_OWN)
