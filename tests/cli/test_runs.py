from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from command import COMMAND, environment
from made_runs import begun, ended, killed
from terminal import Terminal

from livepost.cli.main import main

pytestmark = pytest.mark.usefixtures("folder")

TO = "http://api.test/v1"
PARENT = Path(".livepost")


def shown(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(list(arguments)) == code
    found = capfd.readouterr()
    return found.out, found.err


def four_runs() -> None:
    PARENT.mkdir()
    ended(PARENT / "a-1", TO, "DDRQ")
    killed(PARENT / "b-1", TO, "DFF-")
    (PARENT / "c-1").mkdir()
    ended(PARENT / "d-1", TO, "D--", how="stopped by SIGTERM")


def test_the_runs_are_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    four_runs()
    live = begun(PARENT / "e-1", TO, "DF-")
    out, err = shown(capfd, "runs", code=1)
    assert out.splitlines() == [
        "run  state        records  delivered  rejected  in doubt  unsent",
        "a-1  ended              4          2         1         1       0",
        "b-1  interrupted        ?          1         0         2       ?",
        "d-1  ended              3          1         0         0       2",
        # What is in flight while the run goes on is not in doubt.
        "e-1  running            ?          1         0         0       ?",
    ]
    assert err == ("livepost: cannot read '.livepost/c-1/run.json': no such file or directory\n")
    live.close()


def test_the_runs_are_data(capfd: pytest.CaptureFixture[str]) -> None:
    four_runs()
    out, _ = shown(capfd, "runs", "--json", code=1)
    first, second, third = [json.loads(line) for line in out.splitlines()]
    created, stopped = first.pop("created"), first.pop("ended")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", created)
    assert stopped >= created
    assert len(first.pop("id")) == 36
    assert first == {
        "path": ".livepost/a-1",
        "state": "ended",
        "to": TO,
        "files": [str(Path("in.ndjson").absolute())],
        "records": 4,
        "delivered": 2,
        "rejected": 1,
        "in_doubt": 1,
        "in_flight": 0,
        "unsent": 0,
        "how": "finished",
    }
    assert (second["state"], second["in_flight"], second["unsent"], second["how"]) == (
        "interrupted",
        2,
        None,
        None,
    )
    assert (third["how"], third["unsent"]) == ("stopped by SIGTERM", 2)
    out, _ = shown(capfd, "show", ".livepost/a-1", "--json")
    assert json.loads(out) == json.loads(out) | first


def test_runs_may_be_elsewhere_or_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert shown(capfd, "runs") == ("", "livepost: there are no runs in .livepost\n")
    assert shown(capfd, "runs", "--json") == ("", "livepost: there are no runs in .livepost\n")
    ended(Path("mine"), TO, "D")
    assert shown(capfd, "runs", ".")[0].splitlines()[1].startswith("mine  ended")
    Path("file").touch()
    assert shown(capfd, "runs", "file", code=2)[1].startswith("livepost: cannot read 'file': not a directory")


def test_one_run_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    ended(Path("run"), TO, "DDRQ-")
    out, err = shown(capfd, "show", "run")
    lines = out.splitlines()
    assert re.fullmatch(r"created     \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines.pop(2))
    assert err == ""
    assert lines == [
        "run         run",
        "state       ended: finished",
        f"to          {TO}",
        f"input       {Path('in.ndjson').absolute()}",
        "records     5",
        "delivered   2",
        "rejected    1  (run/rejected.ndjson)",
        "in doubt    1  (run/in-doubt.ndjson)",
        "unsent      1",
    ]


def test_a_live_run_and_one_that_was_interrupted_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    run = begun(Path("run"), TO, "DF-", stdin=True)
    out, _ = shown(capfd, "show", "run")
    assert "state       running\n" in out
    assert "input       -\nrecords     not known yet\ndelivered   1\n" in out
    assert "in flight   1\n" in out
    assert "unsent" not in out
    run.close()
    killed(Path("other"), TO, "DF-")
    out, _ = shown(capfd, "show", "other")
    assert "state       interrupted\n" in out


@pytest.mark.parametrize("command", ["runs", "show"])
def test_nothing_that_a_run_was_told_moves_the_cursor(
    capfd: pytest.CaptureFixture[str], command: str
) -> None:
    ended(Path("run"), TO, "D", how="\x1b[2Jgone")
    out, _ = shown(capfd, command, *(["."] if command == "runs" else ["run"]))
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "livepost: no run is named\n  hint: livepost runs lists them\n"),
        (["show", "none"], "livepost: cannot read 'none/run.json': no such file or directory\n"),
        (["show", "a\0"], "livepost: the path of the run contains a NUL character\n"),
        (["show", "run", "more"], "livepost: there is nothing to be done with more\n"),
        (["runs", "--jsn"], "livepost: there is no option --jsn; did you mean --json?\n"),
    ],
)
def test_a_mistake_is_told(capfd: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    ended(Path("run"), TO, "D")
    out, err = shown(capfd, *arguments, code=2)
    assert out == ""
    assert err.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "run.json' is damaged: "),
        (b"{", "run.json' is damaged: "),
        (b"[]", "run.json' is damaged: "),
        (b"\xff\xfe", "run.json' is damaged: "),
        (b'{"format": 2}', "was written by a newer livepost (format 2)"),
    ],
)
def test_a_damaged_run_is_told(capfd: pytest.CaptureFixture[str], content: bytes, said: str) -> None:
    ended(Path("run"), TO, "D")
    Path("run/run.json").write_bytes(content)
    _, err = shown(capfd, "show", "run", code=2)
    assert said in err
    assert err.count("\n") == 2
    assert shown(capfd, "runs", ".", code=1) == ("", err.splitlines(keepends=True)[0])


def test_damaged_options_do_not_keep_a_run_from_being_shown(capfd: pytest.CaptureFixture[str]) -> None:
    ended(Path("run"), TO, "D")
    manifest = json.loads(Path("run/run.json").read_text()) | {"asked": {"files": 3}}
    Path("run/run.json").write_text(json.dumps(manifest))
    out, _ = shown(capfd, "show", "run")
    assert "to          ?\ninput       ?\n" in out
    out, _ = shown(capfd, "show", "run", "--json")
    assert json.loads(out)["to"] is None


@pytest.mark.parametrize("columns", [77, 76])
def test_where_the_terminal_is_too_narrow_for_a_table_each_run_has_a_paragraph(columns: int) -> None:
    PARENT.mkdir()
    ended(PARENT / "users-20261122T161826Z", TO, "DDRQ")
    with Terminal(columns) as terminal:
        with subprocess.Popen([*COMMAND, "runs"], stdout=terminal.descriptor, env=environment()) as process:
            terminal.started()
            terminal.wait_for_end()
        assert process.returncode == 0
        lines = terminal.lines
    assert max(map(len, lines)) <= columns
    if columns == 77:
        assert lines[1].split() == ["users-20261122T161826Z", "ended", "4", "2", "1", "1", "0"]
    else:
        assert lines[:3] == ["users-20261122T161826Z", "  state       ended", "  records     4"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    ended(Path("run"), TO, "D")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        code = subprocess.call([*COMMAND, "runs", "."], stdout=pipe, env=environment())
    assert code == 0
