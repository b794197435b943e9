"""`livepost send` as a process, against nginx; what nginx counted is what is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority
from command import livepost
from nginx import nginx

RECORDS = 5_000


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.ndjson"
    file.write_bytes(b"".join(b'{"id": %d}\n' % number for number in range(RECORDS)))
    return file


@pytest.mark.parametrize(("scheme", "connections"), [("http", 1), ("https", 8)])
def test_a_connection_carries_as_many_requests_as_nginx_allows(
    authority: Authority, tmp_path: Path, users: Path, scheme: str, connections: int
) -> None:
    with nginx(tmp_path, authority.issue_files(), keepalive_requests=100) as server:
        before, _ = server.counts()
        to = server.url if scheme == "http" else server.tls_url
        arguments = ("--connections", connections, "--cacert", authority.ca_file, "--json")
        ended = livepost("send", users, "--to", to, *arguments)
        after, requests = server.counts()
    assert (ended.code, ended.err) == (0, "")
    assert (ended.summary["records"]["delivered"], requests) == (RECORDS, RECORDS)
    handshakes = after - before
    # Every connection is full but those that were live at the end.
    assert RECORDS // 100 <= handshakes < RECORDS // 100 + connections
    counted = ended.summary["connections"]
    # A dial that is under way when the last record ends is broken off.
    assert 0 <= handshakes - counted["opened"] < connections
    assert counted["tls_full"] + counted["tls_resumed"] == (counted["opened"] if scheme == "https" else 0)
    closed = counted["closed"]
    assert closed["server_announced"] + closed["server_cap"] >= RECORDS // 100 - connections
    # Until it is seen that it is always the same number.
    assert closed["server_announced"] <= 1 + connections
    assert set(closed) <= {"server_announced", "server_cap", "finished"}


def test_without_a_limit_each_connection_lives_to_the_end(
    authority: Authority, tmp_path: Path, users: Path
) -> None:
    with nginx(tmp_path, authority.issue_files(), keepalive_requests=1_000_000) as server:
        before, _ = server.counts()
        ended = livepost("send", users, "--to", server.url, "--connections", 16, "--json")
        after, requests = server.counts()
    assert (ended.code, ended.summary["records"]["delivered"], requests) == (0, RECORDS, RECORDS)
    assert after - before == ended.summary["connections"]["opened"] == 16
    assert ended.summary["connections"]["closed"] == {"finished": 16}
