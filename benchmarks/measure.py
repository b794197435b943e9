"""One child process, pinned to a core and measured by the kernel."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# With the last, an editable install would be compiled anew at each start: 75 ms.
_LEFT_OUT = ("http_proxy", "https_proxy", "all_proxy", "pythondontwritebytecode")


class TooSlowError(Exception):
    """The child ran longer than it may and was killed."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished child process."""

    wall_seconds: float
    cpu_seconds: float
    """User and system time of all its threads."""
    peak_bytes: int
    """Largest resident set; never below what `peak_floor_bytes` gives."""
    exit_code: int
    """Negative for the signal that ended it."""
    stdout: str
    stderr: str


def run(command: Sequence[str], core: int, directory: Path, timeout_seconds: float = 600.0) -> Run:
    """Run `command` on one core, in `directory`, to its end.

    It reads nothing, and proxy variables are taken from its environment so that the way to the
    server is the same for all.  It is killed when it runs too long (TooSlowError) and when this
    process is interrupted.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.perf_counter()
        child = subprocess.Popen(
            command,
            cwd=directory,
            env=usual_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            _wait_for_end(child.pid, timeout_seconds)
            _, status, usage = os.wait4(child.pid, 0)
            wall_seconds = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.send_signal(signal.SIGKILL)
                child.wait()
        return Run(
            wall_seconds=wall_seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=usage.ru_maxrss * 1024,
            exit_code=child.returncode,
            stdout=_text(stdout),
            stderr=_text(stderr),
        )


def peak_floor_bytes(directory: Path) -> int:
    """The smallest peak that can be measured here.

    The kernel counts the copy of this process that existed between fork and exec towards the child.
    """
    return run(["true"], min(os.sched_getaffinity(0)), directory).peak_bytes


def usual_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as a user has it: without http_proxy and its kin, in either case."""
    return {name: value for name, value in environment.items() if name.lower() not in _LEFT_OUT}


def _wait_for_end(pid: int, timeout_seconds: float) -> None:
    # A pidfd wakes at once; polling would add its period to runs of 50 ms.
    descriptor = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], timeout_seconds)
    finally:
        os.close(descriptor)
    if not ended:
        raise TooSlowError(f"killed after {timeout_seconds:g} s")


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
