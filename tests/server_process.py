"""Other people's servers as processes: found, started, waited for and ended; none needs root."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

_STARTS_WITHIN_SECONDS = 20.0
_ENDS_WITHIN_SECONDS = 20.0


def installed(program: str, *, package: str) -> str:
    """Where the program is; without it the test is skipped, but fails under CI."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        missing = f"{program} is not installed (on Debian and Ubuntu: apt-get install {package})"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return path


def unused_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def unused_port() -> int:
    (port,) = unused_ports(1)
    return port


def listens_at(port: int) -> Callable[[], None]:
    """An `ask` for `running`: a connection without a request."""
    return lambda: socket.create_connection(("127.0.0.1", port)).close()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    ask: Callable[[], object],
    *,
    end_with: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run it while the block runs, which begins when `ask` does not fail any more."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, log, ask)
        yield
    finally:
        process.send_signal(end_with)
        try:
            process.wait(_ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            # Its workers too, which are in its session.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path, ask: Callable[[], object]) -> None:
    ends = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        # Anything else that answers there is not this server, which then cannot start.
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            ask()
            return
        time.sleep(0.01)
    pytest.fail(f"{process.args!r} did not start: {log.read_text()}")
