"""What a resumed run still has to do, decided as its input is read again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator
from operator import attrgetter

from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Record, Rejection
from livepost.runs.letter_reader import lettered, read_letters
from livepost.runs.letters import FILE_OF, Letters
from livepost.runs.run import Run
from livepost.runs.spool import in_batches

_number = attrgetter("number")
_INTERRUPTED = "in flight when the run was interrupted"
_RESTARTED = "may have been in flight when the machine stopped"
_LETTER_LOST = "the reason was lost when the run was interrupted"


class Resumption:
    """Leaves out of the input what an earlier process settled.  Belongs to the reading thread.

    A record that may have been in flight is in doubt now, with a letter, or, if `resend` because the
    policy makes that safe, it is sent again.  A record whose letter a crash has taken gets one.

    Pass every batch through `remaining` after `Run.reserve`, and call `close` at the end.  Both raise
    OutputError.
    """

    def __init__(self, run: Run, *, resend: bool) -> None:
        self._run = run
        self._states = run.states
        self._resend = resend
        counts = run.states.counts()
        self.settled = counts.marked - (counts.in_flight if resend else 0)
        """Records of the whole input that `remaining` leaves out."""
        self._reason = _RESTARTED if run.states.recovery.restarted else _INTERRUPTED
        # Not the run's, which belong to the loop's thread; both append whole lines.
        self._letters = Letters(run.path)
        self._lettered = {mark: lettered(run.path / name) for mark, name in FILE_OF.items()}
        self._taken_back = {record.number: record for record in _taken_back(run)}
        """As their letters hold them, where they may have been changed.  As few as a retry reads ahead."""
        self.put_in_doubt = 0
        """Records that were in flight and are in doubt now."""
        self.on_undelivered: Callable[[Record], None] | None = None
        """Told of each record that ended without being delivered, before a later one is returned."""

    def remaining(self, batch: list[Record | Rejection]) -> list[Record | Rejection]:
        """Return what of this batch is to be sent, or to be rejected."""
        if self._taken_back:
            batch = [self._taken_back.get(item.number, item) for item in batch]
        marks = self._states.marks
        first, last = batch[0].number, batch[-1].number
        # What only letters have kept may be far apart.
        is_gapless = last - first + 1 == len(batch)
        if is_gapless and not bytes(marks[first : last + 1]).strip(b"\0"):
            return batch
        rest = [item for item in batch if self._remains(item, marks[item.number])]
        # Before the next batch, which may let go of the segment that this one came from.
        self._letters.flush()
        return rest

    def tell_lettered(self) -> None:
        """Tell of records of which only the letter may be left; to be called before the first batch."""
        if self.on_undelivered is None:
            return
        for mark in FILE_OF:
            for letter in self._run.stored_letters(mark):
                if letter.body is not None:
                    self.on_undelivered(Record(letter.number, letter.body, letter.source, letter.line))

    def close(self) -> None:
        self._letters.close()

    def _remains(self, item: Record | Rejection, mark: int) -> bool:
        if mark == DELIVERED:
            return False
        if mark in FILE_OF:
            if item.number not in self._lettered[mark]:
                reason = item.reason if isinstance(item, Rejection) else _LETTER_LOST
                self._letters.write(mark, item, reason, attempts=None)
            self._tell_undelivered(item)
            return False
        if mark == UNSENT or self._resend or isinstance(item, Rejection):
            return True
        self._letters.write(IN_DOUBT, item, self._reason, attempts=None)
        self._states.marks[item.number] = IN_DOUBT
        self.put_in_doubt += 1
        self._tell_undelivered(item)
        return False

    def _tell_undelivered(self, item: Record | Rejection) -> None:
        # What was never fit to be sent has no key, and keeps nobody waiting.
        if self.on_undelivered is not None and isinstance(item, Record):
            self.on_undelivered(item)


def kept_batches(run: Run) -> Generator[list[Record | Rejection], None, None]:
    """Yield what a run has kept of an input that cannot be read twice, in batches for `Resumption.remaining`.

    That is its spool, and those records that were taken back to be sent again (`States.release`) and
    did not come to an end: their letters hold them.  In the order of the numbers.  Raises RunError.
    """
    if run.spool is None:
        return
    found = {record.number: record for record in _taken_back(run)}
    records: list[Record | Rejection] = [found[number] for number in sorted(found)]
    begin = 0
    for batch in run.spool.batches():
        end = bisect_left(records, batch[0].number, key=_number)
        yield from in_batches(records[begin:end])
        yield batch
        # What both have is in the batch.
        begin = bisect_right(records, batch[-1].number, key=_number)
    yield from in_batches(records[begin:])


def _taken_back(run: Run) -> Iterator[Record]:
    """As their letters hold them; of two the later one, which is about a doubt, comes last."""
    marks, reserved = run.states.marks, run.states.reserved

    def is_open(number: int) -> bool:
        return number <= reserved and marks[number] in (UNSENT, IN_FLIGHT)

    for mark in (REJECTED, IN_DOUBT):
        for letter in read_letters(run.path / FILE_OF[mark], is_open):
            if letter.body is not None:
                yield Record(letter.number, letter.body, letter.source, letter.line)
