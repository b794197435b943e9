"""`livepost send` as a process: how it ends."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Ended, Running, livepost, started

from livepost.rehearsal.reply import SILENCE, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

WAITING = "livepost: {}: waiting for what is in flight; once more stops at once\n"


class Api:
    """A practice server that answers `body` only once it is told to."""

    def __init__(self, body: bytes, reply: Reply | None = None) -> None:
        self.seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
        self.server = PracticeServer(on_request=self.seen.put, respond=self._respond)
        self._body = body
        self._reply = reply
        self._may_answer = threading.Event()

    def wait_for_held(self) -> None:
        while self.seen.get(timeout=30).body != self._body:
            pass

    def answer(self) -> None:
        self._may_answer.set()

    def _respond(self, request: RequestSeen) -> Reply | None:
        if request.body != self._body:
            return None
        if self._reply is None:
            assert self._may_answer.wait(timeout=60)
        return self._reply


@pytest.mark.parametrize("shown", [["--json"], []])
def test_more_handshakes_than_allowed_fail_a_run(tmp_path: Path, shown: list[str]) -> None:
    users = tmp_path / "users.ndjson"
    users.write_bytes(b"1\n" * 100)
    with PracticeServer().run_in_thread() as server:
        command = ("send", users, "--to", f"{server.url}/api", "--connections", 1, *shown)
        command += ("--max-handshakes-per-1000", 10)
        live = livepost(*command)
        unlike = livepost(*command, "--no-keepalive")
    assert (live.code, unlike.code) == (0, 1)
    assert "handshakes per 1,000 records, more than" not in live.err
    said, hint = unlike.err.splitlines()[-2:]
    assert said.startswith(
        "livepost: there were 1,000 handshakes per 1,000 records, more than the 10 of --max-"
    )
    assert hint == "  hint: leave out --no-keepalive"
    if shown:
        assert unlike.summary["records"]["delivered"] == 100
        assert unlike.summary["connections"]["handshakes_per_1000"] == 1000.0


@contextlib.contextmanager
def sending(api: Api, *arguments: object) -> Iterator[Running]:
    """Records 1 to 10 on their way, and the third with the server."""
    with api.server.run_in_thread():
        to = f"{api.server.url}/api"
        with started("send", "-", "--to", to, "--connections", 1, "--json", *arguments) as command:
            command.write(b"".join(b"%d\n" % number for number in range(1, 11)))
            try:
                api.wait_for_held()
                yield command
            finally:
                api.answer()


def counts(ended: Ended) -> tuple[int, int, int, int]:
    records = ended.summary["records"]
    found = (records["delivered"], records["rejected"], records["in_doubt"], records["unsent"])
    assert sum(found) == records["read"] == 10
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_what_is_in_flight_finish(number: signal.Signals, code: int) -> None:
    api = Api(b"3")
    with sending(api) as command:
        command.signal(number)
        assert command.read_err() == WAITING.format(number.name)
        api.answer()
        ended = command.ended()
    assert (ended.code, ended.err) == (code, "")
    assert counts(ended) == (3, 0, 0, 7)
    assert api.server.stats.requests == 3


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(second: signal.Signals, tmp_path: Path) -> None:
    output = tmp_path / "receipts"
    with sending(Api(b"3"), "-o", output) as command:
        command.signal(signal.SIGINT)
        assert command.read_err() == WAITING.format("SIGINT")
        command.signal(second)
        ended = command.ended()
    assert (ended.code, ended.err) == (130, "")
    assert counts(ended) == (2, 0, 1, 7)
    assert ended.summary["connections"]["closed"] == {"stopped": 1}
    receipts = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(receipt["n"], receipt["outcome"]) for receipt in receipts] == [
        (1, "delivered"),
        (2, "delivered"),
        (3, "in_doubt"),
        *((number, "unsent") for number in range(4, 11)),
    ]


def test_the_second_signal_ends_also_what_is_stuck_in_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    file = tmp_path / "in.ndjson"
    file.write_bytes(b"".join(b"%d\n" % number for number in range(5_000)))
    enough = threading.Event()

    def count(request: RequestSeen) -> None:
        if request.body == b"100":
            enough.set()

    with (
        PracticeServer(on_request=count).run_in_thread() as server,
        started("send", file, "--to", f"{server.url}/api", "-o", "-") as command,
    ):
        assert enough.wait(timeout=60)
        command.signal(signal.SIGINT)
        command.signal(signal.SIGTERM)
        assert command.wait() in (130, 143)


def test_a_signal_while_nothing_comes_ends_the_run() -> None:
    with (
        PracticeServer().run_in_thread() as server,
        started("send", "-", "--to", f"{server.url}/api", "-o", "-") as command,
    ):
        command.write(b"1\n")
        assert json.loads(command.read_out())["outcome"] == "delivered"
        # Standard input stays open, with nothing in it.
        command.signal(signal.SIGINT)
        assert command.read_err() == WAITING.format("SIGINT")
        assert command.read_err() == "records     1 of 1 delivered\n"
        assert command.ended().code == 130


def test_an_answer_that_takes_too_long_leaves_its_record_in_doubt() -> None:
    api = Api(b"3", SILENCE)
    with sending(api, "--max-time", "300ms") as command:
        ended = command.ended()
    assert ended.code == 1
    assert counts(ended) == (9, 0, 1, 0)
    assert ended.summary["connections"]["closed"] == {"timeout": 1, "finished": 1}
    assert api.server.stats.requests == 10


def test_a_server_that_goes_away_and_comes_back_is_waited_for() -> None:
    """The record that was with the server is in doubt; all others are delivered, none twice."""
    api = Api(b"3", SILENCE)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(contextlib.ExitStack())
        running.enter_context(api.server.run_in_thread())
        port = api.server.port
        to = f"{api.server.url}/api"
        command = stack.enter_context(started("send", "-", "--to", to, "--connections", 1, "--json"))
        command.write(b"".join(b"%d\n" % number for number in range(1, 11)))
        api.wait_for_held()
        running.close()
        again = Api(b"none")
        again.server = PracticeServer(port=port, on_request=again.seen.put)
        stack.enter_context(again.server.run_in_thread())
        ended = command.ended()
    assert ended.code == 1
    assert counts(ended) == (9, 0, 1, 0)
    assert [again.seen.get_nowait().body for _ in range(7)] == [b"%d" % number for number in range(4, 11)]
    assert again.seen.empty()


def test_a_server_that_is_down_is_told_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    ended = livepost("send", "-", "--to", f"http://127.0.0.1:{port}/", "--json", stdin=b"1\n2\n")
    assert ended.code == 3
    assert ended.err == (
        f"livepost: 127.0.0.1:{port} refused the connection\n"
        "  hint: is the server running, and is that its port?\n"
    )
    assert ended.summary["records"]["unsent"] == 2
    assert (ended.summary["attempts"], ended.summary["bytes_sent"]) == (0, 0)


def test_a_mistake_is_told_in_one_sentence(tmp_path: Path) -> None:
    ended = livepost("send", tmp_path / "none.ndjson", "--to", "http://localhost:8080/api", "--conections=8")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "livepost: there is no option --conections; did you mean --connections?\n"
        "  hint: see livepost send --help\n"
    )
    ended = livepost("send", tmp_path, "--to", "http://localhost:8080/api")
    assert (ended.code, ended.err.count("\n")) == (2, 2)
    assert ended.err.startswith(f"livepost: cannot read {tmp_path}: is a directory\n")


def test_rejections_alone_end_with_1_also_when_nobody_listens(tmp_path: Path) -> None:
    file = tmp_path / "bad.ndjson"
    file.write_bytes(b"{\n}\n")
    ended = livepost("send", file, "--to", "http://127.0.0.1:1/", "--json")
    assert (ended.code, ended.err) == (1, "")
    assert ended.summary["records"]["rejected"] == 2
    assert ended.summary["connections"]["opened"] == 0
