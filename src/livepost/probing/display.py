"""What a probe is doing, while it waits: on a terminal, in a log, or not at all.

Time comes in with each tick, so nothing here has a clock or a timer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TextIO

from livepost.report.progress import LastingStream, choose_display, in_whole_seconds


class Display(Protocol):
    """Shows what each measurement is doing, by its label.

    `start` once, then `tick` every `interval_seconds` (never, if that is None), then `stop`, also
    after a failure.  Nothing is ever raised because the stream is closed or its reader has gone.
    """

    @property
    def interval_seconds(self) -> float | None: ...

    def start(self) -> None: ...

    def tick(self, seconds: float, doing: Mapping[str, str]) -> None: ...

    def stop(self) -> None: ...


class NoDisplay:
    """Shows nothing."""

    interval_seconds = None

    def start(self) -> None:
        pass

    def tick(self, seconds: float, doing: Mapping[str, str]) -> None:
        pass

    def stop(self) -> None:
        pass


class PlainDisplay:
    """Writes a line of text every ten seconds, for logs."""

    interval_seconds = 10.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = LastingStream(stream)

    def start(self) -> None:
        pass

    def tick(self, seconds: float, doing: Mapping[str, str]) -> None:
        what = "; ".join(f"{label}: {words}" for label, words in doing.items())
        self._stream.write(f"{in_whole_seconds(seconds)}: {what}\n")
        self._stream.flush()

    def stop(self) -> None:
        pass


def make_display(mode: str, stream: TextIO | None) -> Display:
    """The display for `mode`, as `choose_display` has it.  Raises ValueError for a mode that is none."""
    chosen = choose_display(mode, stream)
    if chosen == "none" or stream is None:
        return NoDisplay()
    if chosen == "plain":
        return PlainDisplay(stream)
    # Importing rich takes 0.1 s, so it is done only where it draws.
    from livepost.probing.live import LiveDisplay

    return LiveDisplay(stream)
