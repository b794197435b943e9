"""What the practice server can do wrong on purpose: values, and one table of the kinds.

A `Fault` says what happens to one request, one connection, or the listener.  Which of them it
happens to is the business of `fault_plan`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from email.utils import formatdate

from livepost.errors import ConfigurationError
from livepost.rehearsal.reply import After

LATE_SECONDS = 1.0
BYTE_INTERVAL_SECONDS = 0.001


class Place(enum.Enum):
    """Where in the life of a request a fault strikes."""

    LISTENER = "listener"
    CONNECTION = "connection"
    """A connection was accepted, nothing was read from it."""
    HEAD = "head"
    """The head was read (it tells a record from a look at the counts); the body is left unread."""
    REQUEST = "request"
    """The request was read to its end and is not processed."""
    ANSWER = "answer"
    """The request was read, and processed if the fault says so."""


class FaultKind(enum.Enum):
    """The kinds, named as they are written; `TRAITS` says what each does."""

    OUTAGE = "outage"
    REFUSE = "refuse"
    NO_ACCEPT = "no-accept"
    RESET_ON_ACCEPT = "reset-on-accept"
    CLOSE_ON_ACCEPT = "close-on-accept"
    RESET_BEFORE_READING = "reset-before-reading"
    CLOSE_BEFORE_READING = "close-before-reading"
    RESET_AFTER_READING = "reset-after-reading"
    CLOSE_AFTER_READING = "close-after-reading"
    RESET_AFTER_PROCESSING = "reset-after-processing"
    CLOSE_AFTER_PROCESSING = "close-after-processing"
    STATUS = "status"
    NEVER = "never"
    LATE = "late"
    TRICKLE = "trickle"
    CUT_HEAD = "cut-head"
    CUT_BODY = "cut-body"
    GARBAGE = "garbage"
    ANNOUNCE_CLOSE = "announce-close"
    CLOSE_AFTER_ANSWER = "close-after-answer"
    RESET_AFTER_ANSWER = "reset-after-answer"
    USUAL = "usual"


@dataclass(frozen=True, slots=True)
class Traits:
    """What is the same for all faults of a kind."""

    place: Place
    processed: bool
    """The record counts as processed, unless the fault says otherwise."""
    then: After
    """What becomes of the connection, unless the fault says otherwise."""
    does: str
    takes: frozenset[str] = frozenset()
    """Which fields of `Fault` may be given."""


_LASTS = frozenset(("lasts_seconds",))
_DELAY = frozenset(("delay_seconds",))
_ENDING = _DELAY | {"then"}
_USUAL = _ENDING | {"fields"}
_CUT = _ENDING | {"cut_bytes"}
_MAY_PROCESS = _DELAY | {"processed"}

TRAITS: dict[FaultKind, Traits] = {
    FaultKind.OUTAGE: Traits(
        Place.LISTENER, False, After.RESET, "connects are refused, open connections reset", _LASTS
    ),
    FaultKind.REFUSE: Traits(
        Place.LISTENER, False, After.KEEP, "connects are refused, open connections live on", _LASTS
    ),
    FaultKind.NO_ACCEPT: Traits(
        Place.LISTENER, False, After.KEEP, "connects succeed, but nobody accepts or reads", _LASTS
    ),
    FaultKind.RESET_ON_ACCEPT: Traits(
        Place.CONNECTION, False, After.RESET, "a new connection is reset at once"
    ),
    FaultKind.CLOSE_ON_ACCEPT: Traits(
        Place.CONNECTION, False, After.DROP, "a new connection is closed at once"
    ),
    FaultKind.RESET_BEFORE_READING: Traits(
        Place.HEAD, False, After.RESET, "reset as soon as the head is there, body unread", _DELAY
    ),
    FaultKind.CLOSE_BEFORE_READING: Traits(
        Place.HEAD, False, After.DROP, "closed as soon as the head is there, body unread", _DELAY
    ),
    FaultKind.RESET_AFTER_READING: Traits(
        Place.REQUEST, False, After.RESET, "read to its end, then reset", _DELAY
    ),
    FaultKind.CLOSE_AFTER_READING: Traits(
        Place.REQUEST, False, After.DROP, "read to its end, then closed", _DELAY
    ),
    FaultKind.RESET_AFTER_PROCESSING: Traits(
        Place.ANSWER, True, After.RESET, "processed, then reset without an answer", _DELAY
    ),
    FaultKind.CLOSE_AFTER_PROCESSING: Traits(
        Place.ANSWER, True, After.DROP, "processed, then closed without an answer", _DELAY
    ),
    FaultKind.STATUS: Traits(
        Place.ANSWER,
        False,
        After.KEEP,
        "answered with that status (2xx: processed)",
        _USUAL | _MAY_PROCESS | {"status", "early"},
    ),
    FaultKind.NEVER: Traits(
        Place.ANSWER, True, After.KEEP, "never answered, the connection stays open", frozenset(("processed",))
    ),
    FaultKind.LATE: Traits(Place.ANSWER, True, After.KEEP, "processed at once, answered late", _USUAL),
    FaultKind.TRICKLE: Traits(
        Place.ANSWER, True, After.KEEP, "answered one byte at a time", _USUAL | {"interval_seconds"}
    ),
    FaultKind.CUT_HEAD: Traits(Place.ANSWER, True, After.DROP, "half the answer's head, then closed", _CUT),
    FaultKind.CUT_BODY: Traits(Place.ANSWER, True, After.DROP, "half the answer's body, then closed", _CUT),
    FaultKind.GARBAGE: Traits(
        Place.ANSWER, True, After.DROP, "bytes that are not HTTP, then closed", _ENDING | _MAY_PROCESS
    ),
    FaultKind.ANNOUNCE_CLOSE: Traits(
        Place.ANSWER, True, After.CLOSE, "answered with Connection: close, then closed", _DELAY | {"fields"}
    ),
    FaultKind.CLOSE_AFTER_ANSWER: Traits(
        Place.ANSWER, True, After.DROP, "answered, then closed without announcement", _DELAY | {"fields"}
    ),
    FaultKind.RESET_AFTER_ANSWER: Traits(
        Place.ANSWER, True, After.RESET, "answered, then reset", _DELAY | {"fields"}
    ),
    FaultKind.USUAL: Traits(Place.ANSWER, True, After.KEEP, "answered as usual, with fields added", _USUAL),
}


class TimeForm(enum.Enum):
    """How a moment is written in a field."""

    HTTP_DATE = "date"
    EPOCH_SECONDS = "epoch"


@dataclass(frozen=True, slots=True)
class FromNow:
    """The value of a field that depends on when it is sent: a moment before or after that."""

    form: TimeForm
    seconds: float

    def render(self, now: float) -> bytes:
        """`now` is in seconds since 1970."""
        moment = now + self.seconds
        if self.form is TimeForm.EPOCH_SECONDS:
            return b"%d" % moment
        return formatdate(moment, usegmt=True).encode()


FaultFields = tuple[tuple[bytes, bytes | FromNow], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Raises ConfigurationError for a field that its kind does not take, or that is out of range.
    """

    kind: FaultKind
    status: int | None = None
    """200 to 599; only, and always, with STATUS."""
    processed: bool | None = None
    """None for what is usual for the kind."""
    early: bool = False
    """The answer comes before the body was read; so the connection cannot live on."""
    fields: FaultFields = ()
    """Further fields of the answer."""
    then: After | None = None
    """What becomes of the connection; None for what is usual for the kind.

    KEEP after half an answer means that the rest never comes.
    """
    delay_seconds: float | None = None
    """How long after the request (or the head) this happens; None is at once, for LATE a second."""
    interval_seconds: float | None = None
    """Between two bytes; None for a millisecond."""
    cut_bytes: int | None = None
    """How many bytes of the head, or of the body, are sent; None for half of them."""
    lasts_seconds: float | None = None
    """How long an outage lasts; None for ever."""

    def __post_init__(self) -> None:
        takes = TRAITS[self.kind].takes
        for field in fields(self)[1:]:
            if getattr(self, field.name) != field.default and field.name not in takes:
                raise ConfigurationError(
                    f"{self.name} takes no {field.name}", f"it takes {', '.join(sorted(takes)) or 'nothing'}"
                )
        if self.kind is FaultKind.STATUS and not 200 <= (self.status or 0) <= 599:
            raise ConfigurationError(f"{self.status} is not a status to answer with", "use 200 to 599")
        if self.early and (self.then is After.KEEP or self.is_processed):
            raise ConfigurationError(
                f"an early {self.status} neither processes the record nor keeps the connection",
                "leave out early, or the other",
            )
        for name in ("delay_seconds", "interval_seconds", "cut_bytes", "lasts_seconds"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}", "it cannot be negative")

    @property
    def name(self) -> str:
        """As it is counted and logged: the kind, or the status."""
        return self.kind.value if self.kind is not FaultKind.STATUS else str(self.status)

    @property
    def place(self) -> Place:
        return Place.HEAD if self.early else TRAITS[self.kind].place

    @property
    def is_processed(self) -> bool:
        """Whether the server acts on the record before this happens."""
        if self.processed is not None:
            return self.processed
        if self.kind is FaultKind.STATUS:
            return 200 <= (self.status or 0) < 300 and not self.early
        return TRAITS[self.kind].processed

    @property
    def after(self) -> After:
        if self.then is not None:
            return self.then
        return After.CLOSE if self.early else TRAITS[self.kind].then

    @property
    def delay(self) -> float:
        """Seconds."""
        if self.delay_seconds is not None:
            return self.delay_seconds
        return LATE_SECONDS if self.kind is FaultKind.LATE else 0.0

    @property
    def interval(self) -> float:
        """Seconds between two bytes."""
        return BYTE_INTERVAL_SECONDS if self.interval_seconds is None else self.interval_seconds


def fault_of_status(status: int, *given: tuple[bytes, bytes | FromNow]) -> Fault:
    """An answer with this status and these further fields."""
    return Fault(FaultKind.STATUS, status=status, fields=given)
