from __future__ import annotations

import dataclasses

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.faults import TRAITS, Fault, FaultKind, FromNow, Place, TimeForm, fault_of_status
from livepost.rehearsal.reply import After


def test_the_table_has_every_kind_and_names_only_fields_that_exist() -> None:
    assert list(TRAITS) == list(FaultKind)
    assert set().union(*(traits.takes for traits in TRAITS.values())) == {
        field.name for field in dataclasses.fields(Fault)
    } - {"kind"}


def test_nothing_is_processed_before_it_is_read() -> None:
    early = (Place.LISTENER, Place.CONNECTION, Place.HEAD, Place.REQUEST)
    assert not any(traits.processed for traits in TRAITS.values() if traits.place in early)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.STATUS])
def test_a_fault_is_what_the_table_says_unless_it_says_otherwise(kind: FaultKind) -> None:
    fault, traits = Fault(kind), TRAITS[kind]
    assert (fault.name, fault.place) == (kind.value, traits.place)
    assert (fault.is_processed, fault.after) == (traits.processed, traits.then)
    assert fault.delay == (1.0 if kind is FaultKind.LATE else 0.0)


@pytest.mark.parametrize(
    ("fault", "place", "processed", "after"),
    [
        (fault_of_status(503), Place.ANSWER, False, After.KEEP),
        (fault_of_status(204), Place.ANSWER, True, After.KEEP),
        (Fault(FaultKind.STATUS, status=500, processed=True), Place.ANSWER, True, After.KEEP),
        (Fault(FaultKind.STATUS, status=201, processed=False), Place.ANSWER, False, After.KEEP),
        (Fault(FaultKind.STATUS, status=413, early=True), Place.HEAD, False, After.CLOSE),
        (Fault(FaultKind.STATUS, status=201, early=True, then=After.RESET), Place.HEAD, False, After.RESET),
        (Fault(FaultKind.NEVER, processed=False), Place.ANSWER, False, After.KEEP),
        (Fault(FaultKind.CUT_BODY, then=After.KEEP), Place.ANSWER, True, After.KEEP),
    ],
)
def test_what_a_fault_says_otherwise(fault: Fault, place: Place, processed: bool, after: After) -> None:
    assert (fault.place, fault.is_processed, fault.after) == (place, processed, after)


def test_a_status_is_named_by_its_number() -> None:
    fault = fault_of_status(429, (b"Retry-After", b"1"))
    assert (fault.name, fault.fields) == ("429", ((b"Retry-After", b"1"),))


def make(kind: FaultKind, **values: object) -> Fault:
    return Fault(kind, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (FaultKind.LATE, {"early": True}, "late takes no early"),
        (FaultKind.RESET_ON_ACCEPT, {"delay_seconds": 1.0}, "reset-on-accept takes no delay_seconds"),
        (FaultKind.LATE, {"status": 503}, "late takes no status"),
        (FaultKind.LATE, {"processed": False}, "late takes no processed"),
        (FaultKind.STATUS, {}, "None is not a status to answer with"),
        (FaultKind.STATUS, {"status": 199}, "199 is not a status to answer with"),
        (FaultKind.STATUS, {"status": 600}, "600 is not a status to answer with"),
        (FaultKind.LATE, {"delay_seconds": -1.0}, "delay_seconds is -1.0"),
        (FaultKind.CUT_HEAD, {"cut_bytes": -1}, "cut_bytes is -1"),
        (
            FaultKind.STATUS,
            {"status": 413, "early": True, "then": After.KEEP},
            "an early 413 neither processes the record nor keeps the connection",
        ),
        (
            FaultKind.STATUS,
            {"status": 413, "early": True, "processed": True},
            "an early 413 neither processes the record nor keeps the connection",
        ),
    ],
)
def test_what_cannot_be_is_refused(kind: FaultKind, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(kind, **values)
    assert str(caught.value) == message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (FromNow(TimeForm.HTTP_DATE, 60), b"Thu, 01 Jan 1970 00:17:40 GMT"),
        (FromNow(TimeForm.HTTP_DATE, -1000), b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (FromNow(TimeForm.EPOCH_SECONDS, 30.5), b"1030"),
    ],
)
def test_a_moment_is_written_when_it_is_sent(value: FromNow, text: bytes) -> None:
    assert value.render(1000.0) == text
