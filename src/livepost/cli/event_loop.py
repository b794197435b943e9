"""The event loop the commands run on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Returned = TypeVar("Returned")


def run(main: Coroutine[Any, Any, Returned]) -> Returned:
    """Run on asyncio's own loop.

    An exception in a callback is a defect; it ends the program instead of leaving it waiting.
    Raises KeyboardInterrupt if SIGINT comes and `main` does not handle it.
    """
    _fill_standard_descriptors()
    # Until the loop handles it: one that is made by half says so when it is thrown away.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        with asyncio.Runner() as runner:
            return runner.run(_watched(main, mask))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _fill_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from becoming sockets where they are closed: what is printed would go out on them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


async def _watched(main: Coroutine[Any, Any, Returned], mask: Iterable[int]) -> Returned:
    crashes: list[BaseException] = []
    task = asyncio.ensure_future(main)

    def on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        crash = context.get("exception")
        if crash is None:
            loop.default_exception_handler(context)
            return
        crashes.append(crash)
        task.cancel()

    asyncio.get_running_loop().set_exception_handler(on_exception)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return await task
    except asyncio.CancelledError:
        if crashes:
            raise crashes[0] from None
        raise
