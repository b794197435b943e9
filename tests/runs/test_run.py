from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import livepost
from livepost.errors import ConfigurationError, LivepostError, OutputError, RunError
from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Record, Rejection
from livepost.runs import spool as spool_module
from livepost.runs.fingerprint import Fingerprint
from livepost.runs.listing import Activity, describe
from livepost.runs.manifest import Manifest
from livepost.runs.marks import Counts
from livepost.runs.resumption import kept_batches
from livepost.runs.run import Run, new_directory
from livepost.runs.states import Recovery

NOW = datetime(2026, 11, 22, 16, 18, 26, tzinfo=UTC)


def batch(first: int, last: int) -> list[Record | Rejection]:
    return [Record(number, b'{"n":%d}' % number, "-", number) for number in range(first, last + 1)]


def kill(run: Run) -> None:
    """What the end of the process does to a run: nothing more is written, and the lock is free."""
    os.close(run.states._file)
    run.states._file = -1
    run._lock.release()


def full(file: int, *_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def modes(path: Path) -> dict[str, int]:
    return {str(file.relative_to(path)): file.stat().st_mode & 0o777 for file in (path, *path.rglob("*"))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_new_run_says_what_it_is(path: Path) -> None:
    inputs = (Fingerprint("/data/users.ndjson", 1, 2, "abc"),)
    run = Run.create(path, {"target": "http://localhost/api"}, inputs=inputs, now=lambda: NOW)
    document = json.loads((path / "run.json").read_text())
    assert document == {
        "format": 1,
        "id": str(run.manifest.id),
        "livepost": livepost.__version__,
        "created": "2026-11-22T16:18:26Z",
        "asked": {"target": "http://localhost/api"},
        "asked_since": [],
        "inputs": [{"path": "/data/users.ndjson", "size": 1, "mtime_ns": 2, "digest": "abc"}],
        "keeps_input": False,
        "records": None,
        "ended": None,
    }
    assert run.manifest.id.version == 4
    assert not run.was_resumed
    run.close()
    assert sorted(file.name for file in path.iterdir()) == ["lock", "run.json", "states"]


@pytest.mark.usefixtures("no_mask")
def test_everything_is_for_its_owner_only(path: Path) -> None:
    check_modes(path)


@pytest.mark.usefixtures("full_mask")
def test_a_strict_umask_does_not_lock_the_owner_out(path: Path) -> None:
    check_modes(path)


def check_modes(path: Path) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 2))
    run.conclude(REJECTED, batch(1, 1)[0], "r", attempts=1)
    run.conclude(IN_DOUBT, batch(2, 2)[0], "d", attempts=1)
    run.flush()
    assert modes(path) == {
        ".": 0o700,
        "lock": 0o600,
        "run.json": 0o600,
        "states": 0o600,
        "rejected.ndjson": 0o600,
        "in-doubt.ndjson": 0o600,
        "spool": 0o700,
        "spool/000000000001.segment": 0o600,
    }
    run.close()


def test_an_empty_directory_is_taken_and_shut(path: Path) -> None:
    path.mkdir(0o755)
    Run.create(path, {}).close()
    assert path.stat().st_mode & 0o777 == 0o700


def test_what_somebody_else_put_there_is_left_alone(path: Path) -> None:
    path.mkdir(0o755)
    (path / "letter.txt").touch()
    with pytest.raises(ConfigurationError, match="is not empty, and no run"):
        Run.create(path, {})
    assert path.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in path.iterdir()] == ["letter.txt"]


def test_a_run_is_not_overwritten(path: Path) -> None:
    first = Run.create(path, {})
    first.close()
    with pytest.raises(RunError, match="holds a run already") as raised:
        Run.create(path, {})
    assert "livepost resume" in raised.value.hint
    assert Manifest.read(path / "run.json").id == first.manifest.id


def test_what_a_killed_start_left_is_no_obstacle(path: Path) -> None:
    path.mkdir()
    for name in ("lock", "states", "run.json.new"):
        (path / name).write_bytes(b"half")
    (path / "spool").mkdir()
    (path / "spool" / "000000000001.segment").write_bytes(b"half")
    run = Run.create(path, {}, keep_input=True)
    assert run.spool is not None
    assert (run.spool.segments, list((path / "spool").iterdir())) == (0, [])
    run.close()


def test_two_starts_in_one_directory(path: Path) -> None:
    run = Run.create(path, {})
    with pytest.raises(RunError):
        Run.create(path, {})
    run.close()


@pytest.mark.parametrize("place", ["posix_fallocate", "fsync", "write", "pwrite"])
def test_a_full_disk_at_the_start_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, place, full)
        with pytest.raises(ConfigurationError, match="cannot be made: no space left on device"):
            Run.create(path, {}, keep_input=True)
    assert not path.exists()
    Run.create(path, {}).close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "'.*file' cannot be made: file exists"),
        ("file/run", "cannot be made: not a directory"),
        ("none/run", "cannot be made: no such file or directory"),
    ],
)
def test_a_path_that_cannot_be_a_directory(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=message) as raised:
        Run.create(tmp_path / name, {})
    assert "another path" in raised.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="cannot be made: permission denied") as raised:
        Run.create(tmp_path / "run", {})
    assert "--no-run" in raised.value.hint


def test_a_read_only_file_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match="cannot be made: read-only file system") as raised:
        Run.create(path, {})
    assert "--no-run" in raised.value.hint


def test_a_run_goes_on_where_a_killed_one_stopped(path: Path) -> None:
    run = Run.create(path, {"a": 1})
    run.reserve(batch(1, 5))
    run.states.marks[1] = DELIVERED
    run.states.marks[2] = IN_FLIGHT
    run.conclude(REJECTED, batch(3, 3)[0], "status 400", attempts=1, status=400)
    kill(run)
    again = Run.open(path)
    assert again.was_resumed
    assert again.manifest == run.manifest
    assert again.states.recovery == Recovery(in_flight=1)
    assert again.states.counts() == Counts(1, 1, 1, 0)
    again.close()


def test_a_run_that_somebody_works_on_cannot_be_opened(path: Path) -> None:
    run = Run.create(path, {})
    with pytest.raises(RunError, match=f"is being worked on by process {os.getpid()}"):
        Run.open(path)
    run.close()
    Run.open(path).close()


def test_a_failed_opening_lets_others_have_it(path: Path) -> None:
    Run.create(path, {}).close()
    content = (path / "states").read_bytes()
    (path / "states").write_bytes(content[:-70_000])
    for _ in range(2):
        with pytest.raises(RunError, match="cut short"):
            Run.open(path)
    (path / "states").write_bytes(content)
    Run.open(path).close()


def test_how_it_ended_is_written_and_taken_back_when_it_goes_on(path: Path) -> None:
    run = Run.create(path, {}, now=lambda: NOW)
    run.reserve(batch(1, 3))
    run.input_ended(3)
    run.end("stopped by SIGINT", {"delivered": 1, "unsent": 2})
    run.close()
    manifest = Manifest.read(path / "run.json")
    assert manifest.ended is not None
    assert (manifest.ended.time, manifest.ended.how) == (NOW, "stopped by SIGINT")
    assert manifest.ended.counts == {"delivered": 1, "unsent": 2}
    assert manifest.records == 3
    again = Run.open(path)
    assert Manifest.read(path / "run.json") == manifest
    again.reserve(batch(1, 3))
    assert Manifest.read(path / "run.json").ended is None
    assert again.manifest.records == 3
    again.close()


def test_every_letter_is_on_the_disk_before_the_end_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ended is not looked at for letters that a crash has taken."""
    run = Run.create(path, {})
    run.reserve(batch(1, 2))
    run.conclude(REJECTED, batch(1, 1)[0], "status 422", attempts=1)
    synced: list[tuple[str, bool, bytes]] = []

    def sync(file: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        has_ended = Manifest.read(path / "run.json").ended is not None
        synced.append((name, has_ended, (path / "rejected.ndjson").read_bytes()[:6]))

    monkeypatch.setattr(os, "fdatasync", sync)
    run.end("finished", {})
    assert synced == [("states", False, b'{"n":1'), ("rejected.ndjson", False, b'{"n":1')]
    assert Manifest.read(path / "run.json").ended is not None
    run.close()


def test_a_mark_is_stored_also_when_its_letter_cannot_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(path, {})
    run.reserve(batch(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError):
            run.conclude(REJECTED, Record(1, b"1" * 70_000, "-", 1), "r", attempts=1)
    assert run.states.marks[1] == REJECTED
    run.close()


def test_letters_of_records_that_are_still_there_can_be_sent_again(path: Path) -> None:
    run = Run.create(path, {})
    run.reserve(batch(1, 4))
    for item in batch(1, 4):
        run.conclude(REJECTED, item, "r", attempts=1)
    run.states.marks[2] = DELIVERED
    run.flush()
    with (path / "rejected.ndjson").open("a") as file:
        file.write('{"n":999999,"source":"-","line":1,"reason":"by hand","record":1}\n')
    sent = []
    for letter in run.stored_letters(REJECTED):
        run.states.release([letter.number])
        assert run.states.marks[letter.number] == UNSENT
        sent.append((letter.number, letter.body))
    assert sent == [(1, b'{"n":1}'), (3, b'{"n":3}'), (4, b'{"n":4}')]
    assert list(run.stored_letters(IN_DOUBT)) == []
    run.close()


def test_a_torn_letter_is_mended_when_the_run_goes_on(path: Path) -> None:
    Run.create(path, {}).close()
    (path / "rejected.ndjson").write_text('{"n":1,"sour')
    Run.open(path).close()
    assert (path / "rejected.ndjson").read_bytes() == b""


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    create = spool_module.Spool.create
    monkeypatch.setattr(spool_module.Spool, "create", lambda directory: create(directory, segment_bytes=400))


def segments(path: Path) -> list[int]:
    return sorted(int(file.stem) for file in path.glob("spool/*.segment"))


@pytest.mark.usefixtures("small_segments")
def test_an_input_that_cannot_be_read_twice_is_kept_as_long_as_it_is_needed(path: Path) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 10))
    run.reserve(batch(11, 20))
    assert segments(path) == [1, 11]
    run.states.marks[1:11] = bytes((DELIVERED,)) * 10
    run.conclude(REJECTED, batch(5, 5)[0], "r", attempts=1)
    run.reserve(batch(21, 30))
    assert segments(path) == [1, 11, 21]
    run.flush()
    run.reserve(batch(31, 40))
    assert segments(path) == [11, 21, 31]
    run.states.marks[11:41] = bytes((DELIVERED,)) * 30
    run.close()
    assert not (path / "spool").exists()
    again = Run.open(path)
    assert again.spool is not None
    assert list(again.spool.batches()) == []
    assert again.states.recovery == Recovery()
    again.close()


@pytest.mark.usefixtures("small_segments")
def test_letters_and_marks_are_durable_before_their_records_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 10))
    run.states.marks[1:11] = bytes((DELIVERED,)) * 10
    run.conclude(REJECTED, batch(5, 5)[0], "r", attempts=1)
    run.flush()
    done: list[str] = []
    monkeypatch.setattr("livepost.runs.run.sync_file", lambda file: done.append(file.name))
    monkeypatch.setattr(run.states, "sync", lambda: done.append("states"))
    monkeypatch.setattr(Path, "unlink", lambda file, missing_ok: done.append(file.name))
    run.reserve(batch(11, 20))
    assert done == ["states", "rejected.ndjson", "in-doubt.ndjson", "000000000001.segment"]
    run.close()


def test_after_a_power_cut_only_what_was_kept_is_in_doubt(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 2))
    run.reserve(batch(3, 4))
    assert run.states.reserved == 260
    kill(run)
    monkeypatch.setattr("livepost.runs.states.current_boot_id", lambda: "second")
    again = Run.open(path)
    assert again.states.recovery == Recovery(unknown=4, restarted=True)
    assert again.states.counts() == Counts(in_flight=4)
    again.close()


@pytest.mark.usefixtures("small_segments")
def test_a_run_goes_on_when_only_its_first_records_are_left(path: Path) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 10))
    run.reserve(batch(11, 20))
    run.states.marks[2:21] = bytes((DELIVERED,)) * 19
    run.close()
    for _ in range(2):
        again = Run.open(path)
        assert [item.number for part in kept_batches(again) for item in part] == list(range(1, 21))
        again.close()
    again = Run.open(path)
    again.states.marks[1] = DELIVERED
    assert len(list(kept_batches(again))) == 2
    again.close()
    assert not (path / "spool").exists()


@pytest.mark.usefixtures("small_segments")
def test_what_was_taken_back_comes_before_what_was_behind_it_in_the_input(path: Path) -> None:
    """Else --order-key would send it after records of its key that it had kept from being sent."""
    run = Run.create(path, {}, keep_input=True)
    for first in (1, 11, 21, 31):
        run.reserve(batch(first, first + 9))
    for number in (24, 23, 2, 40, 1, 33):
        run.conclude(REJECTED, batch(number, number)[0], "r", attempts=1)
    for number in {*range(1, 31)} - {1, 2, 23, 24}:
        run.states.marks[number] = DELIVERED
    run.close()
    retried = Run.open(path)
    retried.states.release([24, 2, 1, 33])
    retried.close()
    again = Run.open(path)
    parts = [[item.number for item in part] for part in kept_batches(again)]
    again.close()
    assert parts == [[1, 2, 24], list(range(31, 41))]


def test_a_spool_that_lost_records_that_were_sent_is_refused(path: Path) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 4))
    run.states.marks[4] = DELIVERED
    kill(run)
    (segment,) = (path / "spool").iterdir()
    segment.write_bytes(segment.read_bytes()[:-3])
    with pytest.raises(RunError, match="the input ends after 3 records, but record 4 had been dealt with"):
        Run.open(path)


def test_the_reading_thread_cannot_write_into_a_closed_run(path: Path) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 1))
    run.close()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(OutputError, match="has ended"):
        run.reserve(batch(2, 2))
    run.input_ended(1)
    run.close()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_closing_frees_everything_also_on_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(path, {}, keep_input=True)
    run.reserve(batch(1, 2))
    run.states.marks[2] = DELIVERED
    run.conclude(REJECTED, batch(1, 1)[0], "r", attempts=1)
    open_files = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError):
            run.close()
    assert len(os.listdir("/proc/self/fd")) < open_files
    assert segments(path) == [1]
    again = Run.open(path)
    assert again.states.counts() == Counts(delivered=1, rejected=1)
    again.close()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("users.ndjson", "users"),
        ("/data/users.jsonl.gz", "users"),
        ("users.2026.json", "users.2026"),
        ("-", "stdin"),
        ("a b/../c*d.ndjson", "c_d"),
        ("用户.ndjson", "用户"),
        (".ndjson", "run"),
        ("..", "run"),
        ("x" * 300 + ".json", "x" * 64),
        (os.fsdecode(b"caf\xe9.ndjson"), "caf"),
    ],
)
def test_a_run_is_called_after_its_input(tmp_path: Path, name: str, stem: str) -> None:
    made = new_directory(name, NOW, tmp_path / "runs")
    assert made == tmp_path / "runs" / f"{stem}-20261122T161826Z"
    Run.create(made, {}).close()


@pytest.mark.usefixtures("no_mask")
def test_two_runs_in_one_second_have_different_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [new_directory("users.ndjson", NOW) for _ in range(3)]
    assert [path.name.removeprefix("users-20261122T161826Z") for path in made] == ["", "-2", "-3"]
    assert modes(Path(".livepost"))["."] == 0o700
    assert modes(made[0])["."] == 0o700
    assert (tmp_path / ".livepost" / ".gitignore").read_text() == "*\n"


def test_where_no_run_can_be_made_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        new_directory("-", NOW, tmp_path / "file" / "runs")


WORKER = """
import os, sys
from pathlib import Path
from livepost.model import Record
from livepost.runs.marks import DELIVERED, IN_FLIGHT, REJECTED
from livepost.runs.resumption import Resumption, kept_batches
from livepost.runs.run import Run

# Sends records to a file that stands for the server: a line for each, written at once.
path, server, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def read():
    for first in range(1, 3001, 50):
        yield [Record(n, b'{"n":%d}' % n, "-", n) for n in range(first, first + 50)]

if kind == "new":
    run = Run.create(path, {}, keep_input=True)
    remaining = list
    source = read()
else:
    run = Run.open(path)
    remaining = Resumption(run, resend=kind == "resend").remaining
    source = kept_batches(run)
file = os.open(server, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print("ready", flush=True)
for batch in source:
    run.reserve(batch)
    for record in remaining(batch):
        run.states.marks[record.number] = IN_FLIGHT
        os.write(file, b"%d\\n" % record.number)
        print("sent", flush=True)
        if record.number % 7 == 0:
            run.conclude(REJECTED, record, "sevens", attempts=1)
        else:
            run.states.marks[record.number] = DELIVERED
    run.flush()
run.close()
"""


def work_and_be_killed(path: Path, server: Path, kind: str, lines: int) -> bool:
    """Run the worker until it has told of so many records; say whether it came to its end before."""
    arguments = [sys.executable, "-c", WORKER, str(path), str(server), kind]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        for _ in range(lines):
            worker.stdout.readline()
        worker.kill()
    assert worker.returncode in (0, -signal.SIGKILL)
    return worker.returncode == 0


def numbers_in(letters: Path) -> set[int]:
    lines = letters.read_bytes().splitlines() if letters.exists() else []
    documents = [json.loads(line) for line in lines]
    assert all(document["record"] == {"n": document["n"]} for document in documents)
    assert len({document["n"] for document in documents}) == len(documents)
    return {document["n"] for document in documents}


@pytest.mark.parametrize("kind", ["resume", "resend"])
@pytest.mark.parametrize("lines", [1, 49, 120, 333])
def test_killed_again_and_again_nothing_that_was_kept_is_lost_and_duplicates_are_bounded(
    tmp_path: Path, kind: str, lines: int
) -> None:
    path, server = tmp_path / "run", tmp_path / "server"
    kills = 0
    while not work_and_be_killed(path, server, kind if kills else "new", lines * (kills + 1)):
        kills += 1
    assert describe(path).activity is Activity.INTERRUPTED
    sent = [int(line) for line in server.read_text().splitlines()]
    run = Run.open(path)
    counts = run.states.counts()
    run.close()
    assert kills >= 1
    assert counts.in_flight == 0
    # One record is in flight at a time.
    assert len(sent) - len(set(sent)) <= (kills if kind == "resend" else 0)
    assert counts.in_doubt <= (kills if kind == "resume" else 0)
    in_doubt = numbers_in(path / "in-doubt.ndjson")
    assert len(in_doubt) == counts.in_doubt
    assert set(sent) | in_doubt == set(range(1, counts.marked + 1))
    assert numbers_in(path / "rejected.ndjson") == {n for n in set(sent) - in_doubt if n % 7 == 0}


def test_every_error_of_a_run_directory_is_one_of_livepost() -> None:
    assert issubclass(RunError, ConfigurationError)
    assert issubclass(ConfigurationError, LivepostError)
