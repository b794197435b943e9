"""`livepost send` as a process: the ways to a server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from certificates import Authority
from command import Ended, livepost
from forwarding_proxy import forwarding
from scripted_peer import ScriptedPeer

from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

RECORDS = b"".join(b"%d\n" % number for number in range(1, 21))


def send(to: str, *arguments: object, variables: Mapping[str, str] | None = None) -> Ended:
    return livepost(
        "send", "-", "--to", to, "--connections", 1, *arguments, stdin=RECORDS, variables=variables
    )


def test_without_keep_alive_the_server_counts_a_connection_for_each_record() -> None:
    with PracticeServer().run_in_thread() as server:
        ended = send(f"{server.url}/api", "--no-keepalive", "--json")
    assert ended.code == 0
    assert server.stats.connections == server.stats.requests == 20
    assert ended.summary["connections"]["closed"] == {"keepalive_off": 20}


def test_the_request_is_as_asked_for() -> None:
    seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
    with PracticeServer(on_request=seen.put).run_in_thread() as server:
        to = f"http://us:pw@127.0.0.1:{server.port}/api?a=1"
        ended = send(to, "-XPUT", "-H", "X-One: ü", "-H", "Accept:", "-H", "Host: other.test")
    assert ended.code == 0
    request = seen.get_nowait()
    assert (request.method, request.target) == (b"PUT", b"/api?a=1")
    fields = dict(request.headers)
    assert fields[b"Host"] == b"other.test"
    assert fields[b"X-One"] == "ü".encode()
    assert fields[b"Authorization"] == b"Basic " + base64.b64encode(b"us:pw")
    assert fields[b"Connection"] == b"keep-alive"
    assert b"Accept" not in fields


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
    with PracticeServer(unix_socket=str(path), on_request=seen.put).run_in_thread() as server:
        # No proxy stands between here and there.
        variables = {"http_proxy": "http://127.0.0.1:1"}
        assert send("http://localhost/api", "--unix-socket", path, variables=variables).code == 0
        assert (server.stats.connections, server.stats.requests) == (1, 20)
    assert seen.get_nowait().target == b"/api"


def test_a_name_is_resolved_as_told() -> None:
    seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
    with PracticeServer(on_request=seen.put).run_in_thread() as server:
        where = f"api.test:{server.port}"
        assert send(f"http://{where}/api", "--resolve", f"{where}:127.0.0.1").code == 0
    assert dict(seen.get_nowait().headers)[b"Host"] == where.encode()


def through_proxy(
    server: PracticeServer, *arguments: object, variables: Mapping[str, str] | None = None
) -> tuple[Ended, list[bytes], int]:
    """What came of it, the request lines the proxy saw, and how many connections it had."""
    heads: list[bytes] = []

    async def main() -> tuple[Ended, int]:
        async with ScriptedPeer(forwarding(heads)) as proxy:
            address = f"us:s3cret@127.0.0.1:{proxy.port}"
            filled = [str(argument).replace("PROXY", address) for argument in arguments]
            named = {name: value.replace("PROXY", address) for name, value in (variables or {}).items()}
            ended = await asyncio.to_thread(send, f"{server.url}/api", *filled, variables=named)
            return ended, proxy.connections

    ended, connections = asyncio.run(main())
    authorization = b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"us:s3cret") + b"\r\n"
    assert all(authorization in head for head in heads)
    assert "s3cret" not in ended.out + ended.err
    return ended, [head.partition(b"\r\n")[0] for head in heads], connections


@pytest.mark.parametrize("by_variable", [False, True])
def test_an_http_proxy_is_sent_whole_urls_over_one_connection(by_variable: bool) -> None:
    with PracticeServer().run_in_thread() as server:
        if by_variable:
            ended, lines, connections = through_proxy(server, variables={"http_proxy": "http://PROXY"})
        else:
            ended, lines, connections = through_proxy(server, "-x", "PROXY")
    assert ended.code == 0
    assert lines == [f"POST {server.url}/api HTTP/1.1".encode()] * 20
    assert (connections, server.stats.connections, server.stats.requests) == (1, 1, 20)


def test_https_goes_through_a_tunnel(authority: Authority, server_tls: ssl.SSLContext) -> None:
    seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
    with PracticeServer(ssl_context=server_tls, on_request=seen.put).run_in_thread() as server:
        ended, lines, connections = through_proxy(server, "-x", "http://PROXY", "--cacert", authority.ca_file)
    assert ended.code == 0
    assert lines == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1".encode()]
    assert (connections, server.stats.handshakes, server.stats.requests) == (1, 1, 20)
    request = seen.get_nowait()
    assert request.target == b"/api"
    assert b"Proxy-Authorization" not in dict(request.headers)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["-x", ""], {"http_proxy": "http://PROXY"}),
        ([], {"http_proxy": "http://PROXY", "no_proxy": "127.0.0.1"}),
    ],
)
def test_a_proxy_is_left_aside_where_told(arguments: list[str], variables: dict[str, str]) -> None:
    with PracticeServer().run_in_thread() as server:
        ended, lines, connections = through_proxy(server, *arguments, variables=variables)
    assert (ended.code, lines, connections) == (0, [], 0)


def test_a_proxy_that_refuses_a_tunnel_is_told() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with ScriptedPeer(script) as proxy:
            ended = await asyncio.to_thread(
                send, "https://api.test/", "-x", f"127.0.0.1:{proxy.port}", "--json"
            )
            assert ended.code == 3
            assert ended.err == (
                f"livepost: the proxy 127.0.0.1:{proxy.port} asks for a user and password\n"
                "  hint: give them as --proxy http://USER:PASSWORD@HOST:PORT\n"
            )
            assert ended.summary["records"]["unsent"] == 20

    asyncio.run(main())


def test_tls_by_a_private_authority(authority: Authority, server_tls: ssl.SSLContext) -> None:
    with PracticeServer(ssl_context=server_tls).run_in_thread() as server:
        ended = send(f"{server.url}/api", "--cacert", authority.ca_file, "--http1.1", "--json")
        assert (ended.code, ended.summary["connections"]["tls_full"]) == (0, 1)
        assert (server.stats.connections, server.stats.handshakes, server.stats.requests) == (1, 1, 20)
        assert send(f"{server.url}/api", "-k").code == 0


def test_a_certificate_of_an_unknown_authority_is_explained(server_tls: ssl.SSLContext) -> None:
    with PracticeServer(ssl_context=server_tls).run_in_thread() as server:
        ended = send(f"{server.url}/api", "--json")
        assert server.stats.requests == 0
    assert (ended.code, ended.summary["records"]["unsent"]) == (3, 20)
    sentence, hint = ended.err.splitlines()
    assert sentence.startswith("livepost: the certificate of 127.0.0.1 cannot be trusted: ")
    assert "it is for localhost, 127.0.0.1" in sentence
    assert "issued by " in sentence
    assert hint == "  hint: if you know the authority that issued it, give its certificate with --cacert FILE"


@pytest.mark.parametrize("kind", ["wrong name", "expired"])
def test_a_certificate_that_does_not_fit_is_explained(authority: Authority, kind: str) -> None:
    expired = kind == "expired"
    names = ("localhost", "127.0.0.1") if expired else ("other.test",)
    context = authority.server_context(*names, expired=expired)
    with PracticeServer(ssl_context=context).run_in_thread() as server:
        ended = send(f"{server.url}/api", "--cacert", authority.ca_file, "--json")
        assert server.stats.requests == 0
    assert ended.code == 3
    assert ended.err.count("\n") == 2
    assert ("expired" if expired else "it is for other.test") in ended.err


def test_a_client_certificate(authority: Authority) -> None:
    files = authority.issue_files("client.test")
    context = authority.server_context(asks_client=True)
    trust = ("--cacert", authority.ca_file)
    with PracticeServer(ssl_context=context).run_in_thread() as server:
        ended = send(f"{server.url}/api", *trust, "--cert", files.certificate, "--key", files.key)
        assert (ended.code, server.stats.requests) == (0, 20)


def test_without_a_client_certificate_nothing_is_in_doubt(authority: Authority) -> None:
    """Over TLS 1.3, where a record is on its way when the server says so."""
    context = authority.server_context(asks_client=True)

    def refuse() -> None:
        # Not asyncio's: it closes without a word.
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(listener.accept()[0], server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=refuse)
        server.start()
        to = f"https://127.0.0.1:{listener.getsockname()[1]}/api"
        ended = send(to, "--cacert", authority.ca_file, "--json")
        server.join()
    assert ended.code == 75
    assert ended.summary["records"]["in_doubt"] == 0
    assert ended.err == (
        "livepost: 127.0.0.1 wants a client certificate (tlsv13 alert certificate required)\n"
        "  hint: give --cert and --key\n"
    )


def test_plain_http_where_tls_was_expected_is_explained() -> None:
    with PracticeServer().run_in_thread() as server:
        ended = send(f"https://127.0.0.1:{server.port}/api", "--json")
    assert ended.code == 3
    assert ended.err == (
        "livepost: 127.0.0.1 does not speak TLS on this port\n"
        "  hint: is the URL http:// instead of https://?\n"
    )
