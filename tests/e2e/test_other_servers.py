"""`livepost send` as a process, against servers as they come; what they counted is what is asserted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from command import livepost
from real_servers import Counts, RealServer, apache, granian, node, uvicorn

RECORDS = 5_000
# Apache's MaxKeepAliveRequests counts what follows the first.
APACHE_REQUESTS_PER_CONNECTION = 101


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.ndjson"
    file.write_bytes(b"".join(b'{"id": %d}\n' % number for number in range(RECORDS)))
    return file


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("serve", [node, uvicorn, granian])
def test_where_the_server_sets_no_limit_each_connection_lives_to_the_end(
    tmp_path: Path,
    users: Path,
    serve: Callable[[Path], AbstractContextManager[RealServer]],
    connections: int,
) -> None:
    with serve(tmp_path) as server:
        ended = livepost("send", users, "--to", server.url, "--connections", connections, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == RECORDS
    assert server.counts == Counts(connections=connections, requests=RECORDS)
    assert ended.summary["connections"]["opened"] == connections
    assert ended.summary["connections"]["closed"] == {"finished": connections}


@pytest.mark.parametrize("connections", [1, 8])
def test_a_connection_carries_as_many_requests_as_apache_allows(
    tmp_path: Path, users: Path, connections: int
) -> None:
    with apache(tmp_path) as server:
        ended = livepost("send", users, "--to", server.url, "--connections", connections, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == RECORDS
    counted = ended.summary["connections"]
    # Apache logs requests: a connection that replaced a full one just as the last record left on
    # another is not in its log, nor among those that livepost used.
    used = RECORDS - counted["reused"]
    assert server.counts == Counts(connections=used, requests=RECORDS)
    # Every connection is full but those that were live at the end; with one that makes exactly 50.
    full = RECORDS // APACHE_REQUESTS_PER_CONNECTION
    assert full < used <= counted["opened"] <= full + connections
    # Its hint is of one request less: the first that takes one more shows that.
    closed = counted["closed"]
    announced = closed.get("server_announced", 0)
    # At the end, one that is nearly full may be live beside its replacement.
    assert announced + closed["server_cap"] >= full - connections
    assert announced <= 1 + connections
    assert set(closed) <= {"server_announced", "server_cap", "finished"}
