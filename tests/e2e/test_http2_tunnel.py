"""`livepost send` as a process: HTTP/2 with a server that is reached through a proxy's tunnel."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from certificates import Authority
from command import Ended, livepost
from forwarding_proxy import forwarding
from http2_servers import ServeHttp2, apache, granian, hypercorn, nghttpd, nginx, node
from scripted_peer import Script, ScriptedPeer, read_request

RECORDS = 3_000


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.ndjson"
    path.write_bytes(b"".join(b'{"id": %d, "name": "User %d"}\n' % (n, n) for n in range(RECORDS)))
    return path


def send_through(
    proxy_script: Script, users: Path, port: int, authority: Authority, *arguments: object
) -> tuple[Ended, int, int]:
    """How it ended, how many connections the proxy had, and its port."""

    async def main() -> tuple[Ended, int, int]:
        async with ScriptedPeer(proxy_script) as proxy:
            to, through = f"https://localhost:{port}/", f"http://us:s3cret@127.0.0.1:{proxy.port}"
            how = ("--cacert", authority.ca_file, "-x", through, *arguments)
            ended = await asyncio.to_thread(livepost, "send", users, "--to", to, *how)
            return ended, proxy.connections, proxy.port

    return asyncio.run(main())


@pytest.mark.parametrize("serve", [nghttpd, apache, hypercorn, granian, node])
def test_one_tunnel_carries_everything(
    authority: Authority, tmp_path: Path, users: Path, serve: ServeHttp2
) -> None:
    heads: list[bytes] = []
    with serve(tmp_path, authority.issue_files()) as port:
        ended, connections, _ = send_through(forwarding(heads), users, port, authority, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == ended.summary["attempts"] == RECORDS
    # The proxy is told its own password, and where to; all else is between the two ends.
    (head,) = heads
    assert head == (
        b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n"
        b"Proxy-Authorization: Basic dXM6czNjcmV0\r\n\r\n"
    ) % (port, port)
    assert connections == 1
    assert ended.summary["connections"]["protocols"] == {"h2": 1, "http/1.1": 0}
    assert ended.summary["connections"]["streams"] == RECORDS
    assert ended.summary["connections"]["tls_full"] == 1


def test_each_connection_that_nginx_ends_is_replaced_by_a_tunnel(
    authority: Authority, tmp_path: Path, users: Path
) -> None:
    heads: list[bytes] = []
    with nginx(tmp_path, authority.issue_files()) as port:
        ended, connections, _ = send_through(forwarding(heads), users, port, authority, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == RECORDS
    # 1,000 requests each; at the end there may be one more than are needed.
    assert 3 <= connections <= 4
    assert len(heads) == ended.summary["connections"]["opened"] == connections
    assert ended.summary["connections"]["protocols"] == {"h2": connections, "http/1.1": 0}


def test_the_summary_names_the_protocol_that_was_spoken_in_the_tunnel(
    authority: Authority, tmp_path: Path, users: Path
) -> None:
    with nghttpd(tmp_path, authority.issue_files()) as port:
        ended, connections, _ = send_through(forwarding([]), users, port, authority)
    assert (ended.code, ended.out, connections) == (0, "", 1)
    assert "\nconnections 1 opened over HTTP/2, 3,000 requests\n" in ended.err
    assert "s3cret" not in ended.err


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("403 Forbidden", "does the proxy allow that host and port?"),
        ("502 Bad Gateway", "can the proxy itself reach that host and port?"),
    ],
)
def test_a_proxy_that_refuses_the_tunnel(authority: Authority, users: Path, status: str, hint: str) -> None:
    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await read_request(reader)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 6\r\n\r\nno way".encode())

    ended, connections, port = send_through(
        refusing, users, 443, authority, "--json", "--start-timeout", "200ms"
    )
    assert ended.code == 3
    assert ended.err == (
        f"livepost: the proxy 127.0.0.1:{port} refused a tunnel to localhost:443 with status {status[:3]}\n"
        f"  hint: {hint}\n"
    )
    assert ended.summary["records"]["unsent"] == RECORDS
    assert ended.summary["connections"]["opened"] == 0
    assert connections >= 1
