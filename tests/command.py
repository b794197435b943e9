"""The `livepost` command in a process of its own, as a shell would start it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

_INFLUENTIAL = re.compile("_proxy$|COLOR|^TERM$|^SSL", re.IGNORECASE)
PATIENCE_SECONDS = 60.0

COMMAND = (sys.executable, "-W", "always::ResourceWarning", "-m", "livepost")


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def summary(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)

    @property
    def receipts(self) -> list[Any]:
        """What `-o -` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command that has not ended yet; its three streams are pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        self._stream(self._process.stdin).write(data)
        self._stream(self._process.stdin).flush()

    def end_input(self) -> None:
        self._stream(self._process.stdin).close()
        self._process.stdin = None

    def read_out(self) -> str:
        """The next line of stdout."""
        return self._stream(self._process.stdout).readline().decode()

    def read_err(self) -> str:
        """The next line of stderr."""
        return self._stream(self._process.stderr).readline().decode()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> Ended:
        """Wait for the end; what was read before is not in it."""
        out, err = self._process.communicate()
        return _checked(self._process.returncode, out or b"", err or b"")

    def wait(self) -> int:
        """Wait for the end without reading anything, and return the exit code."""
        return self._process.wait(timeout=60)

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream


def _without_run(arguments: tuple[object, ...]) -> list[str]:
    """Where nothing is said of run directories, none is made."""
    words = [str(argument) for argument in arguments]
    if words[:1] != ["send"] or any(word.partition("=")[0] in ("--run", "--no-run") for word in words):
        return words
    return [words[0], "--no-run", *words[1:]]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would change the results, and 80 columns wide."""
    own = {name: value for name, value in os.environ.items() if not _INFLUENTIAL.search(name)}
    return own | {"COLUMNS": "80"} | dict(changes or {})


def livepost(
    *arguments: object,
    stdin: bytes = b"",
    stdout: int = subprocess.PIPE,
    variables: Mapping[str, str] | None = None,
) -> Ended:
    """Run the command to its end.  That it shows no traceback is checked every time."""
    ended = subprocess.run(
        [*COMMAND, *_without_run(arguments)],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(variables),
        timeout=PATIENCE_SECONDS,
    )
    return _checked(ended.returncode, ended.stdout or b"", ended.stderr)


@contextlib.contextmanager
def started(
    *arguments: object,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run the command while the block runs; it is killed after a while, and at the end."""
    with subprocess.Popen(
        [*COMMAND, *_without_run(arguments)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=environment(variables),
    ) as process:
        timer = threading.Timer(PATIENCE_SECONDS, process.kill)
        timer.start()
        try:
            yield Running(process)
        finally:
            timer.cancel()
            timer.join()
            process.kill()


def _checked(code: int, out: bytes, err: bytes) -> Ended:
    ended = Ended(code, out.decode(), err.decode())
    for unwanted in ("Traceback", "Exception ignored", "ResourceWarning"):
        assert unwanted not in ended.err, ended.err
    return ended
