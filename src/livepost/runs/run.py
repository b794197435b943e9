"""A run directory: everything about one run that must outlive its process.

lock             held by the process that works on it
run.json         what was asked, of which input, and how it ended        (manifest)
states           one byte per record                                     (states)
rejected.ndjson  in-doubt.ndjson   the records with the reasons          (letters)
spool/           the records, if the input cannot be read twice          (spool)
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from msgspec.structs import replace

from livepost import __version__
from livepost.clock import WallClock, utc_now
from livepost.errors import ConfigurationError, OutputError, RunError
from livepost.letter import StoredLetter
from livepost.model import Record, Rejection
from livepost.runs.disk import make_private, starting, sync_directory, sync_file, writing
from livepost.runs.fingerprint import Fingerprint
from livepost.runs.letter_reader import read_letters
from livepost.runs.letters import FILE_OF, Letters, mend
from livepost.runs.lock import RunLock
from livepost.runs.manifest import Ended, Manifest
from livepost.runs.spool import Spool
from livepost.runs.states import States

LOCK = "lock"
MANIFEST = "run.json"
STATES = "states"
SPOOL = "spool"
DEFAULT_PARENT = Path(".livepost")

_LEFT_BY_A_FAILED_START = {LOCK, STATES, SPOOL, MANIFEST + ".new"}
_ENDINGS = re.compile(r"(\.(ndjson|jsonl|json))?(\.gz)?$", re.IGNORECASE)


class Run:
    """A run directory in the hands of the one process that may work on it.

    Two threads share it.  The reading thread calls `reserve` and `input_ended`.  The event loop's
    thread marks (`states.marks`), calls `conclude`, and calls `flush` every now and then.  Whoever began it
    calls `end`, and in any case `close`.

    When the disk is full or broken, methods raise OutputError; the run can be resumed then.
    """

    def __init__(
        self,
        path: Path,
        lock: RunLock,
        manifest: Manifest,
        states: States,
        spool: Spool | None,
        letters: Letters,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.states = states
        self.letters = letters
        self.spool = spool
        """Where the input is kept; after `open`, also where it is read from."""
        self.was_resumed = False
        self._lock = lock
        self._now: WallClock = utc_now
        self._turns = 0
        # Keeps `close` from taking files away that the reading thread is writing.
        self._writing = threading.Lock()
        self._is_closed = False

    @classmethod
    def create(
        cls,
        path: Path,
        asked: Mapping[str, Any],
        *,
        run_id: UUID | None = None,
        inputs: Sequence[Fingerprint] = (),
        keep_input: bool = False,
        answer_bytes: int = 4096,
        now: WallClock = utc_now,
    ) -> Self:
        """Make a run directory, which may be there already if it is empty.

        `asked` is what `resume` will need, in values of JSON and without secrets.  `keep_input`: the
        records are kept as they are read.  When this returns, everything is durable.

        Raises ConfigurationError if the directory cannot be made, written or locked, or holds something
        else; RunError if it holds a run, or another process has just begun one there.
        """
        with starting(path), ExitStack() as undo:
            _refuse_what_is_there(path)
            make_private(path)
            lock = RunLock.acquire(path / LOCK)
            undo.callback(lock.release)
            _refuse_what_is_there(path)
            undo.callback(_take_away, path)
            manifest = Manifest(
                id=run_id or uuid4(),
                livepost=__version__,
                created=now(),
                asked=asked,
                inputs=tuple(inputs),
                keeps_input=keep_input,
            )
            states = States.create(path / STATES, str(manifest.id))
            undo.callback(_abandon, states)
            spool = Spool.create(path / SPOOL) if keep_input else None
            manifest.write(path / MANIFEST)
            sync_directory(path.absolute().parent)
            undo.pop_all()
        run = cls(path, lock, manifest, states, spool, Letters(path, answer_bytes=answer_bytes, now=now))
        run._now = now
        return run

    @classmethod
    def open(cls, path: Path, *, answer_bytes: int = 4096, now: WallClock = utc_now) -> Self:
        """Take up the run of an earlier process; `states.recovery` says what that left in flight.

        Compare its `manifest.inputs` (`fingerprint.check_unchanged`) before sending anything.  How it
        ended before stays written until the first `reserve`.

        Raises RunError if it is damaged, no run, of another version, or another process works on it.
        """
        manifest = Manifest.read(path / MANIFEST)
        with writing(path), ExitStack() as undo:
            lock = RunLock.acquire(path / LOCK)
            undo.callback(lock.release)
            # Again: the process that had the lock may just have ended the run.
            manifest = Manifest.read(path / MANIFEST)
            spool = Spool.open(path / SPOOL) if manifest.keeps_input else None
            last_number = manifest.records
            if last_number is None and spool is not None:
                last_number = spool.last_number
            states = States.open(path / STATES, str(manifest.id), last_number=last_number)
            undo.callback(_abandon, states)
            for name in FILE_OF.values():
                mend(path / name)
            undo.pop_all()
        run = cls(path, lock, manifest, states, spool, Letters(path, answer_bytes=answer_bytes, now=now))
        run._now = now
        run.was_resumed = True
        return run

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Keep what is asked of this process, if it differs; to be called before anything is sent."""
        with self._writing:
            # As it would be read again.
            asked = json.loads(json.dumps(asked))
            if asked not in (self.manifest.asked, *self.manifest.asked_since):
                self._write_manifest(asked_since=(*self.manifest.asked_since, asked))

    def reserve(self, batch: list[Record | Rejection]) -> None:
        """Get ready for these records, the next of the input, to be sent; hand them over only after that."""
        with self._writing:
            if self._is_closed:
                raise OutputError(f"the run {str(self.path)!r} has ended")
            if self.manifest.ended is not None:
                self._write_manifest(ended=None)
            if self.spool is not None:
                if not self.was_resumed:
                    self.spool.append(batch)
                if self.spool.turns != self._turns:
                    self._turns = self.spool.turns
                    self.spool.settle(self._is_settled, self._make_durable)
            self.states.reserve(batch[-1].number)

    def input_ended(self, last_number: int) -> None:
        """Take note that the input was read to its end, and how many records it holds.

        Not to be called at the end of the spool: the input may have gone on where that ends.  Raises
        RunError if a later record was dealt with before: this is not the same input.
        """
        with self._writing:
            if self._is_closed or self.manifest.records == last_number:
                return
            self.states.end_at(last_number)
            self._write_manifest(records=last_number)

    def conclude(
        self,
        mark: int,
        item: Record | Rejection,
        reason: str,
        *,
        attempts: int | None,
        status: int | None = None,
        answer: bytes | None = None,
    ) -> None:
        """Mark a record REJECTED or IN_DOUBT and write its letter.

        It is marked even if the letter cannot be written.
        """
        try:
            self.letters.write(mark, item, reason, attempts=attempts, status=status, answer=answer)
        finally:
            self.states.marks[item.number] = mark

    def stored_letters(self, mark: int) -> Iterator[StoredLetter]:
        """Yield the letters of the records that are REJECTED, or IN_DOUBT, when the first is asked for.

        `reserve` them and `states.release` their numbers before they are handed over to be sent again.
        """
        marks, reserved = self.states.marks, self.states.reserved
        return read_letters(
            self.path / FILE_OF[mark], lambda number: number <= reserved and marks[number] == mark
        )

    def flush(self) -> None:
        """Give the letters gathered so far to the operating system; the loop's thread only."""
        self.letters.flush()

    def end(self, how: str, counts: Mapping[str, int]) -> None:
        """Write into `run.json` how the run ended; what it had to say until then is durable before that."""
        self.letters.flush()
        with self._writing:
            self._make_durable()
            self._write_manifest(ended=Ended(self._now(), how, dict(counts)))

    def close(self) -> None:
        """Make everything durable and let others have the directory.  Closing twice does nothing.

        Everything is closed also if an OutputError is raised.
        """
        with self._writing, ExitStack() as last_first:
            if self._is_closed:
                return
            self._is_closed = True
            last_first.callback(self._lock.release)
            last_first.callback(self.states.close)
            last_first.callback(self._settle_spool)
            last_first.callback(self._make_durable)
            last_first.callback(self.letters.close)

    def _settle_spool(self) -> None:
        if self.spool is None:
            return
        self.spool.close()
        if self.spool.last_number is not None:
            # The spool is what would tell how many records there are.
            self.states.end_at(self.spool.last_number)
        self.spool.settle(self._is_settled, self._make_durable)
        if not self.spool.segments:
            with suppress(OSError):
                (self.path / SPOOL).rmdir()

    def _is_settled(self, first: int, last: int) -> bool:
        # In this order: a record's letter is gathered before it is marked.
        return self.states.is_settled(first, last) and not self.letters.has_unwritten(first, last)

    def _make_durable(self) -> None:
        self.states.sync()
        with writing(self.path):
            for name in FILE_OF.values():
                sync_file(self.path / name)

    def _write_manifest(self, **changes: Any) -> None:
        with writing(self.path):
            manifest = replace(self.manifest, **changes)
            manifest.write(self.path / MANIFEST)
        self.manifest = manifest


def new_directory(input_name: str, now: datetime, parent: Path = DEFAULT_PARENT) -> Path:
    """Make an empty directory `parent/NAME-TIME` with a name that nobody else has.

    NAME is that of the input file without its directory and ending; `-` is called stdin.  Raises
    ConfigurationError.
    """
    name = _ENDINGS.sub("", Path(input_name).name) if input_name != "-" else "stdin"
    name = re.sub(r"[^\w.-]+", "_", name).strip(".-_")[:64] or "run"
    stem = f"{name}-{now:%Y%m%dT%H%M%SZ}"
    with starting(parent):
        if not parent.is_dir():
            make_private(parent)
            # Records do not belong into a repository.
            (parent / ".gitignore").write_text("*\n")
            sync_directory(parent.absolute().parent)
        path, count = parent / stem, 1
        while True:
            try:
                path.mkdir(0o700)
            except FileExistsError:
                count += 1
                path = parent / f"{stem}-{count}"
            else:
                return path


def _abandon(states: States) -> None:
    # The error that brought us here is the one to tell.
    with suppress(OutputError):
        states.close()


def _refuse_what_is_there(path: Path) -> None:
    if not path.is_dir():
        return
    names = {entry.name for entry in path.iterdir()}
    if MANIFEST in names:
        raise RunError(
            f"{str(path)!r} holds a run already",
            "continue that with livepost resume, or give --run another path",
        )
    if names - _LEFT_BY_A_FAILED_START:
        raise ConfigurationError(
            f"{str(path)!r} is not empty, and no run",
            "give --run the path of a directory that is empty or not there",
        )


def _take_away(path: Path) -> None:
    """Undo a start that failed, as far as that goes."""
    for name in (STATES, MANIFEST + ".new", LOCK):
        with suppress(OSError):
            (path / name).unlink()
    for directory in (path / SPOOL, path):
        with suppress(OSError):
            directory.rmdir()
