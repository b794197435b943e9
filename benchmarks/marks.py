"""The time it takes to mark a record in flight and, later, delivered: what a run costs the event loop.

Run: .venv/bin/python benchmarks/marks.py.  The marks go into a real file, in the directory for temporary
files or the one that is given; room is made while marking, by another thread, as in a run.  Above
0.3 µs a record, the loop around it included, the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from livepost.mark import DELIVERED, IN_FLIGHT
from livepost.runs.states import States

BATCH = 330
IN_FLIGHT_RECORDS = 64
TARGET_MICROSECONDS = 0.3


class Connections:
    """Marks as a schedule does: a record in flight, and the one that was answered delivered."""

    def __init__(self, states: States) -> None:
        self._states = states

    def carry(self, batch: range) -> None:
        for number in batch:
            self._states.marks[number] = IN_FLIGHT
            self._states.marks[number - IN_FLIGHT_RECORDS] = DELIVERED


def measure(directory: Path, records: int) -> tuple[float, float]:
    """Microseconds a record to mark twice, and those that the reading thread needs to make room."""
    path = directory / "states"
    states = States.create(path, "00000000-0000-0000-0000-000000000000")
    states.reserve(IN_FLIGHT_RECORDS)
    batches: SimpleQueue[range | None] = SimpleQueue()
    reserving = 0.0

    def read() -> None:
        nonlocal reserving
        for first in range(IN_FLIGHT_RECORDS + 1, records, BATCH):
            started = time.perf_counter()
            states.reserve(first + BATCH - 1)
            reserving += time.perf_counter() - started
            batches.put(range(first, first + BATCH))
        batches.put(None)

    thread = threading.Thread(target=read)
    connections = Connections(states)
    marking = 0.0
    thread.start()
    while (batch := batches.get()) is not None:
        started = time.perf_counter()
        connections.carry(batch)
        marking += time.perf_counter() - started
    thread.join()
    states.close()
    os.unlink(path)
    return marking / records * 1e6, reserving / records * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        rounds = [measure(Path(directory), arguments.records) for _ in range(arguments.rounds)]
    marking, reserving = (min(column) for column in zip(*rounds, strict=True))
    print(f"mark a record in flight and delivered {marking:6.3f} µs  (target {TARGET_MICROSECONDS} µs)")
    print(f"make room for it, in the other thread {reserving:6.3f} µs")
    return 0 if marking <= TARGET_MICROSECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
