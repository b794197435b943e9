"""What can be said of runs by looking at their directories, also while somebody works on them."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from livepost.errors import RunError
from livepost.runs.disk import reading
from livepost.runs.letter_reader import outdated
from livepost.runs.letters import FILE_OF
from livepost.runs.lock import is_locked
from livepost.runs.manifest import Manifest
from livepost.runs.marks import Counts
from livepost.runs.run import DEFAULT_PARENT, LOCK, MANIFEST, SPOOL, STATES
from livepost.runs.states import read_counts, reading_marks

_PARTS = frozenset((LOCK, MANIFEST, STATES, SPOOL, *FILE_OF.values()))


class Activity(enum.Enum):
    """Whether a run goes on."""

    RUNNING = "running"
    """A process works on it now."""
    ENDED = "ended"
    """Its process said how it ended; it may still have records that are not delivered."""
    INTERRUPTED = "interrupted"
    """Its process is gone and said nothing: it was killed, or the machine stopped."""


@dataclass(frozen=True, slots=True)
class Description:
    """A run as it is now."""

    path: Path
    manifest: Manifest
    activity: Activity
    counts: Counts

    @property
    def unsent(self) -> int | None:
        """Records without a mark; None while it is not known how many there are in all."""
        records = self.manifest.records
        return None if records is None else records - self.counts.marked


@dataclass(frozen=True, slots=True)
class BrokenRun:
    """A directory among the runs of which nothing more can be said than why."""

    path: Path
    error: RunError


def describe(path: Path) -> Description:
    """Look at one run without changing anything.  Raises RunError if it is damaged or no run."""
    # In this order: a run that ends meanwhile is then called running, not interrupted.
    with reading(path / LOCK):
        is_running = is_locked(path / LOCK)
    manifest = Manifest.read(path / MANIFEST)
    counts = read_counts(path / STATES, str(manifest.id))
    if is_running:
        activity = Activity.RUNNING
    else:
        activity = Activity.INTERRUPTED if manifest.ended is None else Activity.ENDED
    return Description(path, manifest, activity, counts)


def is_letter_file(path: Path) -> bool:
    """It stands in a run directory and has the name of a file of letters."""
    return path.name in FILE_OF.values() and (path.parent / MANIFEST).is_file()


def is_part_of_run(path: str) -> bool:
    """Whether a file is, or would be, one of those that a run directory consists of."""
    try:
        file = Path(os.path.realpath(path))
    except ValueError:
        # No file can have that name.
        return False
    return any(part.name in _PARTS and (part.parent / MANIFEST).is_file() for part in (file, file.parent))


def outdated_letters(run: Description, path: Path) -> int:
    """How many of the letters in this file of the run do not hold any more.  Raises RunError."""
    mark = next(mark for mark, name in FILE_OF.items() if name == path.name)
    with reading_marks(run.path / STATES, str(run.manifest.id)) as mark_of:
        return outdated(path, lambda number: mark_of(number) == mark)


def list_runs(parent: Path = DEFAULT_PARENT) -> list[Description | BrokenRun]:
    """Look at every run in a directory, by name.  No such directory is no runs.  Raises RunError.

    Where runs are kept by default, everything is taken for one, however damaged; elsewhere, what
    looks like one.
    """
    with reading(parent):
        if not parent.exists():
            return []
        paths = sorted(path for path in parent.iterdir() if path.is_dir())
    if parent.name != DEFAULT_PARENT.name:
        paths = [path for path in paths if os.path.exists(path / MANIFEST) or os.path.exists(path / STATES)]
    found: list[Description | BrokenRun] = []
    for path in paths:
        try:
            found.append(describe(path))
        except RunError as error:
            found.append(BrokenRun(path, error))
    return found
