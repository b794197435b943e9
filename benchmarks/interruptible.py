"""Runs a benchmark that has servers and clients to stop, whatever ends it."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path


def run(name: str, steps: Callable[[Path], Coroutine[None, None, int]]) -> int:
    """The exit code of `steps`, given a directory that is there until it ends; 130 if it was interrupted.

    SIGTERM and SIGHUP end it in order, as Ctrl-C does.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"livepost-{name}-") as directory:
            return asyncio.run(_until_signalled(steps(Path(directory))))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"{name}: interrupted; everything it started is stopped", file=sys.stderr)
        return 130


def progress(text: str) -> None:
    """Say how far it is, beside the results."""
    print(text, file=sys.stderr, flush=True)


async def _until_signalled(steps: Coroutine[None, None, int]) -> int:
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    return await steps
