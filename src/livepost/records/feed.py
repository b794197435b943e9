"""Brings records to the event loop without ever blocking it.

    source (own thread) ── batches, at most `batches_ahead` not yet used up ──▶ loop's thread ── take()

All state below belongs to the loop's thread; the source's thread only reads `_stopped`, waits on
`_room`, and hands over with `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from livepost.errors import LivepostError
from livepost.model import Record, Rejection
from livepost.records.source import Source


class RecordFeed:
    """The records of one source, read ahead by a bounded number of batches.

    Everything but the constructor is called on `loop`'s thread and returns at once.  `on_arrival` is
    called there whenever more can be taken or the source has ended.

    The reading thread is a daemon: one that waits for silent standard input for ever does not keep
    the process from ending.
    """

    def __init__(
        self,
        source: Source,
        *,
        loop: asyncio.AbstractEventLoop,
        on_arrival: Callable[[], None],
        batches_ahead: int = 2,
    ) -> None:
        self._source = source
        self._loop = loop
        self._on_arrival = on_arrival
        self._room = threading.Semaphore(batches_ahead)
        self._thread = threading.Thread(target=self._read, name="livepost-records", daemon=True)
        # `_current` is used up only if nothing waits.
        self._current: list[Record | Rejection] = []
        self._taken = 0
        """How many of `_current` have been taken."""
        self._arrived: deque[list[Record | Rejection]] = deque()
        self._arrived_records = 0
        self._stopped = False
        self._source_ended = False
        self._was_cut = False
        self._reached_end = False
        self._failure: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many records can be taken now."""
        return len(self._current) - self._taken + self._arrived_records

    @property
    def ended(self) -> bool:
        """Nothing can be taken now, and nothing more will come."""
        return not self._current and (self._source_ended or self._stopped)

    @property
    def reached_end(self) -> bool:
        """The source was read to its end, without an error, and all of it could be taken."""
        return self._reached_end and self._failure is None

    @property
    def error(self) -> LivepostError | None:
        """Why the source ended early; None if it did not, or has not ended yet.

        Whatever else the source raised is a defect, and is raised again here: look before calling a
        run finished.
        """
        if self._failure is None or isinstance(self._failure, LivepostError):
            return self._failure
        raise self._failure

    def start(self) -> None:
        """Begin to read.  Only once."""
        self._thread.start()

    def take(self, limit: int) -> Sequence[Record | Rejection]:
        """Return the next records, in order: at least one if any waits, and at most `limit`."""
        current = self._current
        taken = current[self._taken : self._taken + limit]
        self._taken += len(taken)
        if self._taken == len(current) and current:
            self._next_batch()
        return taken

    def peek(self) -> Record | Rejection | None:
        """Return the first that `take` would, and leave it there."""
        return self._current[self._taken] if self._current else None

    def stop(self) -> None:
        """Take no more from the source; what has been handed over can still be taken.

        The thread closes the source as soon as the read it may be in returns.
        """
        self._stopped = True
        self._room.release()

    def close(self) -> None:
        """Stop, and drop what waits; `on_arrival` is not called any more."""
        self.stop()
        self._on_arrival = _do_nothing
        self._current = []
        self._taken = 0
        self._arrived.clear()
        self._arrived_records = 0

    def _next_batch(self) -> None:
        self._room.release()
        self._current = self._arrived.popleft() if self._arrived else []
        self._taken = 0
        self._arrived_records -= len(self._current)

    def _arrive(self, batch: list[Record | Rejection]) -> None:
        if self._stopped:
            self._was_cut = True
            return
        if self._current:
            self._arrived.append(batch)
            self._arrived_records += len(batch)
        else:
            self._current = batch
        self._on_arrival()

    def _reach_end(self, _: object) -> None:
        self._reached_end = not self._was_cut

    def _end(self, failure: BaseException | None) -> None:
        self._source_ended = True
        self._failure = failure
        self._on_arrival()

    def _read(self) -> None:
        """The source's thread."""
        failure: BaseException | None = None
        try:
            with closing(self._source.batches()) as batches:
                # An empty batch would never be used up, and so would take its room for ever.
                filled = filter(None, batches)
                while self._has_room():
                    batch = next(filled, None)
                    if batch is None:
                        self._hand_over(self._reach_end, None)
                        break
                    self._hand_over(self._arrive, batch)
        except BaseException as error:  # noqa: BLE001  not hidden: `error` raises it on the loop's thread
            failure = error
        self._hand_over(self._end, failure)

    def _has_room(self) -> bool:
        self._room.acquire()
        return not self._stopped

    def _hand_over(self, receive: Callable[[Any], None], value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(receive, value)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            self._stopped = True


def _do_nothing() -> None:
    pass
