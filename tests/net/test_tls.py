from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization
from scripted_peer import Script, ScriptedPeer, read_request

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, RouteOptions, Timeouts, TlsOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.events import HttpVersion
from livepost.net import tls as tls_module
from livepost.net.dial import Dialed, Dialer
from livepost.net.tls import handshake, make_context
from livepost.target import parse_target

Loop = asyncio.AbstractEventLoop

HTTP_1_1 = (HttpVersion.HTTP_1_1,)
BOTH = (HttpVersion.HTTP_2, HttpVersion.HTTP_1_1)
ISSUER = f"trustme v{version('trustme')}"


async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Say nothing until the client leaves."""
    await reader.read()


def make_dialer(port: int, host: str, tls: TlsOptions, **limits: float) -> Dialer:
    options = DeliveryOptions(
        target=parse_target(f"https://{host}:{port}/"),
        tls=tls,
        timeouts=Timeouts(**limits),
        route=RouteOptions(resolve=(f"{host}:{port}:127.0.0.1",)),
    )
    return Dialer(options, None, monotonic)


def dial(
    loop: Loop,
    context: ssl.SSLContext | None,
    tls: TlsOptions,
    *,
    host: str = "localhost",
    script: Script = wait,
    connections: int,
    then: Callable[[Dialed, Dialer], Awaitable[None]] | None = None,
    **limits: float,
) -> DialError | None:
    """Dial a server, which must see so many connections, and return the error, or None."""

    async def main() -> DialError | None:
        async with ScriptedPeer(script, ssl_context=context) as peer:
            dialer = make_dialer(peer.port, host, tls, **limits)
            error = None
            try:
                dialed = await dialer.dial()
            except DialError as caught:
                error = caught
            else:
                try:
                    assert isinstance(dialed.socket, ssl.SSLSocket)
                    if then is not None:
                        await then(dialed, dialer)
                finally:
                    dialed.socket.close()
            assert peer.connections == connections
        return error

    return loop.run_until_complete(main())


def dial_failure(loop: Loop, dialer: Dialer) -> tuple[type[DialError], str, str]:
    with pytest.raises(DialError) as caught:
        loop.run_until_complete(dialer.dial())
    return explained(caught.value)


def explained(error: DialError) -> tuple[type[DialError], str, str]:
    """Class, message and hint of an error; the end of a valid certificate's time is of trustme's choice."""
    message = re.sub(r"Jan  1 00:00:00 (?!2020)[0-9]{4} GMT", "LATER", str(error))
    return type(error), message, error.hint


class BlockingServer:
    """Serves one connection after the other in a thread.

    Unlike asyncio's, its TLS says what it does not like before it closes.
    """

    def __init__(self, serve: Callable[[socket.socket, int], object]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serve = serve
        self._thread = threading.Thread(target=self._run)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> BlockingServer:
        self._thread.start()
        return self

    def __exit__(self, *how: object) -> None:
        # Wakes the thread, unlike closing.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        for number in itertools.count(1):
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(5.0)
            with sock, contextlib.suppress(OSError):
                self._serve(sock, number)


def failure_with_tls(
    loop: Loop, context: ssl.SSLContext, tls: TlsOptions
) -> tuple[type[DialError], str, str]:
    def serve(sock: socket.socket, number: int) -> None:
        with context.wrap_socket(sock, server_side=True):
            pass

    with BlockingServer(serve) as server:
        return dial_failure(loop, make_dialer(server.port, "localhost", tls))


def failure(
    loop: Loop,
    context: ssl.SSLContext | None,
    tls: TlsOptions | None = None,
    *,
    host: str = "localhost",
    script: Script = wait,
    connections: int = 1,
    **limits: float,
) -> tuple[type[DialError], str, str]:
    error = dial(
        loop,
        context,
        tls or TlsOptions(),
        host=host,
        script=script,
        connections=connections,
        then=None,
        **limits,
    )
    assert error is not None
    return explained(error)


def test_an_authority_that_nobody_knows(loop: Loop, authority: Authority) -> None:
    """The default: it really refuses.  Two more connections find out whom the certificate is for."""
    context = authority.server_context("localhost", "api.test")
    assert failure(loop, context, connections=3) == (
        PermanentDialError,
        (
            "the certificate of localhost cannot be trusted: unable to get local issuer certificate "
            f"(it is for localhost, api.test; issued by {ISSUER}; valid until LATER)"
        ),
        "if you know the authority that issued it, give its certificate with --cacert FILE",
    )


def test_another_authority_than_the_given_one(loop: Loop, authority: Authority, stranger: Authority) -> None:
    tls = TlsOptions(cacert=str(stranger.ca_file))
    _, message, hint = failure(loop, authority.server_context("localhost"), tls, connections=3)
    assert message.startswith("the certificate of localhost cannot be trusted: ")
    assert message.endswith(f" (it is for localhost; issued by {ISSUER}; valid until LATER)")
    assert hint == f"{stranger.ca_file} does not hold the authority that issued it"


def test_the_given_authority(loop: Loop, authority: Authority) -> None:
    seen = []

    async def then(dialed: Dialed, dialer: Dialer) -> None:
        seen.append((dialed.address.rpartition(":")[0], dialed.tls_version, dialed.tls_resumed))

    tls = TlsOptions(cacert=str(authority.ca_file))
    assert dial(loop, authority.server_context(), tls, connections=1, then=then) is None
    assert seen == [("127.0.0.1", "TLSv1.3", False)]


def test_the_authorities_of_the_environment(
    loop: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert dial(loop, authority.server_context(), TlsOptions(), connections=1) is None


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("host", ["localhost", "elsewhere.test"])
def test_without_verification_anything_goes(
    loop: Loop, authority: Authority, expired: bool, host: str
) -> None:
    context = authority.server_context(expired=expired)
    assert dial(loop, context, TlsOptions(insecure=True), host=host, connections=1) is None


def test_another_host_name(loop: Loop, authority: Authority) -> None:
    tls = TlsOptions(cacert=str(authority.ca_file))
    context = authority.server_context("a.test", "b.test", "c.test", "d.test")
    assert failure(loop, context, tls, host="api.test", connections=3) == (
        PermanentDialError,
        (
            "the certificate of api.test cannot be trusted: Hostname mismatch, certificate is not valid for "
            f"'api.test' (it is for a.test, b.test, c.test; issued by {ISSUER}; valid until LATER)"
        ),
        "use the name in the certificate (with --resolve if it must go to this address)",
    )


def test_another_address(loop: Loop, authority: Authority) -> None:
    tls = TlsOptions(cacert=str(authority.ca_file))
    context = authority.server_context("192.0.2.1")
    assert failure(loop, context, tls, host="127.0.0.1", connections=3) == (
        PermanentDialError,
        (
            "the certificate of 127.0.0.1 cannot be trusted: IP address mismatch, certificate is not valid "
            f"for '127.0.0.1' (it is for 192.0.2.1; issued by {ISSUER}; valid until LATER)"
        ),
        "use the name in the certificate (with --resolve if it must go to this address)",
    )


def test_expired(loop: Loop, authority: Authority) -> None:
    tls = TlsOptions(cacert=str(authority.ca_file))
    context = authority.server_context("localhost", expired=True)
    assert failure(loop, context, tls, connections=3) == (
        PermanentDialError,
        (
            "the certificate of localhost cannot be trusted: certificate has expired "
            f"(it is for localhost; issued by {ISSUER}; valid until Jan  1 00:00:00 2020 GMT)"
        ),
        "check this machine's clock, or have the server's certificate renewed",
    )


def test_a_certificate_that_cannot_be_looked_at_again(
    loop: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not take the second handshake; the error does not wait for it for ever."""
    monkeypatch.setattr(tls_module, "_DESCRIBE_SECONDS", 0.05)
    context = authority.server_context("localhost")
    left = []

    def serve(sock: socket.socket, number: int) -> None:
        if number == 1:
            context.wrap_socket(sock, server_side=True)
        else:
            while sock.recv(1000):
                pass
            left.append(number)

    with BlockingServer(serve) as server:
        dialer = make_dialer(server.port, "localhost", TlsOptions())
        assert dial_failure(loop, dialer) == (
            PermanentDialError,
            "the certificate of localhost cannot be trusted: unable to get local issuer certificate",
            "if you know the authority that issued it, give its certificate with --cacert FILE",
        )
    # It was the client that did not wait any longer.
    assert left == [2]


@pytest.fixture
def client_certificate(authority: Authority) -> TlsOptions:
    files = authority.issue_files("client.test")
    return TlsOptions(cacert=str(authority.ca_file), cert=str(files.certificate), key=str(files.key))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate(
    loop: Loop, authority: Authority, client_certificate: TlsOptions, version: ssl.TLSVersion
) -> None:
    context = authority.server_context(asks_client=True)
    context.maximum_version = version
    names = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        names.append(certificate["subjectAltName"])
        writer.write(b"welcome")
        await reader.read()

    async def then(dialed: Dialed, dialer: Dialer) -> None:
        # What is sent shows that the server is content.
        data = b""
        while not data:
            await asyncio.sleep(0)
            try:
                data = dialed.socket.recv(100)
            except ssl.SSLWantReadError:
                continue
        assert data == b"welcome"

    assert dial(loop, context, client_certificate, script=script, connections=1, then=then) is None
    assert names == [(("DNS", "client.test"),)]


def test_a_client_certificate_is_missing(loop: Loop, authority: Authority) -> None:
    """TLS 1.2; in TLS 1.3 the client learns of it later (see the connection)."""
    context = authority.server_context(asks_client=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert failure_with_tls(loop, context, TlsOptions(cacert=str(authority.ca_file))) == (
        DialError,
        "the TLS handshake with localhost failed: sslv3 alert handshake failure",
        "if it wants a client certificate, give --cert and --key",
    )


def test_a_client_certificate_of_another_authority(
    loop: Loop, authority: Authority, stranger: Authority
) -> None:
    context = authority.server_context(asks_client=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    files = stranger.issue_files()
    tls = TlsOptions(cacert=str(authority.ca_file), cert=str(files.certificate), key=str(files.key))
    assert failure_with_tls(loop, context, tls) == (
        PermanentDialError,
        "localhost refused our client certificate (tlsv1 alert unknown ca)",
        "give another with --cert and --key",
    )


@pytest.mark.parametrize("code", ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"])
def test_how_a_missing_certificate_is_told(loop: Loop, code: str) -> None:
    async def connect() -> socket.socket:
        raise AssertionError

    error = ssl.SSLError(1, f"[SSL: {code}] in words")
    error.reason = code
    answer = loop.run_until_complete(tls_module.explain(error, "api.test", TlsOptions(), connect))
    words = code.replace("_", " ").lower()
    assert explained(answer) == (
        PermanentDialError,
        f"api.test wants a client certificate ({words})",
        "give --cert and --key",
    )


NO_TLS = (
    PermanentDialError,
    "localhost does not speak TLS on this port",
    "is the URL http:// instead of https://?",
)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_a_server_without_tls(loop: Loop, greeting: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read(10)
        writer.write(greeting)
        await reader.read()

    assert failure(loop, None, script=script) == NO_TLS


def test_how_newer_openssl_tells_of_a_server_without_tls(loop: Loop) -> None:
    async def connect() -> socket.socket:
        raise AssertionError

    error = ssl.SSLError(1, "[SSL: RECORD_LAYER_FAILURE] record layer failure")
    error.reason = "RECORD_LAYER_FAILURE"
    answer = loop.run_until_complete(tls_module.explain(error, "localhost", TlsOptions(), connect))
    assert explained(answer) == NO_TLS


def test_a_server_that_closes_in_the_handshake(loop: Loop) -> None:
    async def close_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read(10_000)

    async def reset_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        # Unread bytes make it a reset.
        await reader.read(1)
        writer.transport.abort()

    for script in (close_it, reset_it):
        assert failure(loop, None, script=script) == (
            DialError,
            "localhost closed the connection during the TLS handshake",
            "",
        )


def test_a_handshake_that_takes_too_long(loop: Loop) -> None:
    assert failure(loop, None, tls_handshake_timeout=0.05) == (
        DialError,
        "the TLS handshake with localhost took longer than 0.05 s",
        "is something other than a TLS server listening there? allow more with --tls-handshake-timeout",
    )


def test_no_version_in_common(loop: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    server = authority.server_context()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = make_context(TlsOptions(cacert=str(authority.ca_file)), HTTP_1_1)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    monkeypatch.setattr(tls_module, "make_context", lambda options, versions: client)
    assert failure_with_tls(loop, server, TlsOptions()) == (
        DialError,
        "the TLS handshake with localhost failed: tlsv1 alert protocol version",
        "",
    )


@pytest.mark.parametrize(
    ("offered", "spoken", "expected"),
    [
        (BOTH, ["h2", "http/1.1"], "h2"),
        (BOTH, ["http/1.1", "h2"], "http/1.1"),
        (BOTH, ["http/1.1"], "http/1.1"),
        (BOTH, [], None),
        (HTTP_1_1, ["h2", "http/1.1"], "http/1.1"),
    ],
)
def test_what_is_offered_by_alpn(
    loop: Loop,
    authority: Authority,
    offered: tuple[HttpVersion, ...],
    spoken: list[str],
    expected: str | None,
) -> None:
    server = authority.server_context()
    if spoken:
        server.set_alpn_protocols(spoken)

    async def main() -> None:
        async with ScriptedPeer(wait, ssl_context=server) as peer:
            context = make_context(TlsOptions(cacert=str(authority.ca_file)), offered)
            sock = socket.create_connection((peer.host, peer.port))
            sock.setblocking(False)
            with await handshake(sock, context, "localhost") as secure:
                assert secure.selected_alpn_protocol() == expected

    loop.run_until_complete(main())


def test_a_session_can_be_resumed(loop: Loop, authority: Authority) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"hello")

    async def once(
        peer: ScriptedPeer, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> tuple[bool | None, ssl.SSLSession | None]:
        sock = socket.create_connection((peer.host, peer.port))
        sock.setblocking(False)
        with await handshake(sock, context, "localhost", session) as secure:
            secure.send(b"GET / HTTP/1.1\r\n\r\n")
            data = b""
            while not data:
                await asyncio.sleep(0)
                try:
                    data = secure.recv(100)
                except ssl.SSLWantReadError:
                    continue
            return secure.session_reused, secure.session

    async def main() -> None:
        async with ScriptedPeer(script, ssl_context=authority.server_context()) as peer:
            context = make_context(TlsOptions(cacert=str(authority.ca_file)), HTTP_1_1)
            reused, session = await once(peer, context, None)
            assert reused is False
            reused, _ = await once(peer, context, session)
            assert reused is True

    loop.run_until_complete(main())


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_dial_resumes_the_session_of_a_connection_that_has_answered(
    loop: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """A session that a server takes offence at costs a handshake, and neither the dial nor the next one."""
    offered = []

    async def wary_handshake(
        raw: socket.socket, context: ssl.SSLContext, hostname: str, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        offered.append(session is not None)
        if is_refused and session is not None:
            raw.close()
            raise ssl.SSLError(1, "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE]")
        return await handshake(raw, context, hostname, session)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(b"hello")

    async def once(dialer: Dialer) -> bool:
        dialed = await dialer.dial()
        sock = dialed.socket
        assert isinstance(sock, ssl.SSLSocket)
        with sock:
            sock.send(b"GET / HTTP/1.1\r\n\r\n")
            while True:
                await asyncio.sleep(0)
                with contextlib.suppress(ssl.SSLWantReadError):
                    assert sock.recv(100) == b"hello"
                    break
            dialer.keep_session(sock)
        return dialed.tls_resumed

    async def main() -> None:
        monkeypatch.setattr(tls_module, "handshake", wary_handshake)
        async with ScriptedPeer(script, ssl_context=authority.server_context()) as peer:
            dialer = make_dialer(peer.port, "localhost", TlsOptions(cacert=str(authority.ca_file)))
            assert [await once(dialer) for _ in range(2)] == [False, not is_refused]
            assert offered == ([False, True, False] if is_refused else [False, True])
            assert peer.connections == len(offered)
            # Of another context.
            dialer.speak_http_1_1()
            assert await once(dialer) is False

    loop.run_until_complete(main())


def test_the_default_context_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    context = make_context(TlsOptions(), HTTP_1_1)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_given_authority_is_the_only_one(authority: Authority) -> None:
    context = make_context(TlsOptions(cacert=str(authority.ca_file)), HTTP_1_1)
    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_the_keys_are_logged_where_the_environment_says(
    loop: Loop, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    tls = TlsOptions(cacert=str(authority.ca_file))
    assert dial(loop, authority.server_context(), tls, connections=1) is None
    labels = {line.split()[0] for line in log.read_text().splitlines() if not line.startswith("#")}
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= labels


def refusal(tls: TlsOptions) -> tuple[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        make_context(tls, HTTP_1_1)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize("with_authority", [True, False])
def test_the_keys_cannot_be_logged(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_authority: bool
) -> None:
    log = tmp_path / "nowhere" / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert refusal(TlsOptions(cacert=str(authority.ca_file) if with_authority else None)) == (
        f"{log}, named by SSLKEYLOGFILE, cannot be written: No such file or directory",
        "name another file, or unset SSLKEYLOGFILE",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "no certificate or crl found"),
        (b"hello\n", "no certificate or crl found"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None),
    ],
)
def test_an_authority_that_cannot_be_used(tmp_path: Path, content: bytes | None, reason: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    message, hint = refusal(TlsOptions(cacert=str(path)))
    assert message.startswith(f"--cacert {path} cannot be used: {reason or ''}")
    assert "\n" not in message
    assert hint == "give a PEM file with one or more certificates of authorities"


PEM_HINT = "give PEM files: the certificate, and the key that belongs to it"


def test_a_key_without_a_certificate(tmp_path: Path) -> None:
    assert refusal(TlsOptions(key=str(tmp_path / "key.pem"))) == (
        "--key is given without --cert",
        "give the certificate as well",
    )


def test_a_key_that_does_not_belong_to_the_certificate(authority: Authority) -> None:
    one, other = authority.issue_files(), authority.issue_files()
    assert refusal(TlsOptions(cert=str(one.certificate), key=str(other.key))) == (
        f"--cert {one.certificate} with --key {other.key} cannot be used: key values mismatch",
        PEM_HINT,
    )


def test_a_client_certificate_that_is_not_there(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_files()
    missing = tmp_path / "missing.pem"
    assert refusal(TlsOptions(cert=str(missing), key=str(files.key))) == (
        f"--cert {missing} with --key {files.key} cannot be used: No such file or directory",
        PEM_HINT,
    )
    assert refusal(TlsOptions(cert=str(files.certificate), key=str(missing))) == (
        f"--cert {files.certificate} with --key {missing} cannot be used: No such file or directory",
        PEM_HINT,
    )


def test_a_client_certificate_without_a_key(authority: Authority) -> None:
    files = authority.issue_files()
    assert refusal(TlsOptions(cert=str(files.certificate))) == (
        f"--cert {files.certificate} cannot be used: the file is not PEM, or lacks a part",
        PEM_HINT,
    )


def test_certificate_and_key_in_one_file(loop: Loop, authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_files()
    both = tmp_path / "both.pem"
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    make_context(TlsOptions(cert=str(both)), HTTP_1_1)


def test_an_encrypted_key(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_files()
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert refusal(TlsOptions(cert=str(files.certificate), key=str(encrypted))) == (
        f"the private key in {encrypted} is encrypted",
        "decrypt it into a file only you can read: openssl pkey -in KEY -out PLAINKEY",
    )
