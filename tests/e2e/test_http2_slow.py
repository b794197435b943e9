"""`livepost send --max-time` as a process, over HTTP/2, with servers that never answer some records."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority
from command import Ended, livepost
from counting_relay import CountingRelay
from http2_servers import ServeHttp2, granian, hypercorn, nginx, node
from real_servers import uvicorn

_LATE = "no answer within "


def write_users(file: Path, records: int, slow: set[int]) -> Path:
    """Records from 1 on; those of these numbers are never answered."""
    file.write_bytes(
        b"".join(
            b'{"id": %d%b}\n' % (number, b', "slow": true' if number in slow else b"")
            for number in range(1, records + 1)
        )
    )
    return file


def send(
    users: Path, port: int, authority: Authority, receipts: Path, *arguments: object
) -> tuple[Ended, int, dict[str, set[int]]]:
    """How it ended, how many connections the relay counted, and which records had which outcome."""
    how = ("--json", "--progress", "none", "--cacert", authority.ca_file, "-o", receipts)
    with CountingRelay(port).run_in_thread() as relay:
        to = f"https://localhost:{relay.port}/"
        ended = livepost("send", users, "--to", to, *how, *arguments)
    outcomes: dict[str, set[int]] = {}
    for receipt in Ended(0, receipts.read_text(), "").receipts:
        outcomes.setdefault(receipt["outcome"], set()).add(receipt["n"])
        if receipt["outcome"] == "in_doubt":
            assert receipt["reason"].startswith(_LATE)
            assert receipt["status"] is None
    return ended, relay.connections, outcomes


def test_a_late_record_among_few_others_costs_no_connection(authority: Authority, tmp_path: Path) -> None:
    """At this rate there is often nothing else under way when its time is up."""
    slow = {10, 60, 110, 160}
    users = write_users(tmp_path / "users.ndjson", 400, slow)
    with hypercorn(tmp_path, authority.issue_files()) as port:
        ended, connections, outcomes = send(
            users, port, authority, tmp_path / "receipts", "--max-time", "2s", "--rate", "100/s"
        )
    assert (ended.code, ended.err) == (1, "")
    assert outcomes == {"in_doubt": slow, "delivered": set(range(1, 401)) - slow}
    assert connections == 1
    assert ended.summary["connections"]["closed"] == {"finished": 1}
    assert ended.summary["attempts"] == ended.summary["connections"]["streams"] == 400


@pytest.mark.parametrize("serve", [hypercorn, granian, node])
def test_late_records_hold_up_no_others(authority: Authority, tmp_path: Path, serve: ServeHttp2) -> None:
    slow = set(range(20, 2_001, 100))
    users = write_users(tmp_path / "users.ndjson", 2_000, slow)
    with serve(tmp_path, authority.issue_files()) as port:
        ended, connections, outcomes = send(users, port, authority, tmp_path / "receipts", "--max-time", "2s")
    assert (ended.code, ended.err) == (1, "")
    assert outcomes == {"in_doubt": slow, "delivered": set(range(1, 2_001)) - slow}
    assert connections == ended.summary["connections"]["opened"] == 1
    assert ended.summary["connections"]["protocols"] == {"h2": 1, "http/1.1": 0}
    assert (ended.summary["attempts"], ended.summary["retries"]) == (2_000, {})
    # All others had been answered long before, and nothing more was heard.
    assert ended.summary["connections"]["closed"] == {"timeout": 1}


@pytest.mark.parametrize("how", ["nginx", "node"])
def test_very_many_late_records(authority: Authority, tmp_path: Path, how: str) -> None:
    """Servers end a connection on which too many streams are reset (CVE-2023-44487), with all others."""
    slow = set(range(2, 801, 2))
    users = write_users(tmp_path / "users.ndjson", 800, slow)
    limits = ("--max-time", "2s", "--connections", 100)
    files = authority.issue_files()
    if how == "nginx":
        with uvicorn(tmp_path) as answering, nginx(tmp_path, files, upstream=answering.url) as port:
            ended, connections, outcomes = send(users, port, authority, tmp_path / "receipts", *limits)
    else:
        with node(tmp_path, files) as port:
            ended, connections, outcomes = send(users, port, authority, tmp_path / "receipts", *limits)
    assert (ended.code, ended.err) == (1, "")
    assert outcomes == {"in_doubt": slow, "delivered": set(range(1, 801)) - slow}
    assert ended.summary["records"] == {
        "read": 800,
        "delivered": 400,
        "rejected": 0,
        "in_doubt": 400,
        "unsent": 0,
    }
    assert ended.summary["attempts"] == 800
    # Each is good for some hundred late ones, until nothing else is under way; none was ended by the server.
    assert connections == ended.summary["connections"]["opened"] <= 8
    assert set(ended.summary["connections"]["closed"]) <= {"timeout", "exhausted", "finished"}
