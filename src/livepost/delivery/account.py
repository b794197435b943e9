"""What became of each record: told to those who listen, and kept where a run directory keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from livepost.delivery.classify import in_spite_of
from livepost.mark import IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Outcome, Record, Rejection, State
from livepost.wire.message import Exchange, Response


class Recorder(Protocol):
    """Where it is kept how far each record has come (`recording.Recording`)."""

    @property
    def marks(self) -> memoryview:
        """One byte per record, at its number.  Asked for anew each time: it is replaced as the run grows."""

    def conclude(
        self, mark: int, item: Record | Rejection, reason: str, attempts: int, response: Response | None
    ) -> None:
        """Mark a record REJECTED or IN_DOUBT and write down why."""


class DeliveryObserver(Protocol):
    """Told what becomes of every record.  Calls must return at once.

    `seconds` runs from handing the exchange to a connection to the end of its answer.
    """

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        """The record's last attempt ended (`response` is None: without an answer)."""

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """An attempt ended and another will follow; `reason` is one of a small number of words."""

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""

    def left(self, record: Record, outcome: Outcome) -> None:
        """No (further) attempt was made: unsent, or in doubt where an earlier one left a doubt."""


class Account:
    """Has everything kept first and told then.  `recorder` is None if nothing is kept.

    Deliveries are too many for a call each: the schedule stores and tells them itself.
    """

    __slots__ = ("_recorder", "observers")

    def __init__(self, observers: Sequence[DeliveryObserver], recorder: Recorder | None) -> None:
        self.observers = tuple(observers)
        self._recorder = recorder

    @property
    def marks(self) -> memoryview | None:
        """Where marks are stored now, if they are."""
        return None if self._recorder is None else self._recorder.marks

    def mark(self, record: Record, mark: int) -> None:
        if self._recorder is not None:
            self._recorder.marks[record.number] = mark

    def again(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """An attempt ended and another will follow.

        Unless one so far may have been processed, the record is as good as never sent until then.
        """
        if not exchange.has_doubt:
            self.mark(exchange.record, UNSENT)
        for observer in self.observers:
            observer.retried(exchange, reason, response, seconds)

    def ended(self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float) -> None:
        """The last attempt for a record ended, and did not deliver it."""
        recorder = self._recorder
        if recorder is not None:
            if outcome.state is State.UNSENT:
                recorder.marks[exchange.record.number] = UNSENT
            else:
                mark = REJECTED if outcome.state is State.REJECTED else IN_DOUBT
                recorder.conclude(mark, exchange.record, outcome.reason, exchange.attempts, response)
        for observer in self.observers:
            observer.finished(exchange, outcome, response, seconds)

    def left(self, record: Record, outcome: Outcome, attempts: int = 0, *, has_doubt: bool = False) -> None:
        """A record will not be tried, or not any more; `outcome` is UNSENT and says why.

        It is in doubt all the same if an attempt, perhaps of an earlier process, may have been processed.
        """
        if self._recorder is not None and self._recorder.marks[record.number] == IN_FLIGHT:
            has_doubt = True
        outcome = in_spite_of(has_doubt, outcome)
        if has_doubt and self._recorder is not None:
            self._recorder.conclude(IN_DOUBT, record, outcome.reason, attempts, None)
        for observer in self.observers:
            observer.left(record, outcome)

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""
        if self._recorder is not None:
            self._recorder.conclude(REJECTED, rejection, rejection.reason, 0, None)
        for observer in self.observers:
            observer.rejected(rejection)
