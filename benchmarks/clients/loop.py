"""What the Python peers share: their arguments, their records, their result.

Each peer is a small script that posts the records as a user of that library would.  Its figures
cover the loop alone, not the interpreter's start: these peers send fewer records than livepost,
and the start-up would otherwise weigh on each of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, and where to."""

    url: str
    records: list[bytes]
    connections: int
    cacert: str | None


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Wall clock and CPU of this process at one moment."""

    wall_seconds: float
    cpu_seconds: float


def job() -> Job:
    """The job on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--to", required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--cacert")
    arguments = parser.parse_args()
    records = arguments.file.read_bytes().splitlines()
    return Job(arguments.to, records, arguments.connections, arguments.cacert)


def start() -> Stopwatch:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Stopwatch(time.perf_counter(), usage.ru_utime + usage.ru_stime)


def finish(started: Stopwatch, statuses: list[int]) -> None:
    """Print the result: `statuses` holds one status per record, 0 where there was no answer."""
    now = start()
    delivered = sum(200 <= status < 300 for status in statuses)
    result = {
        "delivered": delivered,
        "failed": len(statuses) - delivered,
        "seconds": now.wall_seconds - started.wall_seconds,
        "cpu_seconds": now.cpu_seconds - started.cpu_seconds,
    }
    print(json.dumps(result))
