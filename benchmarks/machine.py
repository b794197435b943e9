"""The machine that was measured on, and how busy it was with other work."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> list[str]:
    """What a reader needs to compare these figures with those of another machine."""
    cores = sorted(os.sched_getaffinity(0))
    return [
        f"{_processor()}, {len(cores)} cores, {_memory_gib():.0f} GiB of memory",
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
    ]


def client_and_server_core() -> tuple[int, int]:
    """The core for the clients and the one for the server; the same where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[min(1, len(cores) - 1)]


def busy_seconds() -> float:
    """CPU time that everything on this machine has used since it started."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _wait, interrupt, soft_interrupt, steal = map(int, fields[1:9])
    return (user + nice + system + interrupt + soft_interrupt + steal) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
