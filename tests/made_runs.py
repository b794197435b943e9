"""Run directories as earlier processes may have left them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Record, Rejection
from livepost.runs.fingerprint import Fingerprint
from livepost.runs.run import Run

Batch = list[Record | Rejection]

_MARKS = {"-": UNSENT, "F": IN_FLIGHT, "D": DELIVERED, "R": REJECTED, "Q": IN_DOUBT}


def record(number: int, file: str = "in.ndjson") -> Record:
    return Record(number, b'{"id": %d}' % number, file, number)


def begun(
    path: Path,
    to: str,
    marks: str,
    *,
    options: dict[str, Any] | None = None,
    withheld: Sequence[str] = (),
    stdin: bool = False,
) -> Run:
    """A run of records 1, 2, 3 ... that bear these marks (`-` for none); its input is made here."""
    file = Path("in.ndjson")
    records: Batch = [record(number) for number in range(1, len(marks) + 1)]
    file.write_bytes(b"".join(b'{"id": %d}\n' % number for number in range(1, len(marks) + 1)))
    fingerprint = Fingerprint.of(str(file))
    assert fingerprint is not None
    asked = {
        "to": to,
        "files": ["-"] if stdin else [str(file.absolute())],
        "options": options or {},
        "withheld": list(withheld),
    }
    run = Run.create(path, asked, inputs=[] if stdin else [fingerprint], keep_input=stdin)
    run.reserve(records)
    for one, mark in zip(records, marks, strict=True):
        if mark in "RQ":
            run.conclude(_MARKS[mark], one, "made", attempts=1, status=422 if mark == "R" else None)
        else:
            run.states.marks[one.number] = _MARKS[mark]
    return run


def kill(run: Run) -> None:
    """What the end of its process does to a run: nothing more is written, and the lock is free."""
    run.flush()
    os.close(run.states._file)
    run.states._file = -1
    run._lock.release()
    if run.spool is not None and run.spool._file >= 0:
        os.close(run.spool._file)
        run.spool._file = -1
    run.letters.close()


def killed(path: Path, to: str, marks: str, **how: Any) -> Path:
    """The directory of a run that was interrupted."""
    kill(begun(path, to, marks, **how))
    return path


def ended(path: Path, to: str, marks: str, *, how: str = "finished", **more: Any) -> Path:
    """The directory of a run that was read to its end, and ended in order."""
    run = begun(path, to, marks, **more)
    run.input_ended(len(marks))
    run.end(how, {})
    run.close()
    return path


def marks_of(path: Path) -> str:
    """What is marked, as `begun` takes it; read as the file's own legend has it."""
    names = {mark: name for name, mark in _MARKS.items()}
    content = (path / "states").read_bytes()
    return "".join(names[byte] for byte in content[4096:]).rstrip("-")
