"""Progress as a live bar on a terminal.

    ━━━━━━━━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  46 %  1 min 12 s left
    138,207 records, 142,857/s
    64 connections, 138,143 handshakes saved

Only this module needs rich; it is imported when a bar is asked for.
"""

from __future__ import annotations

from typing import IO, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from livepost.report.progress import (
    LastingStream,
    Pace,
    Snapshot,
    connection_items,
    in_whole_seconds,
    record_items,
    way_items,
)
from livepost.report.wording import packed

# So that the bar does not change its length all the time.
_USUAL_WAY_WIDTH = len("47 %  1 min 18 s left")


class BarProgress:
    """Draws over its own last lines, four times a second, and leaves nothing behind.

    What is printed to `sys.stderr` meanwhile appears above the bar.  Colours follow NO_COLOR.
    """

    interval_seconds = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=cast("IO[str]", LastingStream(stream)), force_terminal=True)
        self._pace = Pace()
        # Redrawn by `tick` alone, without rich's thread.
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def start(self) -> None:
        self._live.start()

    def tick(self, snapshot: Snapshot) -> None:
        self._pace.update(snapshot)
        self._live.update(self._drawn(snapshot), refresh=True)

    def stop(self) -> None:
        self._live.stop()

    def _drawn(self, snapshot: Snapshot) -> RenderableType:
        width = self._console.width
        lines = [
            *packed(record_items(snapshot, self._pace), width),
            *packed(connection_items(snapshot), width),
        ]
        figures = Text("\n".join(lines))
        figures.highlight_regex(r"[\d,.]+/s", "bold")
        figures.highlight_regex(r"[\d,]+ rejected", "red")
        figures.highlight_regex(r"[\d,]+ in doubt", "yellow")
        return Group(self._way(snapshot), figures)

    def _way(self, snapshot: Snapshot) -> RenderableType:
        """The bar itself, or the time passed where the length of the way is not known."""
        if snapshot.fraction is None:
            return Text(f"{in_whole_seconds(snapshot.seconds)} so far")
        way = "  ".join(way_items(snapshot, self._pace))
        room = self._console.width - max(len(way), _USUAL_WAY_WIDTH) - 2
        line = Table.grid()
        line.add_row(
            ProgressBar(total=1.0, completed=snapshot.fraction, width=max(room, 1), complete_style="green"),
            f"  {way}",
        )
        return line
