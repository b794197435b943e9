"""`livepost send` in bursts, against servers that keep idle connections for 2 s; all of them at a time.

granian, which cannot be told a time, keeps them for longer.
The pauses are well below that time, about as long, and well above.  `benchmarks/reuse.py` does the same for
longer and with the servers' own limits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from certificates import Authority
from command import started
from nginx import nginx
from real_servers import apache, granian, hypercorn, node, uvicorn

CONNECTIONS = 8
BURST = 64
BELOW, AT, ABOVE = 0.25, 2.0, 3.7
# The long one outlasts the connections, and shows the limit of servers that do not name it; before that there
# is time for the process to start.
PAUSES = [*[BELOW] * 8, ABOVE, *[BELOW] * 14, AT, *[BELOW] * 8, AT - 0.01, BELOW, AT + 0.01]


class Outcome(NamedTuple):
    summary: Any
    connections: int
    """As the server counted them."""
    posts: int
    """Too."""


@contextlib.contextmanager
def nginx_for_two_seconds(
    authority: Authority, folder: Path
) -> Iterator[tuple[str, Callable[[], tuple[int, int]]]]:
    files = authority.issue_files()
    with nginx(folder, files, keepalive_requests=1000, keepalive_timeout="2s") as server:
        yield server.url, server.counts


def serve(name: str, authority: Authority, folder: Path) -> Any:
    """The server of this name; where it tells counts while it runs, its URL and what asks for them."""
    if name == "nginx":
        return nginx_for_two_seconds(authority, folder)
    return {
        "apache": lambda: apache(folder, keepalive_timeout=2),
        "node": lambda: node(folder, keepalive_milliseconds=2000),
        "uvicorn": lambda: uvicorn(folder, "--timeout-keep-alive", "2"),
        "hypercorn": lambda: hypercorn(folder, "--keep-alive", "2"),
        "granian": lambda: granian(folder),
    }[name]()


def deliver_bursts(url: str, cache: Path) -> Any:
    """Give it the bursts; returns the summary."""
    options = ("--connections", CONNECTIONS, "--keepalive-path", "/", "--json", "--progress", "none")
    with started("send", "-", "--to", url, *options, variables={"XDG_CACHE_HOME": str(cache)}) as running:
        for number, pause in enumerate([0.0, *PAUSES]):
            time.sleep(pause)
            running.write(b"".join(b'{"id": %d}\n' % (number * BURST + n) for n in range(BURST)))
        running.end_input()
        ended = running.ended()
    assert (ended.code, ended.err) == (0, "")
    return ended.summary


def converse(name: str, authority: Authority, folder: Path) -> Outcome:
    with serve(name, authority, folder) as server:
        if isinstance(server, tuple):
            url, count = server
            summary = deliver_bursts(url, folder)
            connections, requests = count()
            # It counts tests, too.
            return Outcome(summary, connections, requests - summary["connections"]["heartbeats"])
        summary = deliver_bursts(server.url, folder)
    return Outcome(summary, *server.counts)


SERVERS = ["nginx", "apache", "node", "uvicorn", "hypercorn", "granian"]


@pytest.fixture(scope="module")
def outcomes(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    with ThreadPoolExecutor(len(SERVERS)) as threads:
        yield {
            name: threads.submit(converse, name, authority, tmp_path_factory.mktemp(name)) for name in SERVERS
        }


@pytest.mark.parametrize("name", SERVERS)
def test_bursts_around_the_idle_limit_leave_no_doubt_and_cost_no_needless_handshake(
    outcomes: dict[str, Future[Outcome]], name: str
) -> None:
    summary, connections, posts = outcomes[name].result()
    records = BURST * (1 + len(PAUSES))
    assert summary["records"] == {
        "read": records,
        "delivered": records,
        "rejected": 0,
        "in_doubt": 0,
        "unsent": 0,
    }
    # Nothing was tried again; what the server closed had been asked before, or was closed while idle.
    assert summary["retries"] == {}
    assert summary["attempts"] == posts == records
    opened = summary["connections"]["opened"]
    closed = summary["connections"]["closed"]
    full = closed.get("server_announced", 0) + closed.get("server_cap", 0)
    # After the long pause for certain, and after each of about the limit if the server closed first.
    uncertain = sum(pause not in (BELOW, ABOVE) for pause in PAUSES)
    assert CONNECTIONS <= opened - full <= CONNECTIONS * (1 if name == "granian" else 2 + uncertain)
    # A dial that is under way when the last record ends is broken off.
    assert connections < opened + CONNECTIONS
    assert set(closed) <= {"server_idle", "reset", "server_announced", "server_cap", "finished"}
