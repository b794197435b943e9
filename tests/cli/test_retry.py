from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import begun, ended, kill, killed, marks_of
from watched_api import WatchedApi

from livepost.cli.main import main
from livepost.mark import IN_DOUBT, REJECTED
from livepost.model import Rejection
from livepost.recording import LetterSource
from livepost.rehearsal.reply import HANG_UP, Reply
from livepost.runs.listing import Activity, describe
from livepost.runs.run import Run

pytestmark = pytest.mark.usefixtures("folder")

DIR = Path("run")


def retry(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["retry", *arguments])
    shown = capfd.readouterr()
    assert shown.out == ""
    return code, shown.err.splitlines()


@pytest.mark.parametrize(
    ("flags", "sent", "left", "rest"),
    [
        (["--rejected"], [b'{"id": 2}', b'{"id": 5}'], "DDDQD", ", 1 in doubt"),
        (["--in-doubt"], [b'{"id": 4}'], "DRDDR", ", 2 rejected"),
        (["--in-doubt", "--rejected"], [b'{"id": 2}', b'{"id": 4}', b'{"id": 5}'], "DDDDD", ""),
    ],
)
def test_those_are_sent_again_that_were_asked_for(
    capfd: pytest.CaptureFixture[str],
    api: WatchedApi,
    flags: list[str],
    sent: list[bytes],
    left: str,
    rest: str,
) -> None:
    ended(DIR, api.to, "DRDQR")
    code, said = retry(capfd, "run", *flags)
    assert (code, api.bodies(), marks_of(DIR)) == (0, sent, left)
    assert said[-1] == f"livepost: the whole run: {left.count('D')} of 5 delivered{rest}"
    assert describe(DIR).activity is Activity.ENDED
    # The same again finds nothing.
    code, said = retry(capfd, "run", *flags)
    assert (code, api.bodies()) == (0, [])
    assert said[1] == "livepost: there is nothing to be sent"


def test_what_fails_again_has_a_new_letter(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    api.replies = {b'{"id": 1}': Reply(409), b'{"id": 2}': HANG_UP}
    ended(DIR, api.to, "RR")
    code, said = retry(capfd, "run", "--rejected")
    assert (code, marks_of(DIR)) == (1, "RQ")
    assert said[-4:-1] == [
        "livepost: 1 rejected: run/rejected.ndjson",
        "livepost: 1 in doubt: run/in-doubt.ndjson",
        "livepost: to send them again: livepost retry run --rejected --in-doubt",
    ]
    rejected = [json.loads(line) for line in (DIR / "rejected.ndjson").read_text().splitlines()]
    assert [(letter["n"], letter["status"]) for letter in rejected] == [(1, 422), (2, 422), (1, 409)]
    api.requests()
    api.replies.clear()
    assert retry(capfd, "run", "--rejected")[0] == 0
    assert (api.bodies(), marks_of(DIR)) == ([b'{"id": 1}'], "DQ")


def test_what_is_in_doubt_stays_so_also_where_it_is_safe_to_repeat(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It may be that the input is not there any more, and only its letter holds it."""
    ended(DIR, "http://127.0.0.1:1/", "DQ", options={"method": "PUT"})
    assert retry(capfd, "run", "--in-doubt", "--start-timeout", "100ms")[0] == 3
    assert marks_of(DIR) == "DQ"


@pytest.mark.parametrize("was_read", [True, False])
def test_a_run_has_not_finished_while_records_were_never_sent(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, was_read: bool
) -> None:
    run = begun(DIR, api.to, "R-")
    if was_read:
        run.input_ended(2)
    run.end("stopped by SIGINT", {})
    run.close()
    code, said = retry(capfd, "run", "--rejected")
    assert (code, said[-1]) == (0, "livepost: to go on: livepost resume run")
    found = describe(DIR)
    assert found.manifest.ended is not None
    assert found.manifest.ended.how == "records were left unsent"


def test_a_doubt_is_taken_away_by_a_delivery_only(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    api.replies = {b'{"id": 1}': Reply(409)}
    ended(DIR, api.to, "QQ")
    assert retry(capfd, "run", "--in-doubt")[0] == 1
    assert marks_of(DIR) == "QD"
    letter = json.loads((DIR / "in-doubt.ndjson").read_text().splitlines()[-1])
    assert (letter["n"], letter["reason"]) == (1, "status 409, after an attempt that may have been processed")


def test_what_is_in_doubt_stays_so_where_the_server_cannot_be_reached(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended(DIR, "http://127.0.0.1:1/", "DQQ")
    assert retry(capfd, "run", "--in-doubt", "--start-timeout", "100ms")[0] == 3
    assert marks_of(DIR) == "DQQ"


def test_a_record_changed_in_its_letter_is_sent_as_it_is_now(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "R")
    letters = DIR / "rejected.ndjson"
    letters.write_bytes(letters.read_bytes().replace(b'{"id": 1}', b'{"id": 1, "name": "John"}'))
    assert retry(capfd, "run", "--rejected")[0] == 0
    assert api.bodies() == [b'{"id": 1, "name": "John"}']


def test_what_was_never_fit_to_be_sent_stays_rejected(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    run = begun(DIR, api.to, "R")
    run.reserve([Rejection(2, "in.ndjson", 2, "invalid JSON")])
    run.conclude(REJECTED, Rejection(2, "in.ndjson", 2, "invalid JSON"), "invalid JSON", attempts=0)
    run.input_ended(2)
    run.end("finished", {})
    run.close()
    code, said = retry(capfd, "run", "--rejected")
    assert (code, api.bodies(), marks_of(DIR)) == (1, [b'{"id": 1}'], "DR")
    assert said[-1] == "livepost: 1 of the rejected were never fit to be sent, and stay rejected"


def test_the_input_itself_is_not_needed(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    ended(DIR, api.to, "RD")
    Path("in.ndjson").unlink()
    assert retry(capfd, "run", "--rejected")[0] == 0
    assert api.bodies() == [b'{"id": 1}']


def test_the_keys_are_those_of_the_first_time(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    ended(DIR, api.to, "RQ", options={"idempotency_key": "K"})
    retry(capfd, "run", "--rejected", "--in-doubt")
    first = {request.body: dict(request.headers)[b"K"] for request in api.requests()}
    (DIR / "states").write_bytes((DIR / "states").read_bytes().replace(b"DD\0", b"QR\0"))
    retry(capfd, "run", "--rejected", "--in-doubt")
    assert api.requests() == []
    (DIR / "states").write_bytes((DIR / "states").read_bytes().replace(b"QR\0", b"RQ\0"))
    retry(capfd, "run", "--rejected", "--in-doubt")
    assert {request.body: dict(request.headers)[b"K"] for request in api.requests()} == first
    assert len(set(first.values())) == 2


def test_a_retry_that_was_killed_is_called_interrupted_and_resumed(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "RRR")
    run = Run.open(DIR)
    source = LetterSource(run, [REJECTED])
    (batch,) = source.batches()
    assert [item.number for item in batch] == [1, 2, 3]
    run.states.marks[2] = ord("F")
    kill(run)
    assert describe(DIR).activity is Activity.INTERRUPTED
    code, said = retry(capfd, "run", "--rejected")
    assert code == 2
    assert said == [
        "livepost: the run run was interrupted",
        "  hint: first go on with it: livepost resume run",
    ]
    assert main(["resume", "run"]) == 1
    assert (api.bodies(), marks_of(DIR)) == ([b'{"id": 1}', b'{"id": 3}'], "DQD")


def test_what_it_sent_with_is_kept_for_what_a_crash_of_it_leaves(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    """A PUT may follow a PUT, but not what a retry has sent as a POST."""
    ended(DIR, api.to, "DR", options={"method": "PUT"})
    assert retry(capfd, "run", "--rejected", "-X", "POST")[0] == 0
    states = bytearray((DIR / "states").read_bytes())
    # As if it had been killed while the record was in flight.
    states[4097:4098] = b"F"
    (DIR / "states").write_bytes(states)
    (DIR / "run.json").write_text((DIR / "run.json").read_text().replace('"finished"', '"killed"'))
    api.requests()
    assert main(["resume", "run"]) == 1
    assert (api.bodies(), marks_of(DIR)) == ([], "DQ")


def test_what_an_earlier_retry_could_not_send_is_not_taken_for_sent(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended(DIR, "http://127.0.0.1:1/", "DRR")
    assert retry(capfd, "run", "--rejected", "--start-timeout", "100ms")[0] == 3
    code, said = retry(capfd, "run", "--rejected")
    assert (code, said) == (
        75,
        [
            "livepost: run run: 1 of 3 delivered, 2 unsent",
            "livepost: there is nothing to be sent",
            "livepost: to go on: livepost resume run",
        ],
    )


@pytest.mark.parametrize(
    ("marks", "was_read", "stdin", "code"),
    [
        ("D-", False, False, 75),
        ("D-", True, True, 75),
        ("DF", True, False, 75),
        ("DQ", True, False, 0),
        ("DQ", False, True, 0),
    ],
)
def test_where_nothing_is_to_be_sent_again_it_matters_whether_anything_is_left(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, marks: str, was_read: bool, stdin: bool, code: int
) -> None:
    run = begun(DIR, api.to, marks, stdin=stdin)
    if was_read:
        run.input_ended(2)
    run.end("stopped by SIGINT", {})
    run.close()
    assert retry(capfd, "run", "--rejected")[0] == code
    assert api.bodies() == []


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("mark", ["R", "Q"])
def test_and_resume_sends_it_as_its_letter_has_it(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, stdin: bool, mark: str
) -> None:
    ended(DIR, api.to, f"D{mark}D", stdin=stdin, options={"method": "PUT"})
    run = Run.open(DIR)
    (letters,) = DIR.glob("*.ndjson")
    letters.write_bytes(letters.read_bytes().replace(b'{"id": 2}', b'{"id": 2, "name": "John"}'))
    for _ in LetterSource(run, [REJECTED, IN_DOUBT]).batches():
        pass
    kill(run)
    assert main(["resume", "run"]) == 0
    assert (api.bodies(), marks_of(DIR)) == ([b'{"id": 2, "name": "John"}'], "DDD")
    capfd.readouterr()


@pytest.mark.parametrize("stdin", [False, True])
def test_what_a_stopped_retry_left_is_sent_by_resume(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, stdin: bool
) -> None:
    ended(DIR, api.to, "RRRR", stdin=stdin)
    api.replies[b'{"id": 2}'] = Reply(400)
    code, said = retry(capfd, "run", "--rejected", "--ordered")
    assert (code, marks_of(DIR)) == (75, "DR")
    assert said[-1] == "livepost: to go on: livepost resume run"
    api.requests()
    assert main(["resume", "run"]) == 1
    assert (api.bodies(), marks_of(DIR)) == ([b'{"id": 3}', b'{"id": 4}'], "DRDD")


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    code, said = retry(capfd, *arguments)
    assert (code, [line[:8] for line in said[1:]]) == (2, ["  hint: "])
    return said


@pytest.mark.parametrize("name", ["rejected.ndjson", "in-doubt.ndjson", "states", "run.json", "spool/new"])
@pytest.mark.parametrize("flag", ["--rejected", "--in-doubt"])
def test_receipts_do_not_overwrite_the_run(
    capfd: pytest.CaptureFixture[str], api: WatchedApi, name: str, flag: str
) -> None:
    ended(DIR, api.to, "RRD")
    Path("link").symlink_to(DIR / name)
    before = {path: path.read_bytes() for path in DIR.iterdir()}
    for output in (f"run/{name}", "link"):
        said = refused(capfd, "run", flag, "-o", output)
        assert said[0] == f"livepost: the receipts would overwrite {output}, which belongs to a run"
    assert {path: path.read_bytes() for path in DIR.iterdir()} == before
    assert api.bodies() == []


def test_receipts_may_be_kept_beside_the_files_of_the_run(
    capfd: pytest.CaptureFixture[str], api: WatchedApi
) -> None:
    ended(DIR, api.to, "RD")
    assert retry(capfd, "run", "--rejected", "-o", "run/receipts.ndjson")[0] == 0
    assert json.loads((DIR / "receipts.ndjson").read_text())["outcome"] == "delivered"


def test_it_must_be_said_what_to_send_again(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    assert refused(capfd)[0] == "livepost: no run is named"
    ended(DIR, api.to, "R")
    assert refused(capfd, "run") == [
        "livepost: it is not said what to send again",
        "  hint: add --rejected, --in-doubt or both",
    ]
    assert refused(capfd, "rum", "--rejected")[0].startswith("livepost: cannot read 'rum/")


def test_a_secret_must_be_given_again(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    ended(DIR, api.to, "R", withheld=["-H X-Key"])
    assert refused(capfd, "run", "--rejected")[1] == "  hint: give -H X-Key again"
    assert marks_of(DIR) == "R"


def test_a_run_that_goes_on_is_left_alone(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    run = begun(DIR, api.to, "R-")
    assert "is being worked on by" in refused(capfd, "run", "--rejected")[0]
    run.close()


def test_an_interrupted_run_must_be_resumed_first(capfd: pytest.CaptureFixture[str], api: WatchedApi) -> None:
    killed(Path("my run"), api.to, "RF")
    assert refused(capfd, "my run", "--rejected")[1] == (
        "  hint: first go on with it: livepost resume 'my run'"
    )
    assert marks_of(Path("my run")) == "RF"
