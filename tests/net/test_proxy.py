from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
from certificates import Authority
from hypothesis import given
from hypothesis import strategies as st
from net_fakes import descriptors
from scripted_peer import Script, ScriptedPeer, reset

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, Timeouts, TlsOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.net.dial import Dialer
from livepost.net.proxy import choose_proxy
from livepost.target import Target, parse_target

Loop = asyncio.AbstractEventLoop

HTTP = parse_target("http://api.example.test/records")
HTTPS = parse_target("https://api.example.test/records")
CGI = {"REQUEST_METHOD": "POST", "HTTP_PROXY": "evil.test"}


def chosen(target: Target, given: str | None = None, **environment: str) -> str | None:
    proxy = choose_proxy(target, given, environment)
    return None if proxy is None else f"{proxy.scheme}://{proxy.host_and_port}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128"),
        ("http://proxy.test:3128/", "http://proxy.test:3128"),
        ("proxy.test:3128", "http://proxy.test:3128"),
        ("proxy.test", "http://proxy.test:80"),
        ("user:secret@proxy.test:3128", "http://proxy.test:3128"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("", None),
    ],
)
@pytest.mark.parametrize("target", [HTTP, HTTPS])
def test_a_given_proxy_comes_before_the_environment(target: Target, given: str, expected: str | None) -> None:
    environment = {"http_proxy": "http://other.test", "https_proxy": "http://other.test", "no_proxy": "*"}
    assert chosen(target, given, **environment) == expected


def test_no_proxy_without_a_word_of_one() -> None:
    assert chosen(HTTP) is None
    assert chosen(HTTPS) is None


def test_the_environment_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert choose_proxy(HTTP, None) is None
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    proxy = choose_proxy(HTTP, None)
    assert proxy is not None
    assert proxy.host_and_port == "proxy.test:3128"


@pytest.mark.parametrize(
    ("target", "environment", "expected"),
    [
        (HTTP, {"http_proxy": "lower.test"}, "lower.test"),
        (HTTP, {"HTTP_PROXY": "upper.test"}, "upper.test"),
        (HTTP, {"http_proxy": "lower.test", "HTTP_PROXY": "upper.test"}, "lower.test"),
        (HTTP, {"http_proxy": "", "HTTP_PROXY": "upper.test"}, "upper.test"),
        (HTTP, {"https_proxy": "lower.test"}, None),
        (HTTPS, {"https_proxy": "lower.test"}, "lower.test"),
        (HTTPS, {"HTTPS_PROXY": "upper.test"}, "upper.test"),
        (HTTPS, {"http_proxy": "lower.test"}, None),
        (HTTP, {"all_proxy": "all.test"}, "all.test"),
        (HTTPS, {"ALL_PROXY": "all.test"}, "all.test"),
        (HTTPS, {"all_proxy": "all.test", "https_proxy": "lower.test"}, "lower.test"),
        # The variables of a CGI program are a stranger's; the lower case one is not among them.
        (HTTP, CGI, None),
        (HTTP, {**CGI, "http_proxy": "lower.test"}, "lower.test"),
        (HTTP, {**CGI, "ALL_PROXY": "all.test"}, "all.test"),
        (HTTPS, {"REQUEST_METHOD": "POST", "HTTPS_PROXY": "upper.test"}, "upper.test"),
    ],
)
def test_the_proxy_of_the_environment(
    target: Target, environment: dict[str, str], expected: str | None
) -> None:
    assert chosen(target, **environment) == (expected and f"http://{expected}:80")


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_exempt"),
    [
        ("http://api.example.test/", "", False),
        ("http://api.example.test/", "*", True),
        ("http://api.example.test/", "api.example.test", True),
        ("http://api.example.test/", "API.Example.Test", True),
        ("http://api.example.test/", "example.test", True),
        ("http://api.example.test/", ".example.test", True),
        ("http://api.example.test/", "ample.test", False),
        ("http://example.test/", ".example.test", True),
        ("http://api.example.test/", "www.example.test", False),
        ("http://example.test/", "api.example.test", False),
        ("http://api.example.test/", "localhost, example.test", True),
        ("http://api.example.test/", "localhost example.test", True),
        ("http://api.example.test/", "localhost,,other.test", False),
        ("http://api.example.test/", ",", False),
        ("http://api.example.test/", ".", False),
        ("http://api.example.test/", ":80", False),
        ("http://api.example.test/", "example.test:80", True),
        ("https://api.example.test/", "example.test:80", False),
        ("http://api.example.test:8080/", "example.test:80", False),
        ("http://api.example.test:8080/", "example.test:8080", True),
        ("http://127.0.0.1/", "127.0.0.1", True),
        ("http://127.0.0.1/", "0.0.1", False),
        ("http://[::1]/", "::1", True),
        ("http://[::1]/", "[::1]", True),
        ("http://[::1]:8080/", "[::1]:8080", True),
        ("http://[::1]:8080/", "[::1]:80", False),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        ("http://api.example.test/", "10.0.0.0/8", False),
        ("http://api.example.test./", "example.test", True),
        ("http://api.example.test/", "example.test.", True),
        ("http://bücher.test/", "Bücher.test", True),
        ("http://xn--bcher-kva.test/", ".bücher.test:80", True),
        ("http://[fe80::1%25eth0]/", "fe80::/10", True),
    ],
)
def test_who_is_exempt(url: str, no_proxy: str, is_exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        environment = {"all_proxy": "proxy.test", name: no_proxy}
        assert chosen(parse_target(url), **environment) == (None if is_exempt else "http://proxy.test:80")


@given(st.text(max_size=30))
def test_no_proxy_may_hold_anything(no_proxy: str) -> None:
    assert chosen(HTTP, all_proxy="proxy.test", no_proxy=no_proxy) in (None, "http://proxy.test:80")


@pytest.mark.parametrize("scheme", ["https", "socks5", "user:secret@proxy"])
@pytest.mark.parametrize("is_given", [True, False])
def test_other_kinds_of_proxies_are_refused(scheme: str, is_given: bool) -> None:
    proxy = f"{scheme}://user:secret@proxy.test:1080"
    with pytest.raises(ConfigurationError) as caught:
        choose_proxy(HTTP, proxy if is_given else None, {"http_proxy": proxy})
    assert str(caught.value) == "the proxy URL is not an http:// URL"
    assert caught.value.hint == "TLS and SOCKS to the proxy itself are not supported"


def test_the_scheme_of_a_proxy_in_capitals() -> None:
    assert chosen(HTTP, "HTTP://proxy.test:3128") == "http://proxy.test:3128"


@pytest.mark.parametrize(
    "proxy", ["http://user:secret@:1", "http://user:secret@proxy.test:port", "user:secret@ x"]
)
def test_errors_do_not_show_the_password(proxy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        chosen(HTTP, proxy)
    assert "secret" not in str(caught.value) + caught.value.hint


def answering(
    answer: bytes, requests: list[bytes], *, then: Callable[[asyncio.StreamWriter], None] | None = None
) -> Script:
    """A proxy that reads one request head and answers so; then waits, or does `then`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        for byte in range(0, len(answer), 5000):
            writer.write(answer[byte : byte + 5000])
            await asyncio.sleep(0)
        if then is None:
            await reader.read()
        else:
            then(writer)

    return script


def make_dialer(
    proxy: ScriptedPeer, url: str, tls: TlsOptions | None = None, *, connect_timeout: float = 10.0
) -> Dialer:
    options = DeliveryOptions(
        target=parse_target(url),
        tls=tls or TlsOptions(),
        timeouts=Timeouts(connect_timeout=connect_timeout),
    )
    return Dialer(
        options, parse_target(f"http://user:secret@{proxy.host}:{proxy.port}", "proxy URL"), monotonic
    )


def refusal(
    loop: Loop,
    answer: bytes,
    *,
    then: Callable[[asyncio.StreamWriter], None] | None = None,
    connect_timeout: float = 10.0,
) -> tuple[type[DialError], str, str]:
    """How a proxy's answer is told, with PROXY for its host and port."""

    async def main() -> tuple[type[DialError], str, str]:
        requests: list[bytes] = []
        async with ScriptedPeer(answering(answer, requests, then=then)) as proxy:
            dialer = make_dialer(proxy, "https://api.example.test/", connect_timeout=connect_timeout)
            before = descriptors()
            with pytest.raises(DialError) as caught:
                await dialer.dial()
            # The proxy's end of the connection may still be open.
            assert len(descriptors()) <= len(before) + 1
            assert len(requests) == proxy.connections == 1
            error = caught.value
            message = str(error).replace(f"{proxy.host}:{proxy.port}", "PROXY")
            assert "secret" not in message + error.hint
            return type(error), message, error.hint

    return loop.run_until_complete(main())


def test_the_proxy_wants_a_password(loop: Loop) -> None:
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
    assert refusal(loop, answer) == (
        PermanentDialError,
        "the proxy PROXY asks for a user and password",
        "give them as --proxy http://USER:PASSWORD@HOST:PORT",
    )


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (b"502 Bad Gateway", "can the proxy itself reach that host and port?"),
        (b"503 No", "can the proxy itself reach that host and port?"),
        (b"403 Forbidden", "does the proxy allow that host and port?"),
        (b"302 Found", "does the proxy allow that host and port?"),
        (b"101 No", "does the proxy allow that host and port?"),
    ],
)
def test_the_proxy_refuses(loop: Loop, status: bytes, hint: str) -> None:
    answer = b"HTTP/1.1 %b\r\nContent-Length: 4\r\n\r\noops" % status
    assert refusal(loop, answer) == (
        DialError,
        f"the proxy PROXY refused a tunnel to api.example.test:443 with status {status[:3].decode()}",
        hint,
    )


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\n" * 3]
)
def test_interim_answers_come_before_the_answer(loop: Loop, interim: bytes) -> None:
    _, refused, _ = refusal(loop, interim + b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert refused == "the proxy PROXY refused a tunnel to api.example.test:443 with status 403"
    opened = interim + b"HTTP/1.1 200 OK\r\n\r\n"
    _, ended_behind_it, _ = refusal(loop, opened, then=lambda writer: writer.close())
    assert ended_behind_it == "api.example.test closed the connection during the TLS handshake"


NOT_A_PROXY = (PermanentDialError, "PROXY does not answer like an HTTP proxy", "check --proxy")


@pytest.mark.parametrize(
    "answer",
    [
        # Seen at once, though nothing more comes.
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"H2",
        b"\x05\x00",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000,
        b"HTTP/1.1 100 Continue\r\n\r\nSSH",
    ],
)
def test_not_a_proxy(loop: Loop, answer: bytes) -> None:
    assert refusal(loop, answer) == NOT_A_PROXY


@pytest.mark.parametrize("answer", [b"", b"H", b"HTTP/1.1 200 OK\r\n"])
def test_the_proxy_closes(loop: Loop, answer: bytes) -> None:
    assert refusal(loop, answer, then=lambda writer: None) == (
        DialError,
        "the proxy PROXY closed the connection instead of opening a tunnel",
        "",
    )


def test_the_proxy_resets(loop: Loop) -> None:
    assert refusal(loop, b"", then=reset) == (
        DialError,
        "the proxy PROXY cannot be reached: Connection reset by peer",
        "check the address and the network",
    )


def test_the_proxy_does_not_answer(loop: Loop) -> None:
    assert refusal(loop, b"HTTP/1.1 2", connect_timeout=0.05) == (
        DialError,
        "the proxy PROXY did not take a connection within 0.05 s",
        "check the address and firewalls, or allow more with --connect-timeout",
    )


def test_the_proxy_says_more_than_it_was_asked(loop: Loop) -> None:
    assert refusal(loop, b"HTTP/1.1 200 OK\r\n\r\nhello") == (
        DialError,
        "the proxy PROXY sent bytes nobody asked for",
        "",
    )


def test_the_proxy_is_not_there(loop: Loop) -> None:
    async def main() -> None:
        async with ScriptedPeer(answering(b"", [])) as proxy:
            dialer = make_dialer(proxy, "https://api.example.test/")
        with pytest.raises(DialError) as caught:
            await dialer.dial()
        assert str(caught.value) == f"the proxy 127.0.0.1:{proxy.port} refused the connection"

    loop.run_until_complete(main())


class RelayingProxy:
    """Opens every tunnel it is asked for to one and the same server."""

    def __init__(self, server: ScriptedPeer) -> None:
        self._server = server
        self.requests: list[bytes] = []

    async def script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        server_reader, server_writer = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            # A length in this answer means nothing (RFC 9110 section 9.3.6).
            writer.write(b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n")
            await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))
        finally:
            server_writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def relay(
    server_context: ssl.SSLContext,
) -> AsyncIterator[tuple[ScriptedPeer, RelayingProxy, asyncio.Queue[bytes]]]:
    """A proxy, and a TLS server behind it that keeps what it reads."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        heard.put_nowait(await reader.readexactly(5))

    async with ScriptedPeer(listen, ssl_context=server_context) as server:
        relaying = RelayingProxy(server)
        async with ScriptedPeer(relaying.script) as proxy:
            yield proxy, relaying, heard


def test_tls_through_a_tunnel(loop: Loop, authority: Authority) -> None:
    async def main() -> None:
        async with relay(authority.server_context("api.example.test")) as (proxy, relaying, heard):
            tls = TlsOptions(cacert=str(authority.ca_file))
            dialed = await make_dialer(proxy, "https://api.example.test/records?key=k", tls).dial()
            with dialed.socket as sock:
                assert dialed.address == f"127.0.0.1:{proxy.port}"
                assert dialed.tls_version == "TLSv1.3"
                sock.send(b"hello")
                assert await heard.get() == b"hello"
            # The proxy's password goes to the proxy alone, and the path does not go to the proxy.
            (request,) = relaying.requests
            assert request == (
                b"CONNECT api.example.test:443 HTTP/1.1\r\n"
                b"Host: api.example.test:443\r\n"
                b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"
                b"\r\n"
            )

    loop.run_until_complete(main())


def test_a_certificate_seen_through_a_tunnel(loop: Loop, authority: Authority) -> None:
    """It is the target's name that counts, and every connection goes through the proxy."""

    async def main() -> None:
        async with relay(authority.server_context("other.test")) as (proxy, relaying, _):
            tls = TlsOptions(cacert=str(authority.ca_file))
            with pytest.raises(PermanentDialError) as caught:
                await make_dialer(proxy, "https://api.example.test/", tls).dial()
            assert str(caught.value).startswith(
                "the certificate of api.example.test cannot be trusted: Hostname mismatch, "
                "certificate is not valid for 'api.example.test' (it is for other.test; "
            )
            assert len(relaying.requests) == 3

    loop.run_until_complete(main())


@pytest.mark.parametrize("url", ["https://[2001:db8::1]/", "https://[2001:db8::1]:443/"])
def test_a_tunnel_to_an_address_of_ipv6(loop: Loop, url: str) -> None:
    async def main() -> None:
        requests: list[bytes] = []
        async with ScriptedPeer(answering(b"HTTP/1.1 502 No\r\n\r\n", requests)) as proxy:
            options = DeliveryOptions(target=parse_target(url))
            dialer = Dialer(options, parse_target(f"http://{proxy.host}:{proxy.port}"), monotonic)
            with pytest.raises(DialError, match=r"refused a tunnel to \[2001:db8::1\]:443"):
                await dialer.dial()
        assert requests == [b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"]

    loop.run_until_complete(main())


def test_http_needs_no_tunnel(loop: Loop) -> None:
    """The request head names the whole URL instead; nothing is said before it."""

    async def main() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            heard.put_nowait(await reader.read(100))

        async with ScriptedPeer(script) as proxy:
            dialed = await make_dialer(proxy, "http://api.example.test/records").dial()
            with dialed.socket as sock:
                assert dialed.address == f"127.0.0.1:{proxy.port}"
                sock.send(b"the first bytes")
                assert await heard.get() == b"the first bytes"

    loop.run_until_complete(main())
