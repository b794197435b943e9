"""TLS: whom to trust, the handshake on a non-blocking socket, and errors a person can act on."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeGuard

from livepost.config import TlsOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.events import HttpVersion

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name: only to describe a certificate.
_NO_CHECK_TIME = 0x200000

_DESCRIBE_SECONDS = 5.0

_UNNAMED = "an unnamed authority"

# How OpenSSL calls an answer in clear text; the last one from version 3.2 on.
_NOT_TLS = frozenset(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"))


def make_context(options: TlsOptions, versions: Sequence[HttpVersion]) -> ssl.SSLContext:
    """A client context: the system's authorities, or only those of `cacert`; TLS 1.2 or later.

    `versions` are offered by ALPN, the best first.
    SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE are honoured.  Raises ConfigurationError for a
    file that cannot be read or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=options.cacert)
    except OSError as error:
        if error.filename is not None and error.filename == os.environ.get("SSLKEYLOGFILE"):
            raise ConfigurationError(
                f"{error.filename}, named by SSLKEYLOGFILE, cannot be written: {_system_reason(error)}",
                "name another file, or unset SSLKEYLOGFILE",
            ) from None
        raise ConfigurationError(
            f"--cacert {options.cacert} cannot be used: {_system_reason(error)}",
            "give a PEM file with one or more certificates of authorities",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([version.value for version in versions])
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.key is not None and options.cert is None:
        raise ConfigurationError("--key is given without --cert", "give the certificate as well")
    if options.cert is not None:
        _load_client_certificate(context, options.cert, options.key)
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    def refuse_password() -> str:
        raise ConfigurationError(
            f"the private key in {key or cert} is encrypted",
            "decrypt it into a file only you can read: openssl pkey -in KEY -out PLAINKEY",
        )

    try:
        context.load_cert_chain(cert, key, password=refuse_password)
    except OSError as error:
        given = cert if key is None else f"{cert} with --key {key}"
        raise ConfigurationError(
            f"--cert {given} cannot be used: {_system_reason(error)}",
            "give PEM files: the certificate, and the key that belongs to it",
        ) from None


async def handshake(
    raw: socket.socket, context: ssl.SSLContext, hostname: str, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Make `raw` a TLS socket; the caller closes it on success, this function on failure.

    Raises ssl.SSLError and OSError as they come; `explain` turns them into DialError.
    """
    loop = asyncio.get_running_loop()
    # suppress_ragged_eofs=False: an end without close_notify is seen as one, it could be forged.
    tls = context.wrap_socket(
        raw,
        server_hostname=hostname,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
        session=session,
    )
    try:
        while True:
            try:
                tls.do_handshake()
                return tls
            except ssl.SSLWantReadError:
                await _ready(tls, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(tls, loop.add_writer, loop.remove_writer)
    except BaseException:
        tls.close()
        raise


async def _ready(
    sock: socket.socket,
    add: Callable[[int, Callable[[], None]], None],
    remove: Callable[[int], bool],
) -> None:
    future = asyncio.get_running_loop().create_future()

    def on_ready() -> None:
        if not future.done():
            future.set_result(None)

    add(sock.fileno(), on_ready)
    try:
        await future
    finally:
        remove(sock.fileno())


async def explain(
    error: OSError, hostname: str, options: TlsOptions, connect: Callable[[], Awaitable[socket.socket]]
) -> DialError:
    """What a failed handshake means.  May connect again to look at the certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return await _explain_certificate(error, hostname, options, connect)
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return DialError(f"{hostname} closed the connection during the TLS handshake", "")
    code = error.reason or "IT_FAILED"
    reason = code.replace("_", " ").lower()
    if code in _NOT_TLS:
        return PermanentDialError(
            f"{hostname} does not speak TLS on this port", "is the URL http:// instead of https://?"
        )
    if refuses_certificate(error):
        return explain_refusal(error, hostname, options)
    # What servers say before TLS 1.3 to a client without a certificate, and to one too old or too new.
    hint = "if it wants a client certificate, give --cert and --key" if "HANDSHAKE_FAILURE" in code else ""
    return DialError(f"the TLS handshake with {hostname} failed: {reason}", hint)


def explain_refusal(error: ssl.SSLError, hostname: str, options: TlsOptions) -> DialError:
    """What it means where the peer `refuses_certificate`."""
    reason = error.reason.replace("_", " ").lower()
    if options.cert is not None:
        what, hint = "refused our client certificate", "give another with --cert and --key"
    else:
        what, hint = "wants a client certificate", "give --cert and --key"
    return PermanentDialError(f"{hostname} {what} ({reason})", hint)


def refuses_certificate(error: OSError) -> TypeGuard[ssl.SSLError]:
    """The peer has said that it wants another client certificate, or one at all (RFC 8446 section 6.2)."""
    code = (isinstance(error, ssl.SSLError) and error.reason) or ""
    return "ALERT" in code and ("CERT" in code or "UNKNOWN_CA" in code)


async def _explain_certificate(
    error: ssl.SSLCertVerificationError,
    hostname: str,
    options: TlsOptions,
    connect: Callable[[], Awaitable[socket.socket]],
) -> DialError:
    shown = await _describe_certificate(hostname, connect)
    message = f"the certificate of {hostname} cannot be trusted: {error.verify_message.rstrip('.')}{shown}"
    # 62, 64: the name or address does not match (X509_V_ERR_HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH).
    if error.verify_code in (62, 64):
        hint = "use the name in the certificate (with --resolve if it must go to this address)"
    # 10: expired; 9: not yet valid.
    elif error.verify_code in (9, 10):
        hint = "check this machine's clock, or have the server's certificate renewed"
    elif options.cacert is not None:
        hint = f"{options.cacert} does not hold the authority that issued it"
    else:
        hint = "if you know the authority that issued it, give its certificate with --cacert FILE"
    return PermanentDialError(message, hint)


async def _describe_certificate(hostname: str, connect: Callable[[], Awaitable[socket.socket]]) -> str:
    """Whom a certificate that was not trusted names, and who issued it; "" when it cannot be had.

    Python decodes only certificates it has verified: so fetch it, then trust just this one.
    """
    try:
        async with asyncio.timeout(_DESCRIBE_SECONDS):
            certificate = await _fetch_certificate(hostname, connect)
    except (OSError, DialError):
        return ""
    if not certificate:
        return ""
    names = names_in(certificate) or (readable_name(certificate.get("subject", ()), _UNNAMED),)
    issuer = readable_name(certificate.get("issuer", ()), _UNNAMED)
    until = certificate.get("notAfter", "?")
    return f" (it is for {', '.join(names[:3])}; issued by {issuer}; valid until {until})"


async def _fetch_certificate(
    hostname: str, connect: Callable[[], Awaitable[socket.socket]]
) -> dict[str, Any] | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with await handshake(await connect(), context, hostname) as tls:
        encoded = tls.getpeercert(binary_form=True)
    if encoded is None:
        return None
    with await handshake(await connect(), trusting_only(encoded), hostname) as tls:
        return tls.getpeercert()


def trusting_only(encoded: bytes) -> ssl.SSLContext:
    """A client context that takes this certificate (DER) for verified, and no other, to have it decoded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=encoded)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The hosts that a decoded certificate is for."""
    alternatives = certificate.get("subjectAltName", ())
    return tuple(str(value) for kind, value in alternatives if kind in ("DNS", "IP Address"))


def readable_name(name: Any, unnamed: str) -> str:
    """The common name, or else the organisation, of a decoded X.509 name (groups of pairs)."""
    parts = {key: value for group in name for key, value in group}
    return str(parts.get("commonName") or parts.get("organizationName") or unnamed)


def _system_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason is None:
            return "the file is not PEM, or lacks a part"
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error)
