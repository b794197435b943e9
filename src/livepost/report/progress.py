"""How a run is going, while it goes: on a terminal, in a log, or not at all.

Time comes in with each `Snapshot`, so nothing here has a clock or a timer of its own.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Protocol, TextIO

from livepost.report.tally import Tally
from livepost.report.wording import counted, decimal, duration

_RECENT_SECONDS = 10.0
_TERMINALS_THAT_CANNOT_DRAW = ("dumb", "unknown")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a run stands, `seconds` after its start."""

    seconds: float
    finished: int
    """Records whose end is known."""
    delivered: int
    rejected: int
    in_doubt: int
    fraction: float | None
    """How much of the input is dealt with, from 0 to 1, by bytes; None if its size is not known."""
    open_connections: int
    opened: int
    """Connections opened so far: handshakes."""
    requests: int
    """Requests those connections have carried."""
    earlier: float = 0.0
    """How much of `fraction` an earlier process of the run had dealt with."""
    earlier_ahead: float = 0.0
    """How much of the rest it had dealt with, about: that will only be passed over."""

    @classmethod
    def of(
        cls,
        tally: Tally,
        *,
        seconds: float,
        fraction: float | None,
        earlier: float = 0.0,
        earlier_ahead: float = 0.0,
    ) -> Snapshot:
        return cls(
            seconds=seconds,
            finished=tally.records_finished,
            delivered=tally.records_delivered,
            rejected=tally.records_rejected,
            in_doubt=tally.records_in_doubt,
            fraction=fraction,
            open_connections=tally.open_connections,
            opened=tally.opened,
            requests=tally.attempts,
            earlier=earlier,
            earlier_ahead=earlier_ahead,
        )

    @property
    def handshakes_saved(self) -> int:
        """How many more handshakes there would have been with a connection for each request."""
        return max(0, self.requests - self.opened)


class Pace:
    """How fast this process has been over the last ten seconds, and so how long it will take."""

    def __init__(self) -> None:
        self.records_per_second = 0.0
        self.seconds_left: float | None = None
        """None while it cannot be known."""
        # The time, the records, and the part of the input that this process had dealt with then.
        self._seen: deque[tuple[float, int, float | None]] = deque([(0.0, 0, 0.0)])

    def update(self, now: Snapshot) -> None:
        seen = self._seen
        part_now = None if now.fraction is None else now.fraction - now.earlier
        seen.append((now.seconds, now.finished, part_now))
        # The oldest point kept is the last one that is ten seconds old, however rare the points.
        while len(seen) > 2 and seen[1][0] <= now.seconds - _RECENT_SECONDS:
            seen.popleft()
        seconds, finished, part = seen[0]
        elapsed = now.seconds - seconds
        self.records_per_second = (now.finished - finished) / elapsed if elapsed > 0 else 0.0
        self.seconds_left = None
        if now.fraction is not None and part_now is not None and part is not None and part_now > part:
            left = max(0.0, 1 - now.fraction - now.earlier_ahead)
            self.seconds_left = left * elapsed / (part_now - part)


class Progress(Protocol):
    """Shows how a run is going.

    `start` once, then `tick` every `interval_seconds` (never, if that is None), then `stop`, also
    after a failure.  Nothing is ever raised because the stream is closed or its reader has gone.
    """

    @property
    def interval_seconds(self) -> float | None: ...

    def start(self) -> None: ...

    def tick(self, snapshot: Snapshot) -> None: ...

    def stop(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    interval_seconds = None

    def start(self) -> None:
        pass

    def tick(self, snapshot: Snapshot) -> None:
        pass

    def stop(self) -> None:
        pass


class PlainProgress:
    """Writes a line of text every ten seconds, for logs."""

    interval_seconds = 10.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = LastingStream(stream)
        self._pace = Pace()

    def start(self) -> None:
        pass

    def tick(self, snapshot: Snapshot) -> None:
        self._pace.update(snapshot)
        items = [
            *way_items(snapshot, self._pace),
            *record_items(snapshot, self._pace),
            *connection_items(snapshot),
        ]
        self._stream.write(f"{in_whole_seconds(snapshot.seconds)}: {', '.join(items)}\n")
        self._stream.flush()

    def stop(self) -> None:
        pass


def way_items(snapshot: Snapshot, pace: Pace) -> list[str]:
    """How far the run has come and how long it will take, as far as either is known."""
    items = []
    if snapshot.fraction is not None:
        # Rounded down: 100 % is said only of all.
        items.append(f"{int(min(max(snapshot.fraction, 0.0), 1.0) * 100)} %")
    if pace.seconds_left is not None:
        items.append(f"{in_whole_seconds(pace.seconds_left)} left")
    return items


def record_items(snapshot: Snapshot, pace: Pace) -> list[str]:
    """How far the records are, as short phrases."""
    items = [counted(snapshot.finished, "record")]
    if snapshot.rejected:
        items.append(f"{snapshot.rejected:,} rejected")
    if snapshot.in_doubt:
        items.append(f"{snapshot.in_doubt:,} in doubt")
    items.append(f"{decimal(pace.records_per_second)}/s")
    return items


def connection_items(snapshot: Snapshot) -> list[str]:
    """What the connections have done, as short phrases."""
    return [
        counted(snapshot.open_connections, "connection"),
        f"{counted(snapshot.handshakes_saved, 'handshake')} saved",
    ]


def in_whole_seconds(seconds: float) -> str:
    """A duration without fractions, which would only flicker."""
    return duration(round(seconds))


class LastingStream:
    """A text stream that can be written to for ever: what cannot be written is dropped.

    Its own failure must not end a run, and after the first one nothing more is tried.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self._stream = None
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None


def make_progress(mode: str, stream: TextIO | None) -> Progress:
    """The display for `mode`, as `choose_display` has it.  Raises ValueError for a mode that is none."""
    chosen = choose_display(mode, stream)
    if chosen == "none" or stream is None:
        return NoProgress()
    if chosen == "plain":
        return PlainProgress(stream)
    # Importing rich takes 0.1 s, so it is done only where a bar is wanted.
    from livepost.report.bar import BarProgress

    return BarProgress(stream)


def choose_display(mode: str, stream: TextIO | None) -> str:
    """What `mode` comes to: bar, plain, none, or auto, which is bar if `stream` can draw one, else plain.

    A bar is drawn also where `stream` is no terminal if it is asked for by name, but never on a
    terminal that cannot move its cursor (TERM=dumb).  `stream` is None if standard error is closed.
    Raises ValueError for any other mode.
    """
    if mode not in ("auto", "bar", "plain", "none"):
        raise ValueError(f"there is no progress display {mode!r}")
    if mode == "none" or stream is None:
        return "none"
    can_draw = os.environ.get("TERM", "").lower() not in _TERMINALS_THAT_CANNOT_DRAW
    if mode == "plain" or not can_draw or (mode == "auto" and not _is_terminal(stream)):
        return "plain"
    return "bar"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False
