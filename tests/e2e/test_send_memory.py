"""The memory `livepost send` needs does not grow with its input."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import uvloop
from command import environment

ANSWER = b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 1}'

# The process tells its own peak: what the kernel tells its parent includes that of the parent.
PROGRAM = """\
import sys
from livepost.cli.main import main
code = main(sys.argv[1:])
print(open("/proc/self/status").read())
sys.exit(code)
"""


class Answers(asyncio.Protocol):
    """Counts requests by the end of their heads, and answers each; the fastest server there is in Python."""

    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.Transport, transport).write  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        requests = data.count(b"\r\n\r\n")
        Answers.answered += requests
        self._write(ANSWER * requests)


@pytest.fixture
def port() -> Iterator[int]:
    loop = uvloop.new_event_loop()
    sock = socket.create_server(("127.0.0.1", 0))
    server = loop.run_until_complete(loop.create_server(Answers, sock=sock))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def peak_megabytes(records: int, port: int, folder: Path) -> float:
    file = folder / f"{records}.ndjson"
    with file.open("wb") as stream:
        for number in range(records):
            stream.write(b'{"id": %d, "name": "User %d", "email": "user%d@example.com"}\n' % ((number,) * 3))
    Answers.answered = 0
    arguments = ["send", str(file), "--to", f"http://127.0.0.1:{port}/", "-o", os.devnull]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (ended.returncode, Answers.answered) == (0, records), ended.stderr
    peak = re.search(r"VmHWM:\s+(\d+) kB", ended.stdout)
    assert peak is not None
    return int(peak[1]) / 1024


def test_ten_times_the_records_need_no_more_memory(port: int, tmp_path: Path) -> None:
    few = peak_megabytes(20_000, port, tmp_path)
    many = peak_megabytes(200_000, port, tmp_path)
    assert many < 60
    assert abs(many - few) < 10
