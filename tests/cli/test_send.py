"""What `livepost send` refuses, and where it writes; what it delivers is shown in tests/e2e."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from livepost.cli import delivering
from livepost.cli.main import main
from livepost.config import ShowOptions
from livepost.errors import OutputError
from livepost.rehearsal.server import PracticeServer
from livepost.report.receipts import Receipts

TO = ("--to", "http://127.0.0.1:9/")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("no_proxy", "*")
    Path("in.ndjson").write_bytes(b"1\n2\n")


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer().run_in_thread() as running:
        yield running


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What is said, in lines; nothing is on stdout."""
    assert main(["send", *arguments]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


def test_a_target_and_an_input_are_needed(capfd: pytest.CaptureFixture[str]) -> None:
    assert refused(capfd, "in.ndjson") == [
        "livepost: it is not said where to send the records",
        "  hint: add --to URL",
    ]
    assert refused(capfd, *TO) == [
        "livepost: no input is named",
        "  hint: name one or more files, or - for standard input",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in.ndjson", "--to", "localhost:8080/api"], "the URL has no scheme: localhost:8080/api"),
        (["none.ndjson", *TO], "cannot read none.ndjson: no such file or directory"),
        ([".", *TO], "cannot read .: is a directory"),
        (["-", "-", *TO], "standard input is named twice"),
        (["in.ndjson", *TO, "-o", "none/out"], "the receipts cannot be written to 'none/out'"),
        (["in.ndjson", *TO, "-o", "."], "the receipts cannot be written to '.'"),
        (["in.ndjson", *TO, "-X", "PO ST"], "not a request method: 'PO ST'"),
        (["in.ndjson", *TO, "-H", "s3cret"], "-H number 1 is no header: it has no colon"),
        (["in.ndjson", *TO, "-H", "A: s3cret\r\nB: 1"], "the value of A holds a control character"),
        (["in.ndjson", *TO, "-x", "u:s3cret@ftp://p"], "the proxy URL "),
        (["in.ndjson", *TO, "--resolve", "x"], "--resolve x cannot be understood"),
        (["in.ndjson", "--to", "https://x", "--key", "k"], "--key is given without --cert"),
        (["in.ndjson", "--to", "https://x", "--cacert", "none"], "--cacert none cannot be used: "),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    lines = refused(capfd, *arguments)
    assert lines[0].startswith(f"livepost: {said}")
    assert [line[:8] for line in lines[1:]] == ["  hint: "]
    assert "s3cret" not in "".join(lines)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    Path("in.ndjson").chmod(0)
    assert refused(capfd, "in.ndjson", *TO)[0] == "livepost: cannot read in.ndjson: permission denied"


@pytest.mark.parametrize("output", ["in.ndjson", "./in.ndjson", "hard", "soft"])
def test_an_input_is_never_overwritten_with_receipts(capfd: pytest.CaptureFixture[str], output: str) -> None:
    os.link("in.ndjson", "hard")
    os.symlink("in.ndjson", "soft")
    Path("other.ndjson").write_bytes(b"3\n")
    assert refused(capfd, "other.ndjson", "in.ndjson", *TO, "-o", output) == [
        "livepost: the receipts would overwrite the input in.ndjson",
        "  hint: give -o the name of another file",
    ]
    assert Path("in.ndjson").read_bytes() == b"1\n2\n"


def test_standard_input_is_not_overwritten_either(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(0)
    file = os.open("in.ndjson", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        assert (
            refused(capfd, "-", *TO, "-o", "in.ndjson")[0]
            == "livepost: the receipts would overwrite the input -"
        )
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(file)
    assert Path("in.ndjson").read_bytes() == b"1\n2\n"


def test_what_is_wrong_elsewhere_leaves_old_receipts_alone(capfd: pytest.CaptureFixture[str]) -> None:
    Path("out").write_text("old")
    refused(capfd, "in.ndjson", "-o", "out", *TO, "-H", "no colon")
    assert Path("out").read_text() == "old"


def test_a_device_may_be_input_and_output() -> None:
    assert main(["send", "/dev/null", "-o", "/dev/null", *TO]) == 0


def test_receipts_and_summary_are_written(capfd: pytest.CaptureFixture[str], server: PracticeServer) -> None:
    to = ["--to", f"{server.url}/api"]
    assert main(["send", "in.ndjson", *to, "-o", "out", "--json", "--progress", "none"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["records"]["delivered"] == 2
    receipts = [json.loads(line) for line in Path("out").read_text().splitlines()]
    assert [receipt["n"] for receipt in receipts] == [1, 2]


def test_the_summary_is_talk_unless_asked_for_as_data(
    capfd: pytest.CaptureFixture[str], server: PracticeServer
) -> None:
    assert main(["send", "in.ndjson", "--to", f"{server.url}/api", "--connections", "1"]) == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()[:2]
    assert re.fullmatch(r"livepost: run \.livepost/in-\d{8}T\d{6}Z", first)
    assert second == "records     all 2 delivered"
    assert "connections 1 opened over HTTP/1.1, 2 requests" in shown.err


@pytest.mark.parametrize("output", ["-o/dev/full", "--json"])
def test_output_that_is_missing_spoils_success(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: PracticeServer,
    output: str,
) -> None:
    def no_room(text: str) -> None:
        raise OutputError("standard output cannot be written: No space left on device")

    monkeypatch.setattr(delivering, "print_data", no_room)
    assert main(["send", "in.ndjson", "--to", f"{server.url}/api", output]) == 75
    assert server.stats.requests == 2
    assert "cannot be written" in capfd.readouterr().err


def test_receipts_that_fail_while_the_run_lasts_end_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: PracticeServer
) -> None:
    """The flush that comes every second notices that the disk is full before 64 KiB have gathered."""
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(delivering, "_FLUSH_SECONDS", 0.001)
    # Records come for as long as the run lasts.
    endless, feed = os.pipe()
    os.write(feed, b"1\n")
    with os.fdopen(feed, "wb"), os.fdopen(endless, "rb"), os.fdopen(write, "wb"):
        code = main(["send", f"/dev/fd/{endless}", "--to", f"{server.url}/api", "-o", f"/dev/fd/{write}"])
    shown = capfd.readouterr()
    assert code == 75
    assert "records     1 of 1 delivered" in shown.err
    assert "Broken pipe" in shown.err


def status(inode: int) -> os.stat_result:
    return os.stat_result((0o020620, inode, 1, 1, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("show", "out", "err", "mode"),
    [
        (ShowOptions(receipts="-"), 1, 1, "plain"),
        (ShowOptions(receipts="-", progress="bar"), 1, 1, "plain"),
        (ShowOptions(receipts="-", progress="none"), 1, 1, "none"),
        (ShowOptions(receipts="-"), 1, 2, "auto"),
        (ShowOptions(receipts="-", progress="bar"), 1, 2, "bar"),
        (ShowOptions(receipts="out"), 1, 1, "auto"),
        (ShowOptions(json=True), 1, 1, "auto"),
    ],
)
def test_no_bar_is_drawn_among_receipts_on_the_same_terminal(
    monkeypatch: pytest.MonkeyPatch, show: ShowOptions, out: int, err: int, mode: str
) -> None:
    def stat(file: Any) -> os.stat_result:
        return status({1: out, 2: err}[file])

    fake = SimpleNamespace(isatty=lambda number: True, stat=stat, path=os.path, stat_result=os.stat_result)
    monkeypatch.setattr(delivering, "os", fake)
    assert delivering._progress_mode(show) == mode


def test_receipts_are_written_also_when_the_run_breaks(
    monkeypatch: pytest.MonkeyPatch, server: PracticeServer
) -> None:
    def crash(receipts: Receipts, rejection: object) -> None:
        raise ZeroDivisionError("mine")

    monkeypatch.setattr(Receipts, "rejected", crash)
    Path("in.ndjson").write_bytes(b"1\n2\nnot JSON\n4\n")
    with pytest.raises(ZeroDivisionError, match="mine"):
        main(["send", "in.ndjson", "--to", f"{server.url}/api", "-o", "out", "--connections", "1"])
    receipts = [json.loads(line) for line in Path("out").read_text().splitlines()]
    assert [(receipt["n"], receipt["outcome"]) for receipt in receipts] == [
        (1, "delivered"),
        (2, "delivered"),
        (4, "unsent"),
    ]
