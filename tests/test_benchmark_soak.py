"""The soak program runs, and finds what is wrong with a run where something is."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from command import environment

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "soak.py"


def test_a_round_keeps_its_promises_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(PROGRAM), "--minutes", "0", "--seed", "7", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (shown.stderr, shown.returncode) == ("", 0)
    first, second, third = shown.stdout.splitlines()
    assert first == "seed 7"
    assert re.fullmatch(r"round 1: \d+ records \(\S+\), \d interruptions, \d+ commands: .*", second)
    assert third == "every run kept its promises; seed 7"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def played(
    soak: ModuleType, directory: Path, marks: str, processed: list[int], options: list[str], key: str = "{}"
) -> Any:
    """A round of four records as it would be left."""
    run = directory / "run"
    run.mkdir()
    (directory / "stderr").touch()
    (run / "states").write_bytes(bytes(4096) + marks.replace("-", "\0").encode())
    for mark, name in (("R", "rejected.ndjson"), ("Q", "in-doubt.ndjson")):
        numbers = [number for number, found in enumerate(marks, 1) if found == mark]
        (run / name).write_text("".join(json.dumps({"n": number}) + "\n" for number in numbers))
    entries = [
        {"record": number, "processed": True, "fault": None, "key": key.format(number)}
        for number in processed
    ]
    (directory / "log").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return soak.Round(Random(1), directory, options=options, records=4)


@pytest.mark.parametrize(
    ("marks", "processed", "options"),
    [
        ("DDDD", [1, 2, 3, 4], []),
        ("DQRQ", [4, 1], []),
        ("DDDD", [1, 2, 3, 4], ["--ordered"]),
        ("DDDD", [1, 2, 3, 4], ["--idempotency-key"]),
    ],
)
def test_a_good_run_passes(
    soak: ModuleType, tmp_path: Path, marks: str, processed: list[int], options: list[str]
) -> None:
    soak.check(played(soak, tmp_path, marks, processed, options))


@pytest.mark.parametrize(
    ("marks", "processed", "options", "said"),
    [
        ("DDD", [1, 2, 3], [], "3 records have a mark, but there are 4"),
        ("DDFD", [1, 2, 4], [], "there are other marks than final ones: ['D', 'F']"),
        ("DD-D", [1, 2, 4], [], "there are other marks than final ones: ['-', 'D']"),
        ("DDDD", [1, 2, 4], [], "delivered, but never processed: [3]"),
        ("DDRD", [1, 2, 3, 4], [], "processed, but neither delivered nor in doubt: [3]"),
        ("DDDD", [1, 2, 3, 4, 4], [], "processed twice: [4]"),
        ("DDDD", [1, 2, 3, 4, 4], ["--at-least-once"], "1 were processed again, without a reason"),
        ("DDDD", [1, 2, 4, 3], ["--ordered"], "the order was not kept"),
    ],
)
def test_a_broken_promise_is_found(
    soak: ModuleType, tmp_path: Path, marks: str, processed: list[int], options: list[str], said: str
) -> None:
    with pytest.raises(soak.ViolationError) as caught:
        soak.check(played(soak, tmp_path, marks, processed, options))
    assert str(caught.value) == said


def test_keys_letters_and_tracebacks_are_looked_at(soak: ModuleType, tmp_path: Path) -> None:
    def said(number: int, marks: str = "DDDD", key: str = "{}") -> Any:
        directory = tmp_path / str(number)
        directory.mkdir()
        return played(soak, directory, marks, [1, 2, 3, 4][: marks.count("D")], ["--idempotency-key"], key)

    with pytest.raises(soak.ViolationError, match="two records had the same key"):
        soak.check(said(1, key="same"))
    drawn = said(2, marks="DDDR")
    (drawn.run / "rejected.ndjson").unlink()
    with pytest.raises(soak.ViolationError, match="the letters of the rejected are others"):
        soak.check(drawn)
    drawn = said(3)
    (drawn.directory / "stderr").write_text("Traceback (most recent call last):\n  File\nKeyboardInterrupt\n")
    soak.check(drawn)
    (drawn.directory / "stderr").write_text("Traceback (most recent call last):\n  File\nKeyError: 1\n")
    with pytest.raises(soak.ViolationError, match="there is a traceback"):
        soak.check(drawn)
