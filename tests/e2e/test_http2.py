"""`livepost send` as a process, over HTTP/2, against servers as they come; a relay counts the connections."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from command import Ended, livepost
from counting_relay import CountingRelay
from http2_servers import ServeHttp2, apache, granian, hypercorn, nghttpd, nginx, node

from livepost.rehearsal.server import PracticeServer

RECORDS = 5_000
NGINX_REQUESTS_PER_CONNECTION = 1_000

# What nginx ends is replaced before, so at the end there may be one more than are needed.
CONNECTIONS: dict[ServeHttp2, tuple[int, int]] = {nginx: (5, 6)}


def write_users(file: Path, records: int) -> Path:
    file.write_bytes(b"".join(b'{"id": %d, "name": "User %d"}\n' % (n, n) for n in range(records)))
    return file


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return write_users(tmp_path / "users.ndjson", RECORDS)


def send(
    users: Path, port: int, scheme: str, authority: Authority, *arguments: object
) -> tuple[Ended, dict[str, Any], int]:
    """How it ended, its connections, and how many the relay counted."""
    how = ("--http2-prior-knowledge",) if scheme == "http" else ("--cacert", authority.ca_file)
    with CountingRelay(port).run_in_thread() as relay:
        to = f"{scheme}://localhost:{relay.port}/"
        ended = livepost("send", users, "--to", to, "--json", *how, *arguments)
    return ended, ended.summary["connections"], relay.connections


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("serve", [nghttpd, nginx, apache, hypercorn, granian, node])
def test_one_connection_carries_everything(
    authority: Authority, tmp_path: Path, users: Path, serve: ServeHttp2, scheme: str
) -> None:
    files = authority.issue_files() if scheme == "https" else None
    with serve(tmp_path, files) as port:
        ended, connections, counted = send(users, port, scheme, authority)
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"] == {
        "read": RECORDS,
        "delivered": RECORDS,
        "rejected": 0,
        "in_doubt": 0,
        "unsent": 0,
    }
    fewest, most = CONNECTIONS.get(serve, (1, 1))
    assert fewest <= counted <= most
    assert connections["opened"] == counted
    assert connections["protocols"] == {"h2": counted, "http/1.1": 0}
    assert connections["streams"] == ended.summary["attempts"] >= RECORDS
    assert connections["tls_full"] + connections["tls_resumed"] == (counted if scheme == "https" else 0)
    assert set(connections["closed"]) <= {"finished", "server_announced", "server_cap"}


def test_twenty_thousand_records_take_nginx_twenty_connections(authority: Authority, tmp_path: Path) -> None:
    """Each is replaced before its 1,000th request: no record fails, and none is asked for twice in vain."""
    users = write_users(tmp_path / "users.ndjson", 20_000)
    with nginx(tmp_path, authority.issue_files()) as port:
        ended, connections, counted = send(users, port, "https", authority)
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == 20_000
    assert 20 <= counted <= 21
    assert connections["closed"]["server_announced"] <= 2
    assert connections["closed"]["server_announced"] + connections["closed"]["server_cap"] >= 18
    # Only with the first two, by which it is found out, were requests sent that it takes no more.
    assert set(ended.summary["retries"]) <= {"refused"}
    assert ended.summary["retries"].get("refused", 0) <= 2 * 100


def test_a_server_that_drops_what_is_open_at_its_limit(authority: Authority, tmp_path: Path) -> None:
    """hypercorn does, with its 1,001st request; once that is found out, it is not let come so far."""
    records = 10_000
    users = write_users(tmp_path / "users.ndjson", records)
    with hypercorn(tmp_path, None, is_limited=True) as port:
        ended, connections, counted = send(users, port, "http", authority)
    assert ended.code == 1
    in_doubt = ended.summary["records"]["in_doubt"]
    assert ended.summary["records"]["delivered"] == records - in_doubt
    # Two connections tell, when the server closes them at last; meanwhile others may come to it.  It would
    # be nine otherwise.
    assert 1 <= in_doubt <= 5 * 100
    assert connections["closed"]["limit_reached"] >= 4
    assert 9 <= counted <= 12


def test_what_was_found_out_of_such_a_server_is_kept_for_the_next_run(
    authority: Authority, tmp_path: Path
) -> None:
    records = 5_000
    users = write_users(tmp_path / "users.ndjson", records)
    with (
        hypercorn(tmp_path, None, is_limited=True) as port,
        CountingRelay(port).run_in_thread() as relay,
    ):
        to = f"http://localhost:{relay.port}/"
        ended = [livepost("send", users, "--to", to, "--json", "--http2-prior-knowledge") for _ in range(2)]
    assert [run.code for run in ended] == [1, 0]
    assert [run.summary["records"]["in_doubt"] > 0 for run in ended] == [True, False]
    closed = ended[1].summary["connections"]["closed"]
    assert closed["limit_reached"] >= 4
    assert set(closed) <= {"limit_reached", "finished"}


def test_prior_knowledge_that_is_wrong(authority: Authority, users: Path) -> None:
    """The server speaks HTTP/1.1 only, and says so when it is spoken to in HTTP/2."""
    with PracticeServer().run_in_thread() as server:
        to = f"{server.url}/api"
        ended = livepost("send", users, "--to", to, "--json", "--http2-prior-knowledge", "--connections", 4)
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == server.stats.requests == RECORDS
    connections = ended.summary["connections"]
    assert connections["protocols"] == {"h2": 1, "http/1.1": 4}
    assert connections["closed"] == {"finished": 4, "http_1_1_required": 1}
    # It was given one request's head, and no body.
    assert ended.summary["retries"] == {"refused": 1}


@pytest.mark.parametrize("alpn", [["http/1.1"], []])
def test_a_tls_server_that_speaks_http_1_1_only(authority: Authority, users: Path, alpn: list[str]) -> None:
    context = authority.server_context()
    if alpn:
        context.set_alpn_protocols(alpn)
    ended, connections = send_to_practice(context, authority, users)
    assert connections["protocols"] == {"h2": 0, "http/1.1": 4}
    assert connections["closed"] == {"finished": 4}
    assert ended.summary["attempts"] == RECORDS


def send_to_practice(
    context: ssl.SSLContext, authority: Authority, users: Path, *arguments: object
) -> tuple[Ended, dict[str, Any]]:
    with PracticeServer(ssl_context=context).run_in_thread() as server:
        to = f"https://localhost:{server.port}/api"
        trust = ("--cacert", authority.ca_file)
        ended = livepost("send", users, "--to", to, "--json", "--connections", 4, *trust, *arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == server.stats.requests == RECORDS
    return ended, ended.summary["connections"]


def test_http_1_1_can_be_insisted_on(authority: Authority, tmp_path: Path, users: Path) -> None:
    with nginx(tmp_path, authority.issue_files()) as port:
        ended, connections, counted = send(users, port, "https", authority, "--http1.1", "--connections", 2)
    assert ended.code == 0
    assert connections["protocols"] == {"h2": 0, "http/1.1": counted}


def test_bodies_larger_than_every_window(authority: Authority, tmp_path: Path) -> None:
    """Among small ones, which they do not hold up."""
    users = tmp_path / "users.ndjson"
    large = b'{"text": "%s"}\n' % (b"x" * 300_000)
    users.write_bytes((large + b'{"id": 1}\n' * 49) * 20)
    with node(tmp_path, None) as port:
        ended, _, counted = send(users, port, "http", authority)
    assert (ended.code, ended.err, counted) == (0, "", 1)
    assert ended.summary["records"]["delivered"] == 1_000
    assert ended.summary["bytes_sent"] > 20 * 300_000
