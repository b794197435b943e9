"""A run directory at work: its source reserves what is read, its recorder keeps how records end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

from livepost.errors import LivepostError
from livepost.model import Record, Rejection
from livepost.records.source import Source
from livepost.runs.resumption import Resumption
from livepost.runs.run import Run
from livepost.wire.message import Response


class RecordedSource:
    """The records of `source` that are still to be sent, each of them known to the run beforehand.

    `resumption` leaves out what an earlier process has settled.
    """

    def __init__(self, source: Source, run: Run, resumption: Resumption | None = None) -> None:
        self._source = source
        self._run = run
        self._resumption = resumption

    @property
    def bytes_total(self) -> int | None:
        return self._source.bytes_total

    @property
    def bytes_read(self) -> int:
        return self._source.bytes_read

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield what is to be sent.  Raises InputError and OutputError."""
        last_number = 0
        with ExitStack() as stack:
            batches = stack.enter_context(closing(self._source.batches()))
            if self._resumption is not None:
                stack.callback(self._resumption.close)
            for batch in filter(None, batches):
                self._run.reserve(batch)
                last_number = batch[-1].number
                remaining = batch if self._resumption is None else self._resumption.remaining(batch)
                if remaining:
                    yield remaining
        # Where the spool ends, the input may have gone on.
        if self._run.spool is None or not self._run.was_resumed:
            self._run.input_ended(last_number)


class Recording:
    """Keeps how records end.  What goes wrong with that ends the run (`fail`), not the event loop."""

    def __init__(self, run: Run, fail: Callable[[LivepostError], None]) -> None:
        self._run = run
        self._fail = fail

    @property
    def marks(self) -> memoryview:
        return self._run.states.marks

    def flush(self) -> None:
        """Let others see what was written so far."""
        try:
            self._run.flush()
        except LivepostError as error:
            self._fail(error)

    def conclude(
        self, mark: int, item: Record | Rejection, reason: str, attempts: int, response: Response | None
    ) -> None:
        try:
            self._run.conclude(
                mark,
                item,
                reason,
                attempts=attempts,
                status=None if response is None else response.status,
                answer=None if response is None else response.body,
            )
        except LivepostError as error:
            self._fail(error)
