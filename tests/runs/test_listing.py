from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from livepost.errors import RunError
from livepost.mark import DELIVERED, IN_FLIGHT
from livepost.model import Record, Rejection
from livepost.runs.listing import Activity, BrokenRun, Description, describe, list_runs
from livepost.runs.marks import Counts
from livepost.runs.run import Run, new_directory

NOW = datetime(2026, 11, 22, 16, 18, 26, tzinfo=UTC)
BATCH: list[Record | Rejection] = [Record(number, b"1", "-", number) for number in (1, 2, 3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "users"


@pytest.fixture
def run(path: Path) -> Run:
    path.parent.mkdir()
    run = Run.create(path, {"target": "http://localhost/api"})
    run.reserve(BATCH)
    run.states.marks[1] = DELIVERED
    run.states.marks[2] = IN_FLIGHT
    return run


def test_a_live_run_is_shown_without_disturbing_it(run: Run, path: Path) -> None:
    before = (path / "states").read_bytes()
    assert describe(path) == Description(
        path, run.manifest, Activity.RUNNING, Counts(in_flight=1, delivered=1)
    )
    assert describe(path).unsent is None
    run.input_ended(3)
    assert describe(path).unsent == 1
    run.states.marks[2] = DELIVERED
    assert describe(path).counts == Counts(delivered=2)
    assert len((path / "states").read_bytes()) == len(before)
    run.close()


def test_a_run_whose_process_is_gone_was_interrupted_or_has_ended(run: Run, path: Path) -> None:
    run._lock.release()
    assert describe(path).activity is Activity.INTERRUPTED
    run.end("done", {"delivered": 1})
    run.close()
    found = describe(path)
    assert found.activity is Activity.ENDED
    assert found.manifest.ended is not None
    assert found.manifest.ended.counts == {"delivered": 1}


def test_looking_changes_nothing(run: Run, path: Path) -> None:
    os.close(run.states._file)
    run.states._file = -1
    run._lock.release()
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    describe(path)
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()} == before


def test_what_is_no_run_cannot_be_shown(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="no such file or directory"):
            describe(path)


def test_runs_are_listed_by_name_and_broken_ones_with_the_reason(tmp_path: Path) -> None:
    parent = tmp_path / ".livepost"
    made = [new_directory(name, NOW, parent) for name in ("b.ndjson", "a.ndjson", "c.ndjson", "d.ndjson")]
    for path in made[:3]:
        Run.create(path, {}).close()
    (made[0] / "run.json").write_text("{")
    (made[2] / "states").write_bytes(b"")
    found = list_runs(parent)
    assert [one.path.name[0] for one in found] == ["a", "b", "c", "d"]
    assert isinstance(found[0], Description)
    reasons = [str(one.error) for one in found if isinstance(one, BrokenRun)]
    assert ["is damaged" in reasons[0], "cut short" in reasons[1], "no such file" in reasons[2]] == [True] * 3


def test_elsewhere_a_directory_without_a_file_of_a_run_is_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Run.create(tmp_path / name, {}).close()
    (tmp_path / "b" / "run.json").unlink()
    for name in ("run.json", "states"):
        (tmp_path / "c" / name).unlink()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    found = list_runs(tmp_path)
    assert [(one.path.name, isinstance(one, BrokenRun)) for one in found] == [("a", False), ("b", True)]


def test_no_directory_is_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / ".livepost") == []


def test_a_file_in_place_of_the_runs_is_told(tmp_path: Path) -> None:
    (tmp_path / ".livepost").touch()
    with pytest.raises(RunError, match="not a directory"):
        list_runs(tmp_path / ".livepost")
