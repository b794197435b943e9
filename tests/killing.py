"""Runs that are killed again and again, against a practice server that logs what it processed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import IO

from command import COMMAND, environment, started
from made_runs import marks_of

from livepost.runs.header import PAGE_BYTES, Header

_PATIENCE_SECONDS = 30.0
_LETTERS = ("rejected.ndjson", "in-doubt.ndjson")


class Server:
    """A practice server in a process of its own, and its log."""

    def __init__(self, to: str, log: Path) -> None:
        self.to = to
        self._log = log

    @property
    def lines(self) -> int:
        """Requests that it dealt with, so far."""
        return self._log.read_bytes().count(b"\n") if self._log.exists() else 0

    def processed(self, *, fault: str | None = None) -> Counter[int]:
        """How often it processed each record, by `id`; only where it did that fault, if one is named."""
        lines = self._log.read_bytes().splitlines() if self._log.exists() else []
        entries = [json.loads(line) for line in lines]
        return Counter(
            entry["record"] for entry in entries if entry["processed"] and fault in (None, entry["fault"])
        )


@contextlib.contextmanager
def serving(log: Path, *arguments: str, port: int = 0) -> Iterator[Server]:
    with started("serve", "--port", port, "--log", log, *arguments) as process:
        found = re.search(r"http://\S+/api", process.read_err())
        assert found is not None
        yield Server(found[0], log)


def records(first: int, count: int) -> list[bytes]:
    """Lines of 600 bytes, so that not all of them are read at once; their ids run from `first`."""
    return [b'{"id": %d, "text": "%s"}\n' % (number, b"x" * 570) for number in range(first, first + count)]


def _nothing() -> None:
    pass


class Killer:
    """Begins one run, kills it at moments that `random` chooses, and resumes it, until it ends by itself.

    Its input is a file, or is fed to its standard input.
    """

    def __init__(
        self, random: Random, server: Server, directory: Path, lines: Sequence[bytes], *, by_stdin: bool
    ) -> None:
        self.directory = directory
        self.kills = 0
        self.in_flight_at_kills = 0
        """The sum of what was marked in flight when each kill came."""
        self.exit_code = -1
        self._random = random
        self._server = server
        self._lines = lines
        self._file = None if by_stdin else directory.with_suffix(".ndjson")
        if self._file is not None:
            self._file.write_bytes(b"".join(lines))

    @property
    def marks(self) -> str:
        """As `made_runs.marks_of`."""
        return marks_of(self.directory)

    @property
    def is_input_known(self) -> bool:
        """It was read to its end, so that it is known how many records there are."""
        return json.loads((self.directory / "run.json").read_bytes())["records"] is not None

    def letters(self, name: str) -> list[int]:
        """The ids of the records in these letters."""
        path = self.directory / name
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [json.loads(line)["record"]["id"] for line in lines]

    def carry_out(self, most_kills: int, *options: str, power_cuts: bool = False) -> None:
        """Kill it so many times at most; its machine, if `power_cuts`."""
        while not self._attempt(options, is_safe=self.kills >= most_kills, power_cuts=power_cuts):
            self.kills += 1

    def _attempt(self, options: Sequence[str], *, is_safe: bool, power_cuts: bool) -> bool:
        """Run a command; False if it was killed."""
        with self._running(options) as process:
            if is_safe or self._waits_for_moment(process):
                self.exit_code = process.wait(timeout=_PATIENCE_SECONDS)
                return True
            older = _Disk(self.directory) if power_cuts else None
            if older is not None and self._waits_for_moment(process, older.look_again):
                self.exit_code = process.returncode
                return True
            process.kill()
            process.wait()
        if self._has_begun:
            self.in_flight_at_kills += self.marks.count("F")
            if older is not None:
                older.replace_what_was_not_synced(f"boot-{self.kills}")
        return False

    @property
    def _has_begun(self) -> bool:
        return (self.directory / "run.json").exists()

    @contextlib.contextmanager
    def _running(self, options: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        begins = not self._has_begun
        feeds = begins and self._file is None
        if begins:
            what = ["send", "-" if feeds else str(self._file), "--to", self._server.to]
            what += ["--run", str(self.directory)]
        else:
            what = ["resume", str(self.directory)]
        with (
            self.directory.with_suffix(".stderr").open("ab") as errors,
            subprocess.Popen(
                [*COMMAND, *what, *options, "--progress", "none"],
                stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
                stderr=errors,
                env=environment(),
            ) as process,
        ):
            feeder = threading.Thread(target=_feed, args=(process.stdin, self._lines)) if feeds else None
            if feeder is not None:
                feeder.start()
            try:
                yield process
            finally:
                process.kill()
                if feeder is not None:
                    feeder.join()

    def _waits_for_moment(
        self, process: subprocess.Popen[bytes], meanwhile: Callable[[], None] = _nothing
    ) -> bool:
        """Wait for a moment to kill it; True if it has ended by then."""
        random = self._random
        if random.random() < 0.25:
            # While it starts: before or after it has written or sent anything.
            return _ends_within(process, random.uniform(0.0, 0.25), meanwhile)
        wanted = self._server.lines + random.choice((1, random.randint(1, 60), random.randint(1, 300)))
        while self._server.lines < wanted:
            if _ends_within(process, 0.001, meanwhile):
                return True
        return _ends_within(process, random.choice((0.0, random.uniform(0.0, 0.01))), meanwhile)


class _Disk:
    """What a disk may still hold of a run directory when the power fails later.

    Letters are not synced while a run goes on, and marks only when the header changes; all else is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._states = b""
        self._sizes = {name: _size(directory / name) for name in _LETTERS}
        self.look_again()

    def look_again(self) -> None:
        """To be called all the time: notices when marks were synced."""
        states = self._directory / "states"
        if states.exists():
            with states.open("rb") as file:
                header = file.read(PAGE_BYTES)
                if header != self._states[:PAGE_BYTES]:
                    self._states = header + file.read()

    def replace_what_was_not_synced(self, boot_id: str) -> None:
        """Let the machine have been started again."""
        if json.loads((self._directory / "run.json").read_bytes())["ended"] is not None:
            # Everything is synced before that is written.
            return
        self.look_again()
        page, marks = self._states[:PAGE_BYTES], self._states[PAGE_BYTES:]
        header = dataclasses.replace(Header.from_page(page), boot_id=boot_id)
        states = self._directory / "states"
        states.write_bytes(header.to_page() + marks.ljust(_size(states) - PAGE_BYTES, b"\0"))
        for name, size in self._sizes.items():
            if (self._directory / name).exists():
                os.truncate(self._directory / name, size)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _feed(stdin: IO[bytes], lines: Sequence[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError), stdin:
        for start in range(0, len(lines), 20):
            stdin.write(b"".join(lines[start : start + 20]))
            stdin.flush()
            time.sleep(0.002)


def _ends_within(process: subprocess.Popen[bytes], seconds: float, meanwhile: Callable[[], None]) -> bool:
    ends_at = time.monotonic() + seconds
    while process.poll() is None:
        meanwhile()
        rest = ends_at - time.monotonic()
        if rest <= 0:
            return False
        time.sleep(min(rest, 0.001))
    return True
