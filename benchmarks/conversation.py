"""A client that is given its records in bursts, on its standard input, and what it says in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import measure

ENDS_WITHIN_SECONDS = 60.0


class Bursts(Protocol):
    """What is given, and when."""

    @property
    def pauses(self) -> Sequence[float]:
        """Seconds before each burst but the first."""

    def burst(self, number: int) -> bytes:
        """The records of this burst, from 0."""


class Conversation:
    """One process, from its first burst to its result; its cache is in `folder`, where it also works."""

    def __init__(self, command: Sequence[str], bursts: Bursts, folder: Path) -> None:
        self._command = command
        self._bursts = bursts
        self._folder = folder
        self._records = -1
        self._process: asyncio.subprocess.Process | None = None
        self.problem = ""
        self.stdout = ""
        self.stderr = ""

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.returncode

    async def begin(self) -> None:
        """Start the client and give it the first burst."""
        # Not asyncio's own: what it makes may be a socket, which cannot be opened as /dev/stdin.
        stdin, self._records = os.pipe()
        environment = measure.usual_environment(os.environ) | {"XDG_CACHE_HOME": str(self._folder)}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd=self._folder,
            )
        finally:
            os.close(stdin)
        self._give(0)

    async def go_on(self, turn_seconds: float) -> None:
        """Give the other bursts, each after its pause, and keep what it says when it has ended.

        `turn_seconds` later than others, so that not all send at a time.
        """
        assert self._process is not None
        await asyncio.sleep(turn_seconds)
        for number, pause in enumerate(self._bursts.pauses, 1):
            await asyncio.sleep(pause)
            self._give(number)
        self._end_input()
        try:
            async with asyncio.timeout(ENDS_WITHIN_SECONDS):
                stdout, stderr = await self._process.communicate()
        except TimeoutError:
            self.problem = f"had not ended {ENDS_WITHIN_SECONDS:g} s after its last burst"
            return
        self.stdout = stdout.decode(errors="replace")
        self.stderr = stderr.decode(errors="replace").strip()

    async def end(self) -> None:
        """Leave nothing running, whatever happened."""
        self._end_input()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _give(self, number: int) -> None:
        # What is wrong with a client that is gone shows in its result.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._records, self._bursts.burst(number))

    def _end_input(self) -> None:
        if self._records >= 0:
            os.close(self._records)
        self._records = -1
