"""What became of each record: told to those who listen, and kept where a run directory keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from livepost.mark import IN_DOUBT, REJECTED, UNSENT
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
        self._keep(exchange, outcome, response)
        for observer in self.observers:
            observer.finished(exchange, outcome, response, seconds)

    def given_up(self, exchange: Exchange, outcome: Outcome) -> None:
        """A record that waited to be tried again will not be."""
        self._keep(exchange, outcome, None)
        self.left(exchange.record, outcome)

    def left(self, record: Record, outcome: Outcome) -> None:
        """A record was not tried at all, and will not be."""
        for observer in self.observers:
            observer.left(record, outcome)

    def rejected(self, rejection: Rejection) -> None:
        """A record was never fit to send."""
        if self._recorder is not None:
            self._recorder.conclude(REJECTED, rejection, rejection.reason, 0, None)
        for observer in self.observers:
            observer.rejected(rejection)

    def _keep(self, exchange: Exchange, outcome: Outcome, response: Response | None) -> None:
        if self._recorder is None:
            return
        if outcome.state is State.UNSENT:
            self._recorder.marks[exchange.record.number] = UNSENT
            return
        mark = REJECTED if outcome.state is State.REJECTED else IN_DOUBT
        self._recorder.conclude(mark, exchange.record, outcome.reason, exchange.attempts, response)
