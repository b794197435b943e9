"""What the Python peers share that post what comes on stdin, as it comes: their arguments and records."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
from dataclasses import dataclass

END = None


@dataclass(frozen=True, slots=True)
class Job:
    """Where to send the lines of stdin to."""

    url: str
    connections: int
    records: queue.SimpleQueue[bytes | None]
    """As they come; `END` comes last, and again for who asks again."""


def job() -> Job:
    """The job on the command line; stdin is read in a thread of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--connections", type=int, default=1)
    arguments = parser.parse_args()
    records: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            records.put(line.rstrip(b"\n"))
        for _ in range(arguments.connections):
            records.put(END)

    threading.Thread(target=read, daemon=True).start()
    return Job(arguments.to, arguments.connections, records)
