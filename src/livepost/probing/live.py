"""What a probe is doing, redrawn in place on a terminal.

Only this module of the probe needs rich; it is imported when a terminal is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from livepost.report.progress import LastingStream, in_whole_seconds


class LiveDisplay:
    """Draws over its own last lines, four times a second, and leaves nothing behind.

    What is printed to `sys.stderr` meanwhile appears above.  Colours follow NO_COLOR.
    """

    interval_seconds = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=cast("IO[str]", LastingStream(stream)), force_terminal=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def start(self) -> None:
        self._live.start()

    def tick(self, seconds: float, doing: Mapping[str, str]) -> None:
        lines = Table.grid(padding=(0, 2))
        for label, words in doing.items():
            lines.add_row(Text(label, style="bold"), Text(words))
        lines.add_row(Text(in_whole_seconds(seconds)), Text("Ctrl-C shows what is known so far"))
        self._live.update(lines, refresh=True)

    def stop(self) -> None:
        self._live.stop()
