"""Names to addresses, in threads that hold nobody up.

The event loop's own look-ups run in threads that the process waits for at its end: with a resolver
that does not answer, that is half a minute after everything else is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

AddressInfo = tuple[Any, ...]


async def look_up(host: str, port: int) -> list[AddressInfo]:
    """What `socket.getaddrinfo` says for TCP.  Raises socket.gaierror or another OSError."""
    if _is_address(host):
        # No name server is asked, and the thread would be a third of a dial's CPU.
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[AddressInfo]] = loop.create_future()

    def settle(found: list[AddressInfo], error: OSError | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def ask() -> None:
        found: list[AddressInfo] = []
        failure: OSError | None = None
        try:
            found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            failure = error
        # The loop may be closed by now: then nobody waits for this.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=ask, name="livepost-lookup", daemon=True).start()
    return await future


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False
