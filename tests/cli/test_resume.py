from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
from made_runs import begun, ended, kill, killed, marks_of
from watched_api import WatchedApi

from livepost.cli.main import main
from livepost.errors import OutputError
from livepost.mark import DELIVERED, REJECTED
from livepost.model import Record
from livepost.rehearsal.reply import HANG_UP, Reply
from livepost.runs.listing import Activity, describe
from livepost.runs.run import Run

pytestmark = pytest.mark.usefixtures("folder")

DIR = Path("run")


def resume(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["resume", *arguments])
    shown = capfd.readouterr()
    assert shown.out == ""
    return code, shown.err.splitlines()


def test_only_what_is_left_is_sent(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "D-R-Q-D")
    code, said = resume(capfd, "run")
    assert api.bodies() == [b'{"id": 2}', b'{"id": 4}', b'{"id": 6}']
    assert said[:2] == ["livepost: run run: 2 delivered before", "records     all 3 delivered"]
    assert said[-4:] == [
        "livepost: 1 rejected: run/rejected.ndjson",
        "livepost: 1 in doubt: run/in-doubt.ndjson",
        "livepost: to send them again: livepost retry run --rejected --in-doubt",
        "livepost: the whole run: 5 of 7 delivered, 1 rejected, 1 in doubt",
    ]
    # Of the whole run.
    assert code == 1
    assert marks_of(DIR) == "DDRDQDD"
    found = describe(DIR)
    assert found.activity is Activity.ENDED
    assert found.manifest.ended is not None
    assert found.manifest.ended.how == "finished"
    assert found.manifest.ended.counts == {"delivered": 5, "rejected": 1, "in_doubt": 1, "unsent": 0}


def test_what_was_in_flight_is_in_doubt(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "DF-F")
    code, said = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (1, [b'{"id": 3}'], "DQDQ")
    assert said[0] == "livepost: run run: 1 delivered before, 2 in flight when it ended"
    assert said[1] == "records     1 of 3 delivered, 2 in doubt"
    letters = [json.loads(line) for line in (DIR / "in-doubt.ndjson").read_text().splitlines()]
    assert [(letter["record"], letter["reason"]) for letter in letters] == [
        ({"id": 2}, "in flight when the run was interrupted"),
        ({"id": 4}, "in flight when the run was interrupted"),
    ]


def test_what_is_safe_to_repeat_waits_for_the_next_process_if_this_one_is_stopped(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    killed(DIR, api.to, "DF", options={"method": "PUT"})
    api.replies[b'{"id": 2}'] = HANG_UP
    code, said = resume(capfd, "run", "--give-up-after", "200ms", "--start-timeout", "200ms")
    assert (code, marks_of(DIR)) == (75, "DF")
    assert said[-1] == "livepost: to go on: livepost resume run"
    api.replies.clear()
    api.requests()
    code, said = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (0, [b'{"id": 2}'], "DD")
    assert said[0] == "livepost: run run: 1 delivered before, 1 in flight when it ended"


@pytest.mark.parametrize(
    ("marks", "flags", "code", "sent", "left"),
    [
        ("DR--", [], 75, [], "DR--"),
        ("DF--", [], 75, [], "DQ--"),
        ("DD--", [], 0, [b'{"id": 3}', b'{"id": 4}'], "DDDD"),
        ("DR--", ["--on-key-failure", "skip"], 1, [b'{"id": 3}', b'{"id": 4}'], "DRDD"),
    ],
)
def test_nothing_overtakes_in_order_what_an_earlier_process_did_not_deliver(
    capfd: pytest.CaptureFixture[str],
    api: WatchedApi,
    marks: str,
    flags: list[str],
    code: int,
    sent: list[bytes],
    left: str,
) -> None:
    killed(DIR, api.to, marks, options={"ordered": True})
    found, said = resume(capfd, "run", *flags)
    assert (found, api.bodies(), marks_of(DIR).ljust(4, "-")) == (code, sent, left)
    reason = "livepost: what comes in order after a record that was not delivered is left unsent"
    assert (reason in said) == ("  hint: --on-key-failure skip goes past it" in said) == (code == 75)


def test_nor_where_of_that_nothing_is_kept_but_its_letter(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    one, two, three = (
        Record(number, b'{"id": %d, "key": "%s"}' % (number, key), "-", number)
        for number, key in enumerate((b"A", b"A", b"B"), 1)
    )
    asked = {"to": api.to, "files": ["-"], "options": {"order_key": "/key"}, "withheld": []}
    run = Run.create(DIR, asked, keep_input=True)
    assert run.spool is not None
    run.spool._segment_bytes = 1
    run.reserve([one])
    run.conclude(REJECTED, one, "status 422", attempts=1, status=422)
    run.flush()
    for record in (two, three):
        run.reserve([record])
    assert run.spool.segments == 2, "that of the first is gone"
    kill(run)
    code, _ = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (75, [three.body], "R-D")


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"at_least_once": True}, []),
        ({"idempotency_key": "Idempotency-Key"}, []),
        ({"method": "PUT"}, []),
        ({}, ["--at-least-once"]),
    ],
)
def test_what_was_in_flight_is_sent_again_where_that_is_safe(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, options: dict[str, Any], flags: list[str]
) -> None:
    killed(DIR, api.to, "DF-", options=options)
    code, _ = resume(capfd, "run", *flags)
    assert (code, api.bodies(), marks_of(DIR)) == (0, [b'{"id": 2}', b'{"id": 3}'], "DDD")


@pytest.mark.parametrize("flags", [["--idempotency-key"], ["-X", "PUT"]])
def test_but_not_by_what_the_first_request_did_not_have(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, flags: list[str]
) -> None:
    killed(DIR, api.to, "DF-")
    code, _ = resume(capfd, "run", *flags)
    assert (code, api.bodies(), marks_of(DIR)) == (1, [b'{"id": 3}'], "DQD")


@pytest.mark.parametrize(
    ("options", "flags", "code"),
    [
        ({"method": "PUT"}, ["-X", "POST"], 1),
        ({"idempotency_key": "Key"}, ["--idempotency-key=Other"], 75),
    ],
)
def test_nor_by_what_the_last_request_did_not_have(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, options: dict[str, Any], flags: list[str], code: int
) -> None:
    killed(DIR, api.to, "D--", options=options)
    api.replies[b'{"id": 2}'] = HANG_UP
    assert resume(capfd, "run", *flags, "--give-up-after", "200ms")[0] == code
    # As if it had been killed while the second was in flight.
    states = bytearray((DIR / "states").read_bytes())
    states[4097:4099] = b"FF"
    (DIR / "states").write_bytes(states)
    (DIR / "run.json").write_text((DIR / "run.json").read_text().replace('"finished"', '"killed"'))
    api.requests()
    code, _ = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (1, [], "DQQ")
    # Each is kept once.
    assert len(describe(DIR).manifest.asked_since) == 1


def test_after_a_power_cut_what_may_have_been_sent_is_in_doubt(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(DIR, api.to, "D--")
    monkeypatch.setattr("livepost.runs.states.current_boot_id", lambda: "another")
    code, said = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (1, [], "DQQ")
    # It does not know yet that the input has only three records.
    assert said[0].startswith("livepost: run run: 1 delivered before, up to ")
    assert said[0].endswith(" in flight when the machine stopped")
    assert said[-1] == "livepost: the whole run: 1 of 3 delivered, 2 in doubt"


def test_standard_input_is_taken_from_what_was_kept(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    killed(DIR, api.to, "DF--", stdin=True)
    Path("in.ndjson").unlink()
    code, said = resume(capfd, "run")
    assert (code, api.bodies(), marks_of(DIR)) == (1, [b'{"id": 3}', b'{"id": 4}'], "DQDD")
    assert said[1] == (
        "livepost: the input could be read only once: what came after the run had ended is not in it"
    )


def test_standard_input_that_was_cut_short_is_no_success(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    killed(DIR, api.to, "D-", stdin=True)
    for bodies in ([b'{"id": 2}'], []):
        code, said = resume(capfd, "run")
        assert (code, api.bodies(), said[-1]) == (1, bodies, "livepost: the whole run: 2 delivered")


def test_standard_input_that_was_kept_to_its_end_is_a_success(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    run = begun(DIR, api.to, "D-", stdin=True)
    run.input_ended(2)
    kill(run)
    code, said = resume(capfd, "run")
    assert (code, api.bodies(), said[-1]) == (0, [b'{"id": 2}'], "livepost: the whole run: 2 of 2 delivered")


@pytest.mark.parametrize(("marks", "code"), [("--", 3), ("D-", 75), ("R-", 75), ("F-", 75)])
def test_a_server_that_is_down_stops_a_run_that_had_begun(
    capfd: pytest.CaptureFixture[str], marks: str, code: int
) -> None:
    """It is 3 only if nothing was ever sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = f"http://127.0.0.1:{server.getsockname()[1]}/"
    killed(DIR, to, marks)
    assert resume(capfd, "run", "--start-timeout", "10ms")[0] == code


def test_a_run_that_cannot_be_written_has_stopped_early(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise OutputError(f"the run directory {str(path)!r} cannot be written any further", "check the disk")

    killed(DIR, api.to, "D-")
    monkeypatch.setattr(Run, "open", refuse)
    assert (
        refused(capfd, "run", code=75)[0] == "livepost: the run directory 'run' cannot be written any further"
    )


@pytest.mark.parametrize(("marks", "code"), [("DDD", 0), ("DRQ", 1)])
def test_of_a_finished_run_nothing_is_left(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, marks: str, code: int
) -> None:
    """Neither is its input needed any more, nor what it withheld."""
    ended(DIR, api.to, marks, withheld=["-H X-Key"])
    Path("in.ndjson").unlink()
    before = (DIR / "run.json").read_bytes()
    assert resume(capfd, "run", "-o", "receipts")[0] == code
    assert (api.bodies(), marks_of(DIR)) == ([], marks)
    assert (DIR / "run.json").read_bytes() == before
    assert Path("receipts").read_bytes() == b""
    capfd.readouterr()
    assert main(["resume", "run", "--json"]) == code
    shown = capfd.readouterr()
    assert json.loads(shown.out)["records"]["read"] == 0
    assert shown.err.splitlines()[-1] == "livepost: there is nothing to be sent"


def test_a_letter_that_could_not_be_written_is_written_when_there_is_room(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "DR", how="the run directory 'run' cannot be written any further")
    (DIR / "rejected.ndjson").unlink()
    assert resume(capfd, "run")[0] == 1
    (letter,) = [json.loads(line) for line in (DIR / "rejected.ndjson").read_text().splitlines()]
    assert (letter["n"], letter["record"]) == (2, {"id": 2})


def test_what_is_not_fit_to_be_sent_is_rejected_once(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    run = begun(DIR, api.to, "--")
    kill(run)
    Path("in.ndjson").write_bytes(b'{"id": 1}\n{"bad": 2\n')
    manifest = json.loads((DIR / "run.json").read_text())
    manifest["inputs"] = []
    (DIR / "run.json").write_text(json.dumps(manifest))
    assert resume(capfd, "run")[0] == 1
    assert marks_of(DIR) == "DR"
    assert resume(capfd, "run")[0] == 1
    assert (DIR / "rejected.ndjson").read_bytes().count(b"\n") == 1


def test_a_resumed_run_that_leaves_something_says_how_to_go_on(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    api.replies[b'{"id": 3}'] = Reply(401)
    killed(Path("my run"), api.to, "D---")
    code, said = resume(capfd, "my run", "--ordered", "--on-key-failure", "stop")
    assert code == 75
    assert said[-2:] == [
        "livepost: the whole run: 2 of 4 delivered, 1 rejected, 1 unsent",
        "livepost: to go on: livepost resume 'my run'",
    ]
    assert json.loads(Path("my run/run.json").read_text())["ended"]["how"] == "records were left unsent"


def test_the_keys_of_a_resumed_run_are_those_it_began_with(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    def key() -> list[bytes]:
        return [dict(request.headers)[b"Idempotency-Key"] for request in api.requests()]

    killed(DIR, api.to, "DF", options={"idempotency_key": "Idempotency-Key"})
    main(["resume", "run"])
    first = key()
    states = bytearray((DIR / "states").read_bytes())
    states[4097:4098] = b"F"
    (DIR / "states").write_bytes(states)
    (DIR / "run.json").write_text((DIR / "run.json").read_text().replace('"finished"', '"killed"'))
    main(["resume", "run"])
    assert key() == first
    assert len(first) == 1
    capfd.readouterr()


def refused(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> list[str]:
    found, said = resume(capfd, *arguments)
    assert (found, [line[:8] for line in said[1:]]) == (code, ["  hint: "])
    return said


def test_a_run_must_be_named_and_be_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert refused(capfd) == ["livepost: no run is named", "  hint: livepost runs lists them"]
    assert refused(capfd, "none") == [
        "livepost: cannot read 'none/run.json': no such file or directory",
        "  hint: list the runs with livepost runs",
    ]
    Path("file").touch()
    assert refused(capfd, "file")[0] == "livepost: cannot read 'file/lock': not a directory"
    assert refused(capfd, "a\0b")[0] == "livepost: the path of the run contains a NUL character"


def test_a_secret_must_be_given_again(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "D-", withheld=["-H X-Key"])
    assert refused(capfd, "run") == [
        "livepost: the run was begun with -H X-Key, which may hold a secret and is not kept",
        "  hint: give -H X-Key again",
    ]
    assert marks_of(DIR) == "D"
    assert resume(capfd, "run", "-H", "X-Key: s3cret")[0] == 0
    (request,) = api.requests()
    assert dict(request.headers)[b"X-Key"] == b"s3cret"
    assert all(b"s3cret" not in file.read_bytes() for file in DIR.rglob("*") if file.is_file())


def test_the_input_must_be_the_same(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "D-")
    path = Path("in.ndjson").absolute()
    path.write_bytes(b'{"id": 1}\n{"id": 3}\n')
    assert refused(capfd, "run", code=4) == [
        f"livepost: {path} has other content than when the run began",
        "  hint: put back the file that the run began with, or begin a new run",
    ]
    path.unlink()
    assert refused(capfd, "run", code=4)[0] == f"livepost: {path} is not there any more"
    assert (api.requests(), marks_of(DIR)) == ([], "D")
    assert describe(DIR).activity is Activity.INTERRUPTED


def test_a_run_that_goes_on_is_left_alone(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    run = begun(DIR, api.to, "D-")
    assert refused(capfd, "run") == [
        f"livepost: the run 'run' is being worked on by process {os.getpid()}",
        "  hint: wait until that has ended, or end it; livepost show tells how far it is",
    ]
    run.states.marks[2] = DELIVERED
    run.close()


def test_another_target_is_refused(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "D-")
    assert refused(capfd, "run", "--to", "http://other.test/")[0] == (
        f"livepost: the run was begun for {api.to}, not http://other.test/"
    )
    # The directory is not held any longer.
    assert resume(capfd, "run", "--to", api.to)[0] == 0


def test_damage_is_told_and_nothing_is_sent(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(DIR, api.to, "D-")
    manifest = (DIR / "run.json").read_text()
    (DIR / "run.json").write_text(manifest.replace('"options": {}', '"options": {"retry": "often"}'))
    assert refused(capfd, "run") == [
        "livepost: run.json does not say what was asked: Expected `int`, got `str`",
        "  hint: restore it from a copy, or begin a new run with what is left",
    ]
    (DIR / "run.json").write_text(manifest)
    assert resume(capfd, "run")[0] == 0


def test_the_input_cannot_be_chosen_again(capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no option --input-format" in refused(capfd, "run", "--input-format", "json")[0]


def test_receipts_do_not_overwrite_the_input_of_the_run(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    killed(DIR, api.to, "D-")
    before = Path("in.ndjson").read_bytes()
    said = refused(capfd, "run", "-o", "in.ndjson")
    assert "would overwrite the input" in said[0]
    assert Path("in.ndjson").read_bytes() == before


def test_where_nothing_is_left_no_server_is_needed(capfd: pytest.CaptureFixture[str]) -> None:
    killed(DIR, "http://127.0.0.1:1/", "RD")
    code, said = resume(capfd, "run")
    assert (code, marks_of(DIR)) == (1, "RD")
    assert said[1] == "records     none read"
