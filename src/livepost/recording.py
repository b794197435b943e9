"""A run directory at work: its source reserves what is read, its recorder keeps how records end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing

from livepost.config import DeliveryOptions, RequestOptions
from livepost.delivery.classify import is_safe_to_repeat_now
from livepost.errors import LivepostError
from livepost.letter import StoredLetter
from livepost.mark import IN_DOUBT
from livepost.model import Record, Rejection
from livepost.policy import RetryOptions
from livepost.records.source import FileSource, Source
from livepost.runs.fingerprint import check_unchanged
from livepost.runs.numbers import NumberSet
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
        self._last_number = 0
        self._passed_over = 0
        """Records left out so far."""
        self.bytes_passed_over = 0.0
        """How many of `bytes_read` are theirs, about."""

    def tell_undelivered(self, told: Callable[[Record], None]) -> None:
        """Call this, in the reading thread, with each record that an earlier process did not deliver.

        That is done before a later record is yielded.
        """
        if self._resumption is not None:
            self._resumption.on_undelivered = told

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

    @property
    def bytes_to_pass_over(self) -> float:
        """How many of those still to be read are of records that will be left out, about."""
        if self._resumption is None or not self._last_number:
            return 0.0
        return (self._resumption.settled - self._passed_over) * self.bytes_read / self._last_number

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield what is to be sent.  Raises InputError and OutputError."""
        bytes_before = 0
        with ExitStack() as stack:
            batches = stack.enter_context(closing(self._source.batches()))
            if self._resumption is not None:
                stack.callback(self._resumption.close)
                if self._run.spool is not None:
                    # Of what is settled a spool may have nothing any more.
                    self._resumption.tell_lettered()
            for batch in filter(None, batches):
                self._run.reserve(batch)
                self._last_number = batch[-1].number
                remaining = batch if self._resumption is None else self._resumption.remaining(batch)
                if left_out := len(batch) - len(remaining):
                    self._passed_over += left_out
                    self.bytes_passed_over += (self.bytes_read - bytes_before) * left_out / len(batch)
                bytes_before = self.bytes_read
                if remaining:
                    yield remaining
        # Where the spool ends, the input may have gone on.
        if self._run.spool is None or not self._run.was_resumed:
            self._run.input_ended(self._last_number)


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

    `marks` are those of the letters: rejected, in doubt or both.  What is in doubt stays so unless it is
    delivered: that it was sent again, or could not be, does not take the doubt away.
    """

    bytes_total = None
    bytes_read = 0

    def __init__(self, run: Run, marks: Sequence[int], *, batch_records: int = 500) -> None:
        self._run = run
        self._marks = marks
        self._batch_records = batch_records
        self._taken = NumberSet()
        """So that what ends in doubt now is not sent a second time."""
        self.unfit = 0
        """Records that cannot be sent, because they never were fit to be."""

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield the records, no longer marked as they were.  Raises RunError and OutputError."""
        for mark in self._marks:
            letters = self._run.stored_letters(mark)
            while batch := self._next_batch(letters):
                self._run.reserve(list(batch))
                numbers = [record.number for record in batch]
                self._run.states.release(numbers, may_be_processed=mark == IN_DOUBT)
                yield list(batch)

    def _next_batch(self, letters: Iterator[StoredLetter]) -> list[Record]:
        batch: list[Record] = []
        for letter in letters:
            if letter.number in self._taken:
                continue
            self._taken.add(letter.number)
            if letter.body is None:
                self.unfit += 1
                continue
            batch.append(Record(letter.number, letter.body, letter.source, letter.line))
            if len(batch) == self._batch_records:
                break
        return batch


class ResumedSource(RecordedSource):
    """What is left of a run, from its files or from what it has kept.

    `sent_with` is with what something may have been sent, and `options` with what it goes on: what was in
    flight is sent again where that is safe after each of them.

    Raises InputChangedError if the files are not those that the run began with, and InputError if they
    cannot be read.
    """

    def __init__(
        self,
        run: Run,
        files: Sequence[str],
        options: DeliveryOptions,
        sent_with: Iterable[tuple[RequestOptions, RetryOptions]],
    ) -> None:
        source: Source
        if run.spool is not None:
            source = KeptSource(run)
        else:
            check_unchanged(run.manifest.inputs)
            source = FileSource(files, options.input)
            source.check()
        method = _method(options.request)
        resend = all(
            is_safe_to_repeat_now(method, options.retry, _method(request), retry)
            for request, retry in sent_with
        )
        super().__init__(source, run, Resumption(run, resend=resend))


def _method(options: RequestOptions) -> bytes:
    return options.method.encode("utf-8", "surrogateescape")


class Recording:
    """Keeps how records end.  What goes wrong with that ends the run (`fail`), not the event loop.

    `is_sent_again`: what is left in flight is safe to repeat, and `resume` finds it in the input.
    """

    def __init__(
        self, run: Run, fail: Callable[[LivepostError], None], *, is_sent_again: bool = False
    ) -> None:
        self._run = run
        self._fail = fail
        self.is_sent_again = is_sent_again

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
