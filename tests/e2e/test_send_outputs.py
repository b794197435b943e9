"""`livepost send` as a process: what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, environment, livepost, started
from terminal import Terminal

from livepost.rehearsal.reply import Reply, json_reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer().run_in_thread() as running:
        yield running


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.ndjson"
    file.write_bytes(b"".join(b'{"id": %d}\n' % number for number in range(1, 101)))
    return file


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else type(value)


def test_the_summary_has_the_documented_schema(server: PracticeServer, users: Path) -> None:
    ended = livepost("send", users, "--to", f"{server.url}/api", "--json", "--connections", 2)
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert shape(ended.summary) == {
        "records": dict.fromkeys(("read", "delivered", "rejected", "in_doubt", "unsent"), int),
        "attempts": int,
        "retries": {},
        "connections": {
            "opened": int,
            "protocols": {"h2": int, "http/1.1": int},
            "streams": int,
            "tls_full": int,
            "tls_resumed": int,
            "reused": int,
            "closed": {"finished": int},
            "handshakes_per_1000": float,
            "requests_per_connection": dict.fromkeys(("min", "median", "max"), int),
            "heartbeats": int,
            "estimated_seconds_saved": float,
        },
        "latency_ms": dict.fromkeys(("p50", "p90", "p99", "max"), float),
        "statuses": {"201": int},
        "seconds": float,
        "records_per_second": float,
        "bytes_sent": int,
        "bytes_received": int,
    }
    summary = ended.summary
    assert summary["records"] == {"read": 100, "delivered": 100, "rejected": 0, "in_doubt": 0, "unsent": 0}
    assert summary["attempts"] == summary["statuses"]["201"] == server.stats.requests == 100
    assert summary["connections"]["opened"] == server.stats.connections == 2
    assert summary["connections"]["handshakes_per_1000"] == 20.0
    assert summary["connections"]["reused"] == 98
    each = summary["connections"]["requests_per_connection"]
    assert each["min"] + each["max"] == 100
    assert each["min"] == each["median"]
    assert summary["connections"]["heartbeats"] == 0
    assert summary["connections"]["estimated_seconds_saved"] > 0


def test_receipts_tell_what_became_of_each_record(tmp_path: Path) -> None:
    def respond(request: RequestSeen) -> Reply | None:
        return json_reply(409, b"\xff" * 5000) if request.body == b"2" else None

    output = tmp_path / "receipts"
    with PracticeServer(respond=respond).run_in_thread() as server:
        to = f"{server.url}/api"
        ended = livepost("send", "-", "--to", to, "-o", output, "--connections", 1, stdin=b"1\n2\nx\n")
    assert ended.code == 1
    assert output.stat().st_mode & 0o777 == 0o600
    receipts = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(receipt.pop("ms") > 0 for receipt in receipts if receipt["status"])
    assert sorted(receipts, key=lambda receipt: receipt["n"]) == [
        {
            "n": 1,
            "outcome": "delivered",
            "status": 201,
            "attempts": 1,
            "connection": 1,
            "reused": False,
            "body": '{"id": 1, "connection": 1, "request_on_connection": 1}',
            "reason": None,
            "source": "-",
            "line": 1,
        },
        {
            "n": 2,
            "outcome": "rejected",
            "status": 409,
            "attempts": 1,
            "connection": 1,
            "reused": True,
            "body": "\ufffd" * 4096,
            "reason": "status 409",
            "source": "-",
            "line": 2,
        },
        {
            "n": 3,
            "outcome": "rejected",
            "status": None,
            "ms": None,
            "attempts": 0,
            "connection": None,
            "reused": False,
            "body": None,
            "reason": receipts[-1]["reason"],
            "source": "-",
            "line": 3,
        },
    ]


def closed_reader() -> int:
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


def test_a_reader_of_the_summary_may_go_away(server: PracticeServer, users: Path) -> None:
    write = closed_reader()
    try:
        ended = livepost("send", users, "--to", f"{server.url}/api", "--json", stdout=write)
    finally:
        os.close(write)
    assert (ended.code, ended.err) == (0, "")
    assert server.stats.requests == 100


def test_a_reader_of_receipts_that_goes_away_ends_the_run(server: PracticeServer, tmp_path: Path) -> None:
    file = tmp_path / "many.ndjson"
    file.write_bytes(b"1\n" * 20_000)
    write = closed_reader()
    try:
        ended = livepost("send", file, "--to", f"{server.url}/api", "-o", "-", stdout=write)
    finally:
        os.close(write)
    assert ended.code == 75
    assert server.stats.requests < 20_000
    assert ended.err.splitlines()[-2:] == [
        "livepost: the receipts cannot be written to standard output: Broken pipe",
        "  hint: the program that was reading them has ended",
    ]


@pytest.mark.parametrize("command", [["--version"], ["send", "--help"]])
def test_a_reader_of_help_may_go_away(command: list[str]) -> None:
    write = closed_reader()
    try:
        ended = livepost(*command, stdout=write)
    finally:
        os.close(write)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(server: PracticeServer, users: Path, closed: str) -> None:
    arguments = [*COMMAND, "send", str(users), "--to", f"{server.url}/api"]
    script = f'exec "$@" {closed}'
    ended = subprocess.run(["sh", "-c", script, "sh", *arguments], capture_output=True, env=environment())
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert b"Traceback" not in ended.stderr
    assert server.stats.requests == 100


class Gate:
    """Holds the server's answers back until it is opened."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._open = threading.Event()

    def respond(self, request: RequestSeen) -> None:
        if request.body == self._body:
            assert self._open.wait(timeout=60)

    def open(self) -> None:
        self._open.set()


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_a_bar_is_drawn_on_a_narrow_terminal(users: Path, variables: dict[str, str]) -> None:
    gate = Gate(b'{"id": 50}')
    variables = {"TERM": "xterm-256color", "COLUMNS": "40"} | variables
    with (
        PracticeServer(respond=gate.respond).run_in_thread() as server,
        Terminal(columns=40) as terminal,
        started(
            *("send", users, "--to", f"{server.url}/api", "--connections", 1),
            stderr=terminal.descriptor,
            variables=variables,
        ) as command,
    ):
        terminal.started()
        try:
            terminal.wait_for("48 handshakes saved")
        finally:
            gate.open()
        terminal.wait_for_end()
        assert command.ended().code == 0
    assert terminal.moves_cursor
    assert terminal.is_coloured is ("NO_COLOR" not in variables)
    assert max(map(len, terminal.lines)) <= 40
    # Of what has ended: it was read to its end long before.
    assert any("49 %" in line for line in terminal.lines)
    assert "records     all 100 delivered" in terminal.lines


@pytest.mark.parametrize("mode", ["plain", "none"])
def test_other_displays_draw_nothing_on_a_terminal(server: PracticeServer, users: Path, mode: str) -> None:
    with (
        Terminal(columns=40) as terminal,
        started(
            *("send", users, "--to", f"{server.url}/api", "--progress", mode),
            stderr=terminal.descriptor,
            variables={"TERM": "xterm"},
        ) as command,
    ):
        terminal.started()
        terminal.wait_for_end()
        assert command.ended().code == 0
    assert not terminal.moves_cursor
    assert terminal.lines[0] == "records     all 100 delivered"
    assert max(map(len, terminal.lines)) <= 40


def test_a_bar_is_drawn_where_it_is_asked_for(users: Path) -> None:
    gate = Gate(b'{"id": 50}')
    with (
        PracticeServer(respond=gate.respond).run_in_thread() as server,
        started(
            *("send", users, "--to", f"{server.url}/api", "--connections", 1, "--progress", "bar"),
            variables={"TERM": "xterm"},
        ) as command,
    ):
        try:
            while "48 handshakes saved" not in (line := command.read_err()):
                assert line
        finally:
            gate.open()
        assert command.ended().code == 0


def test_receipts_on_the_same_terminal_are_not_drawn_over(users: Path) -> None:
    gate = Gate(b'{"id": 50}')
    with (
        PracticeServer(respond=gate.respond).run_in_thread() as server,
        Terminal(columns=300) as terminal,
        started(
            *("send", users, "--to", f"{server.url}/api", "--connections", 1, "-o", "-"),
            stdout=terminal.descriptor,
            stderr=terminal.descriptor,
            variables={"TERM": "xterm"},
        ) as command,
    ):
        terminal.started()
        try:
            # Shown while the run lasts.
            terminal.wait_for('"n":49')
        finally:
            gate.open()
        terminal.wait_for_end()
        assert command.ended().code == 0
    assert not terminal.moves_cursor
    assert [json.loads(line)["n"] for line in terminal.lines[:100]] == list(range(1, 101))
    assert terminal.lines[100] == "records     all 100 delivered"
