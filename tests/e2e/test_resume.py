"""`livepost resume` and `retry` as processes: what is left of a run is delivered, and nothing twice."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, Ended, Running, environment, livepost, started
from killing import Server, serving
from made_runs import marks_of

from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

RECORDS = 2_000
SLOWLY = ("--fail", "late:delay=1ms")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Answers four records in a millisecond."""
    with serving(tmp_path / "log", *SLOWLY) as server:
        yield server


def lines(count: int = RECORDS) -> bytes:
    return b"".join(b'{"id": %d}\n' % number for number in range(1, count + 1))


def send(server: Server, *arguments: object) -> list[object]:
    return ["send", "--to", server.to, "--connections", 4, "--progress", "none", *arguments]


def wait_for(server: Server, count: int) -> None:
    while server.lines < count:
        time.sleep(0.002)


@contextlib.contextmanager
def half_done(server: Server, *arguments: object, count: int = 200) -> Iterator[Running]:
    """The command when the server has dealt with so many."""
    with started(*send(server, *arguments)) as command:
        wait_for(server, count)
        yield command


def write_input(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"in.{kind}"
    if kind == "json":
        path.write_bytes(b"[" + b",".join(lines().splitlines()) + b"]")
    else:
        path.write_bytes(gzip.compress(lines()) if kind.endswith("gz") else lines())
    return path


def assert_all_once(server: Server, ended: Ended, count: int = RECORDS, *, code: int = 0) -> None:
    assert ended.code == code
    assert server.processed() == dict.fromkeys(range(1, count + 1), 1)


@pytest.mark.parametrize("kind", ["ndjson", "ndjson.gz", "json"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, server: Server, kind: str, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    with half_done(server, write_input(tmp_path, kind), "--run", run) as command:
        command.signal(number)
        stopped = command.ended()
    assert stopped.code == code
    assert f"livepost: to go on: livepost resume {run}\n" in stopped.err
    done = server.lines
    assert 200 <= done < RECORDS
    assert marks_of(run) == "D" * done
    ended = livepost("resume", run)
    assert f"livepost: run {run}: {done:,} delivered before\n" in ended.err
    assert ended.err.endswith("livepost: the whole run: 2,000 of 2,000 delivered\n")
    assert_all_once(server, ended)
    again = livepost("resume", run)
    assert again.code == 0
    assert again.err.endswith("livepost: there is nothing to be sent\n")


def test_receipts_of_the_earlier_part_stay(tmp_path: Path, server: Server) -> None:
    run, receipts = tmp_path / "run", tmp_path / "receipts.ndjson"
    with half_done(server, write_input(tmp_path, "ndjson"), "--run", run, "-o", receipts) as command:
        command.signal(signal.SIGINT)
        command.ended()
    assert_all_once(server, livepost("resume", run, "-o", receipts))
    assert livepost("resume", run, "-o", receipts).code == 0
    told = [json.loads(line) for line in receipts.read_bytes().splitlines()]
    delivered = sorted(line["n"] for line in told if line["outcome"] == "delivered")
    assert delivered == list(range(1, RECORDS + 1))


def test_it_is_stopped_and_resumed_many_times(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    file = write_input(tmp_path, "ndjson")
    arguments = send(server, file, "--run", run)
    for count in range(300, 1501, 300):
        with started(*arguments) as command:
            wait_for(server, count)
            command.signal(signal.SIGTERM)
            assert command.wait() == 143
        arguments = ["resume", run]
    assert_all_once(server, livepost(*arguments))


def test_the_second_signal_leaves_what_was_in_flight_in_doubt(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with serving(tmp_path / "log", "--fail", "never:from=100:for=4") as server:
        with half_done(
            server, write_input(tmp_path, "ndjson"), "--run", run, "--rate", "500/s", count=103
        ) as command:
            command.signal(signal.SIGINT)
            command.read_err()
            command.signal(signal.SIGINT)
            assert command.wait() == 130
        marks = marks_of(run)
        in_doubt = [number for number, mark in enumerate(marks, 1) if mark == "Q"]
        assert len(in_doubt) == 4
        ended = livepost("resume", run, "--rate", "100000/s")
        assert ended.code == 1
        assert server.processed() == dict.fromkeys(range(1, RECORDS + 1), 1)
    assert marks_of(run) == "".join("Q" if n in in_doubt else "D" for n in range(1, RECORDS + 1))


def test_standard_input_that_was_taken_is_delivered_though_it_is_gone(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    with started(*send(server, "-", "--run", run)) as command:
        command.write(lines(700))
        wait_for(server, 200)
        # It may send more.
        command.signal(signal.SIGTERM)
        assert command.wait() == 143
    assert list((run / "spool").iterdir())
    ended = livepost("resume", run)
    assert "livepost: the input could be read only once: what came after" in ended.err
    # Nobody knows whether that was all of it.
    assert_all_once(server, ended, 700, code=1)
    assert not (run / "spool").exists()


def test_a_changed_file_is_refused_and_the_old_one_is_accepted_again(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    file = write_input(tmp_path, "ndjson")
    with half_done(server, file, "--run", run) as command:
        command.signal(signal.SIGTERM)
        command.wait()
    done = server.lines
    file.write_bytes(lines().replace(b'{"id": 7}', b'{"id": 8}'))
    ended = livepost("resume", run)
    assert ended.code == 4
    assert ended.err == (
        f"livepost: {file} has other content than when the run began\n"
        "  hint: put back the file that the run began with, or begin a new run\n"
    )
    assert server.lines == done
    file.write_bytes(lines())
    assert_all_once(server, livepost("resume", run))


def test_a_run_is_worked_on_by_one_process_and_looked_at_by_any(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    file = write_input(tmp_path, "ndjson")
    with half_done(server, file, "--run", run, "--rate", "400/s", count=20) as command:
        for arguments in (["resume", run], ["retry", run, "--rejected"]):
            ended = livepost(*arguments)
            assert ended.code == 2
            assert " is being worked on by process " in ended.err
        shown = json.loads(livepost("show", run, "--json").out)
        assert shown["state"] == "running"
        assert 0 < shown["delivered"] <= server.lines
        assert "  running  " in livepost("runs", tmp_path).out
        again = livepost(*send(server, file, "--run", run))
        assert again.code == 2
        assert " holds a run already\n" in again.err
        command.signal(signal.SIGTERM)
        assert command.wait() == 143
    assert_all_once(server, livepost("resume", run, "--rate", "100000/s"))


@pytest.mark.parametrize("moment", ["before", "during"])
def test_no_secret_is_in_any_file(tmp_path: Path, moment: str) -> None:
    secrets = ("s3cret-header", "s3cret-user", "s3cret-query", "s3cret-cookie")
    run = tmp_path / "run"
    seen: list[RequestSeen] = []
    with PracticeServer(on_request=seen.append).run_in_thread() as server:
        to = f"http://u:{secrets[1]}@127.0.0.1:{server.port}/api?token={secrets[2]}"
        given = ["-H", f"X-Key: {secrets[0]}", "-H", f"Cookie: a={secrets[3]};", "--to", to]
        file = tmp_path / "in.ndjson"
        file.write_bytes(b"1\n2\n{\n")
        assert livepost("send", file, "--run", run, *given).code == 1
        assert len(seen) == 2
        if moment == "during":
            livepost("retry", run, "--rejected", *given)
        for path in run.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0
            if path.is_file():
                assert b"s3cret" not in path.read_bytes()
        shown = (
            livepost("show", run, "--json").out + livepost("show", run).out + livepost("runs", tmp_path).out
        )
        assert "s3cret" not in shown
        refused = livepost("retry", run, "--rejected")
        assert refused.code == 2
        assert "s3cret" not in refused.err


def test_the_key_of_a_record_stays_the_same(tmp_path: Path) -> None:
    """In send, resume and retry; the server processes each key once, so nothing is in doubt."""
    run = tmp_path / "run"
    log = tmp_path / "log"
    faults = ["--fail", "reset-after-processing:every=7:to=700", "--fail", "422:from=701:for=20", *SLOWLY]
    with serving(log, "--idempotency", *faults) as server:
        file = write_input(tmp_path, "ndjson")
        with half_done(server, file, "--run", run, "--idempotency-key") as command:
            command.signal(signal.SIGKILL)
            command.wait()
        assert livepost("resume", run).code == 1
        assert marks_of(run).count("R") > 0
        assert livepost("retry", run, "--rejected", "--in-doubt").code == 0
    assert marks_of(run) == "D" * RECORDS
    keys: dict[int, set[str]] = {}
    requests = 0
    for line in log.read_bytes().splitlines():
        entry = json.loads(line)
        keys.setdefault(entry["record"], set()).add(entry["key"])
        requests += 1
    assert requests > RECORDS
    assert {len(of_record) for of_record in keys.values()} == {1}
    assert len(set.union(*keys.values())) == RECORDS


def test_rejected_records_are_fed_back_to_send(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def respond(request: RequestSeen) -> Reply | None:
        bodies.append(request.body)
        return Reply(422, body=b"no") if len(bodies) <= 20 and int(request.body) % 3 == 0 else None

    file = tmp_path / "in.ndjson"
    file.write_bytes(b"".join(b"%d\n" % number for number in range(20)))
    run = tmp_path / "run"
    with PracticeServer(respond=respond).run_in_thread() as server:
        to = ("--to", f"{server.url}/api")
        assert livepost("send", file, *to, "--run", run).code == 1
        assert livepost("send", run / "rejected.ndjson", *to, "--run", tmp_path / "again").code == 0
    assert sorted(map(int, bodies[20:])) == [0, 3, 6, 9, 12, 15, 18]


def refused_start(tmp_path: Path, *arguments: object, **how: Any) -> str:
    """What is said where the run directory cannot be had; nothing was sent, as nobody listens."""
    file = tmp_path / "in.ndjson"
    file.write_bytes(b"1\n")
    ended = livepost("send", file, "--to", "http://127.0.0.1:1/", *arguments, **how)
    assert ended.code == 2
    assert ended.err.count("\n") == 2
    return ended.err


def test_a_run_directory_that_cannot_be_had_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused_start(tmp_path, "--run", tmp_path / "file")
    assert said.startswith(f"livepost: the run directory '{tmp_path}/file' cannot be made: file exists\n")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    said = refused_start(tmp_path, "--run", full)
    assert said.startswith(f"livepost: '{full}' is not empty, and no run\n")
    assert [path.name for path in full.iterdir()] == ["mine"]
    said = refused_start(tmp_path, "--run", tmp_path / "no" / "parent")
    assert "no such file or directory" in said
    said = refused_start(tmp_path, "--run", "/proc/run")
    assert "cannot be made" in said


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """A small disk of its own; the test is skipped where that is not allowed."""
    path.mkdir()
    if os.geteuid() != 0 or subprocess.call(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], stderr=subprocess.DEVNULL
    ):
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_read_only_directory_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro") as disk:
        said = refused_start(tmp_path, "--run", disk / "run")
    assert said == (
        f"livepost: the run directory '{disk}/run' cannot be made: read-only file system\n"
        "  hint: give --run a path on a file system that can be written, or switch it off with --no-run\n"
    )


def test_a_full_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        said = refused_start(tmp_path, "--run", disk / "run")
        assert list(disk.iterdir()) == []
    assert said == (
        f"livepost: the run directory '{disk}/run' cannot be made: no space left on device\n"
        "  hint: make room, or give --run a path on another disk\n"
    )


def test_a_disk_that_gets_full_stops_the_run_and_with_room_it_goes_on(tmp_path: Path) -> None:
    """Every second record is rejected, so that letters need room."""
    with (
        mounted(tmp_path / "disk", "size=160k") as disk,
        serving(tmp_path / "log", "--fail", "422:every=2", *SLOWLY) as server,
    ):
        run = disk / "run"
        stopped = livepost(*send(server, write_input(tmp_path, "ndjson"), "--run", run))
        assert stopped.code == 75
        assert "cannot be written any further: no space left on device\n" in stopped.err
        assert "hint: make room there, then continue it with livepost resume\n" in stopped.err
        assert server.lines < RECORDS
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        assert livepost("resume", run).code == 1
        marks = marks_of(run)
        letters = {json.loads(line)["n"] for line in (run / "rejected.ndjson").read_bytes().splitlines()}
        processed = server.processed()
    delivered = {number for number, mark in enumerate(marks, 1) if mark == "D"}
    rejected = {number for number, mark in enumerate(marks, 1) if mark == "R"}
    assert len(delivered) + len(rejected) == RECORDS
    assert processed == dict.fromkeys(delivered, 1)
    assert letters == rejected


def test_a_full_disk_while_standard_input_is_kept_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=200k") as disk, serving(tmp_path / "log", *SLOWLY) as server:
        run = disk / "run"
        stopped = livepost(
            *send(server, "-", "--run", run),
            stdin=b"".join(b'{"id": %d, "x": "%0900d"}\n' % (n, n) for n in range(1, 501)),
        )
        assert stopped.code == 75
        assert "the input from record " in stopped.err
        assert " on was not kept, send it as another run\n" in stopped.err
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        livepost("resume", run)
        marks = marks_of(run)
    assert 0 < len(marks) < 500
    assert f"the input from record {len(marks) + 1} " in stopped.err
    assert marks == "D" * len(marks)
    assert server.processed() == dict.fromkeys(range(1, len(marks) + 1), 1)


def test_a_limit_on_the_size_of_files_stops_the_run_in_order(tmp_path: Path, server: Server) -> None:
    """So it is shown also where nothing can be mounted."""
    run = tmp_path / "run"
    file = tmp_path / "in.ndjson"
    count = 70_000
    file.write_bytes(b"".join(b'{"id": %d\n' % n for n in range(1, 200)) + lines(count))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, resource.RLIM_INFINITY))

    stopped = subprocess.run(
        [*COMMAND, "send", str(file), "--to", server.to, "--run", str(run), "--progress", "none"],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=limit,
    )
    assert stopped.returncode == 75
    assert "cannot be written any further: file too large\n" in stopped.stderr
    assert "  hint: raise the limit on the size of a file (ulimit -f)" in stopped.stderr
    assert json.loads(livepost("show", run, "--json").out)["rejected"] == 199


def damage(run: Path, name: str, how: str) -> None:
    path = run / name
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: min(len(content) // 2, 4096 + 100)],
            "a byte changed": content[:300] + bytes((content[300] ^ 1,)) + content[301:],
            "garbage": bytes(range(256)) * (len(content) // 256),
        }[how]
    )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("states", how) for how in ("empty", "cut", "a byte changed", "garbage", "gone")),
        *(("run.json", how) for how in ("empty", "cut", "garbage", "gone")),
    ],
)
def test_damage_is_told_and_with_a_copy_nothing_is_lost(
    tmp_path: Path, server: Server, name: str, how: str
) -> None:
    run = tmp_path / "run"
    with half_done(server, write_input(tmp_path, "ndjson"), "--run", run) as command:
        command.signal(signal.SIGTERM)
        command.wait()
    done = server.lines
    copies = {path: path.read_bytes() for path in run.iterdir()}
    if how == "gone":
        (run / name).unlink()
    else:
        damage(run, name, how)
    damaged = {path: path.read_bytes() for path in run.iterdir()}
    for arguments in (["resume", run], ["show", run], ["retry", run, "--rejected"]):
        ended = livepost(*arguments)
        assert ended.code == 2, ended.err
        assert f"'{run / name}'" in ended.err
        assert ended.err.count("\n") == 2
    assert server.lines == done
    assert {path: path.read_bytes() for path in run.iterdir()} == damaged
    for path, content in copies.items():
        path.write_bytes(content)
    assert_all_once(server, livepost("resume", run))


def test_marks_of_another_run_are_refused(tmp_path: Path, server: Server) -> None:
    file = write_input(tmp_path, "ndjson")
    for name in ("one", "two"):
        with half_done(server, file, "--run", tmp_path / name, count=server.lines + 50) as command:
            command.signal(signal.SIGTERM)
            command.wait()
    (tmp_path / "one" / "states").write_bytes((tmp_path / "two" / "states").read_bytes())
    ended = livepost("resume", tmp_path / "one")
    assert ended.code == 2
    assert " cannot be used: it belongs to another run (" in ended.err


def test_a_server_that_was_down_for_long_leaves_a_run_to_be_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with serving(tmp_path / "log", "--fail", "503:from=301", *SLOWLY) as server:
        port = int(server.to.rpartition(":")[2].partition("/")[0])
        arguments = send(server, write_input(tmp_path, "ndjson"), "--run", run, "--give-up-after", "300ms")
        stopped = livepost(*arguments)
    assert stopped.code == 75
    assert stopped.err.endswith(f"livepost: to go on: livepost resume {run}\n")
    assert "the server has taken nothing for" in stopped.err
    with serving(tmp_path / "log", port=port) as server:
        assert_all_once(server, livepost("resume", run))
