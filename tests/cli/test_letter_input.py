from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from made_runs import begun, ended, kill, killed, marks_of
from watched_api import WatchedApi

from livepost.cli.main import main
from livepost.rehearsal.reply import Reply

pytestmark = pytest.mark.usefixtures("folder")

DIR = Path("run")
REJECTED = "run/rejected.ndjson"


def send(capfd: pytest.CaptureFixture[str], api: WatchedApi, *arguments: str) -> tuple[int, list[str]]:
    code = main(["send", *arguments, "--to", api.to])
    return code, capfd.readouterr().err.splitlines()


@pytest.mark.parametrize("name", ["rejected.ndjson", "in-doubt.ndjson"])
def test_the_records_in_the_letters_of_a_run_are_sent(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, name: str
) -> None:
    ended(DIR, api.to, "RDRQ")
    assert send(capfd, api, f"run/{name}", "--run", "again", "-o", "receipts")[0] == 0
    assert api.bodies() == ([b'{"id": 1}', b'{"id": 3}'] if "rej" in name else [b'{"id": 4}'])
    # They are known by where they were first read.
    receipts = [json.loads(line) for line in Path("receipts").read_text().splitlines()]
    lines = [1, 3] if "rej" in name else [4]
    assert [(receipt["source"], receipt["line"]) for receipt in receipts] == [
        ("in.ndjson", line) for line in lines
    ]
    assert marks_of(DIR) == "RDRQ"


def test_the_letters_of_two_runs_are_sent_together(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "DR")
    ended(Path("other"), api.to, "QRR")
    files = [REJECTED, "other/in-doubt.ndjson", "other/rejected.ndjson"]
    assert send(capfd, api, *files, "--no-run")[0] == 0
    assert api.bodies() == [b'{"id": 1}', b'{"id": 2}', b'{"id": 2}', b'{"id": 3}']


def test_such_a_run_is_resumed_with_records_even_if_the_first_run_is_gone(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "RRR")
    api.replies[b'{"id": 2}'] = Reply(400)
    assert send(capfd, api, REJECTED, "--run", "again", "--ordered")[0] == 75
    assert api.bodies() == [b'{"id": 1}', b'{"id": 2}']
    (DIR / "run.json").unlink()
    assert main(["resume", "again"]) == 1
    assert api.bodies() == [b'{"id": 3}']


def test_letters_that_have_gone_out_of_date_are_refused(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    """What was delivered since is not sent a second time without being asked for."""
    ended(DIR, api.to, "RRD")
    assert main(["retry", "run", "--rejected"]) == 0
    api.requests()
    capfd.readouterr()
    assert send(capfd, api, REJECTED) == (
        2,
        [
            "livepost: 2 of the records in run/rejected.ndjson have been sent again since",
            "  hint: to send those that are left: livepost retry run --rejected",
        ],
    )
    assert send(capfd, api, REJECTED, "--input-format", "letters")[0] == 2
    assert api.requests() == []


def test_a_run_that_may_still_write_letters_is_refused(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    run = begun(DIR, api.to, "R-")
    run.flush()
    assert send(capfd, api, REJECTED)[1] == [
        "livepost: the run that writes run/rejected.ndjson goes on",
        "  hint: wait until it has ended",
    ]
    kill(run)
    assert send(capfd, api, REJECTED)[1] == [
        "livepost: the run that wrote run/rejected.ndjson was interrupted",
        "  hint: first go on with it: livepost resume run",
    ]
    assert not Path(".livepost").exists()


def test_letters_without_their_run_are_sent_when_it_is_said_what_they_are(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "RR")
    (DIR / "states").unlink()
    code, said = send(capfd, api, REJECTED)
    assert code == 2
    assert said[0].startswith("livepost: run/rejected.ndjson belongs to a run that cannot be used: ")
    hint = "add --input-format letters to send the records in it"
    assert said[1] == f"  hint: copy the file to another directory and {hint}"
    Path("copy.ndjson").write_bytes(Path(REJECTED).read_bytes())
    Path("copy.gz").write_bytes(gzip.compress(Path(REJECTED).read_bytes()))
    for copy in ("copy.ndjson", "copy.gz"):
        assert send(capfd, api, copy) == (
            2,
            [
                f"livepost: {copy} looks like letters of a run, which hold records",
                f"  hint: {hint}, or --input-format ndjson to send its lines as they are",
            ],
        )
        assert api.requests() == []
        assert send(capfd, api, copy, "--input-format", "letters")[0] == 0
        assert api.bodies() == [b'{"id": 1}', b'{"id": 2}']


def test_lines_are_sent_as_they_are_when_that_is_said(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "R")
    assert send(capfd, api, REJECTED, "--input-format", "ndjson")[0] == 0
    (body,) = api.bodies()
    assert json.loads(body)["record"] == {"id": 1}


def test_letters_and_plain_records_are_not_mixed(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    ended(DIR, api.to, "R")
    assert send(capfd, api, "in.ndjson", REJECTED) == (
        2,
        [
            "livepost: run/rejected.ndjson holds letters of a run and in.ndjson plain records",
            "  hint: send them one after the other",
        ],
    )


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{\n", b"[1]\n", b'{"n":1,"source":"shop","line":2}\n', b'{"n": 1}\n']
)
def test_plain_records_are_no_letters(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, content: bytes
) -> None:
    """Nor does the name alone make a file of letters, or a run directory with other names in it."""
    killed(DIR, api.to, "D")
    for name in ("rejected.ndjson", "run/mine.ndjson", "a.json"):
        Path(name).write_bytes(content)
        send(capfd, api, name)
        assert all(request.body in content for request in api.requests())


def test_a_pipe_is_not_looked_at(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    read, write = os.pipe()
    os.write(write, b'{"n":1,"source":"-","line":9,"reason":"r","record":7}\n')
    os.close(write)
    assert send(capfd, api, f"/dev/fd/{read}", "--input-format", "letters")[0] == 0
    os.close(read)
    assert api.bodies() == [b"7"]
