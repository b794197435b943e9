"""`livepost serve --fail` as its users meet it, and its log against what a client was told."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Running, livepost, started
from practice_stats import stats
from raw_client import RawClient, get, post


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[tuple[Running, int]]:
    with started("serve", "--port", 0, *arguments) as server:
        port = re.search(r":(\d+)/api", server.read_err())
        assert port is not None
        yield server, int(port[1])


def lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_it_warns_fails_as_it_was_told_and_accounts_for_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    faults = ("--fail", "503:retry-after=2:every=3", "--fail", "reset-after-processing:from=4:to=4")
    with serving(*faults, "--log", log) as (server, port):
        assert server.read_err() == (
            "it fails on purpose: 503:retry-after=2:every=3, reset-after-processing:from=4:to=4\n"
        )
        with RawClient.dial(port) as client:
            assert [client.ask(post(b'{"id": %d}' % n)).status for n in (1, 2)] == [201, 201]
            answer = client.ask(post(b'{"id": 3}'))
            assert (answer.status, answer.fields["retry-after"]) == (503, "2")
            client.send(post(b'{"id": 4}', "Idempotency-Key: k"))
            assert client.ending() == "reset"
        with RawClient.dial(port) as client:
            assert client.ask(post(b'{"id": 4}', "Idempotency-Key: k")).status == 201
            assert client.ask(get("/stats")).json == stats(
                2,
                5,
                processed=4,
                duplicates=1,
                replayed=0,
                faults={"503": 1, "reset-after-processing": 1},
            )
        server.signal(signal.SIGINT)
        assert server.ended() == (
            0,
            "",
            (
                "answered 5 requests on 2 connections\nprocessed 4 records, 1 of them again; "
                "replayed 0 answers; faults: 503 1, reset-after-processing 1\n"
            ),
        )
    assert [(line["record"], line["processed"], line["fault"], line["status"]) for line in lines(log)] == [
        (1, True, None, 201),
        (2, True, None, 201),
        (3, False, "503", 503),
        (4, True, "reset-after-processing", None),
        (4, True, None, 201),
    ]


def test_a_seed_repeats_a_run(tmp_path: Path) -> None:
    def struck(seed: int) -> list[int]:
        with (
            serving("--fail", "503:p=0.3", "--fail-seed", seed) as (server, port),
            RawClient.dial(port) as client,
        ):
            assert f"--fail-seed {seed} repeats it" in server.read_err()
            return [n for n in range(60) if client.ask(post()).status == 503]

    first = struck(1)
    assert 5 < len(first) < 35
    assert struck(1) == first
    assert struck(2) != first


def test_what_the_client_was_told_agrees_with_the_log(tmp_path: Path) -> None:
    records = "".join(f'{{"id": {n}}}\n' for n in range(1, 301))
    log = tmp_path / "log"
    with serving("--fail", "422:p=0.1", "--fail", "trickle:every=50:interval=0s", "--log", log) as (_, port):
        to = f"http://127.0.0.1:{port}/api"
        ended = livepost("send", "-", "--to", to, "-o", "-", stdin=records.encode())
    processed = sorted(line["record"] for line in lines(log) if line["processed"])
    delivered = sorted(receipt["n"] for receipt in ended.receipts if receipt["outcome"] == "delivered")
    rejected = [receipt for receipt in ended.receipts if receipt["outcome"] == "rejected"]
    assert processed == delivered
    assert len(delivered) + len(rejected) == 300
    assert len(rejected) == sum(line["fault"] == "422" for line in lines(log)) > 0


def test_the_log_has_every_answer_that_a_killed_client_saw(tmp_path: Path) -> None:
    log, receipts = tmp_path / "log", tmp_path / "receipts"
    with serving("--log", log) as (_, port):
        to = f"http://127.0.0.1:{port}/api"
        with started("send", "-", "--to", to, "-o", receipts) as client:
            client.write(b"".join(b'{"id": %d}\n' % n for n in range(1, 2001)))
            while not log.exists() or log.read_bytes().count(b"\n") < 500:
                time.sleep(0.01)
            client.signal(signal.SIGKILL)
            client.wait()
        processed = {line["record"] for line in lines(log) if line["processed"]}
    whole = receipts.read_text().rpartition("\n")[0].splitlines()
    delivered = {json.loads(line)["n"] for line in whole}
    assert len(processed) >= 500
    assert delivered <= processed


def test_an_outage_by_the_clock() -> None:
    with serving("--fail", "outage:for=300ms") as (_, port):
        with pytest.raises(ConnectionRefusedError):
            RawClient.dial(port)
        while True:
            with contextlib.suppress(ConnectionRefusedError), RawClient.dial(port) as client:
                assert client.ask(post()).status == 201
                return
            time.sleep(0.02)


def test_a_repeated_key_is_processed_once() -> None:
    with serving("--idempotency") as (_, port), RawClient.dial(port) as client:
        first = client.ask(post(b"1", 'Idempotency-Key: "k"'))
        assert client.ask(post(b"1", 'Idempotency-Key: "k"')) == first
        assert client.ask(post(b"2", 'Idempotency-Key: "k"')).status == 422
        assert client.ask(get("/stats")).json["replayed"] == 1


def test_a_log_on_a_full_disk_ends_the_server_before_it_answers() -> None:
    with serving("--log", "/dev/full") as (server, port), RawClient.dial(port) as client:
        client.send(post())
        with contextlib.suppress(ConnectionResetError):
            assert client.sock.recv(100) == b""
        ended = server.ended()
    assert ended.code == 75
    assert ended.err == (
        "livepost: the log cannot be written to '/dev/full': No space left on device\n"
        "  hint: make room, or give another path\n"
    )


def test_a_port_that_refuses_stays_the_servers() -> None:
    with serving("--fail", "refuse") as (_, port), pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))
