"""A run directory at work: its source reserves what is read, its recorder keeps how records end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing

from livepost.config import DeliveryOptions
from livepost.delivery.classify import is_safe_to_repeat
from livepost.errors import LivepostError
from livepost.letter import StoredLetter
from livepost.model import Record, Rejection
from livepost.records.source import FileSource, Source
from livepost.runs.fingerprint import check_unchanged
from livepost.runs.resumption import Resumption, kept_batches
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
    def put_in_doubt(self) -> int:
        """Records that an interruption has left in doubt; they are not yielded."""
        return 0 if self._resumption is None else self._resumption.put_in_doubt

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


class KeptSource:
    """What a run has kept of an input that could be read only once."""

    bytes_total = None
    bytes_read = 0

    def __init__(self, run: Run) -> None:
        self._run = run

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield what was kept.  Raises RunError."""
        return kept_batches(self._run)


class LetterSource:
    """The records of some letters, to be sent again.

    `marks` are those of the letters: rejected, in doubt or both.
    """

    bytes_total = None
    bytes_read = 0

    def __init__(self, run: Run, marks: Sequence[int], *, batch_records: int = 500) -> None:
        self._run = run
        self._marks = marks
        self._batch_records = batch_records
        self.unfit = 0
        """Records that cannot be sent, because they never were fit to be."""

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield the records, no longer marked as they were.  Raises RunError and OutputError."""
        for mark in self._marks:
            letters = self._run.stored_letters(mark)
            while batch := self._next_batch(letters):
                self._run.reserve(list(batch))
                self._run.states.release(record.number for record in batch)
                yield list(batch)

    def _next_batch(self, letters: Iterator[StoredLetter]) -> list[Record]:
        batch: list[Record] = []
        for letter in letters:
            if letter.body is None:
                self.unfit += 1
                continue
            batch.append(Record(letter.number, letter.body, letter.source, letter.line))
            if len(batch) == self._batch_records:
                break
        return batch


class ResumedSource(RecordedSource):
    """What is left of a run, from its files or from what it has kept.

    Raises InputChangedError if the files are not those that the run began with, and InputError if they
    cannot be read.
    """

    def __init__(self, run: Run, files: Sequence[str], options: DeliveryOptions) -> None:
        source: Source
        if run.spool is not None:
            source = KeptSource(run)
        else:
            check_unchanged(run.manifest.inputs)
            source = FileSource(files, options.input)
            source.check()
        method = options.request.method.encode("utf-8", "surrogateescape")
        super().__init__(source, run, Resumption(run, resend=is_safe_to_repeat(method, options.retry)))


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
