from __future__ import annotations

from livepost.rehearsal.faults import Fault, FaultKind, fault_of_status
from livepost.rehearsal.ledger import Counts, Ledger
from livepost.rehearsal.record_log import Entry


def test_a_record_processed_again_is_a_duplicate() -> None:
    ledger = Ledger()
    for body in (
        b'{"id": 1}',
        b'{"id": "1"}',
        b'{"id": -1}',
        b'{"id": -2}',
        b'{"id": 1, "x": 2}',
        b"[]",
        b"[]",
    ):
        ledger.note(1, 1, (), body, processed=True)
    ledger.note(1, 1, (), b'{"id": 1}')
    assert ledger.counts == Counts(processed=7, duplicates=2, replayed=0, faults={})


def test_faults_are_counted_by_name_and_those_of_the_listener_when_they_begin() -> None:
    ledger = Ledger()
    outage = Fault(FaultKind.OUTAGE)
    ledger.fault_happened(outage)
    ledger.note(1, 1, (), None, fault=outage)
    ledger.note(1, 1, (), b"1", fault=fault_of_status(503), status=503)
    ledger.note(1, 2, (), b"1", fault=fault_of_status(503), status=503)
    ledger.note(1, 3, (), b"1", replayed=True, status=201)
    assert ledger.counts == Counts(0, 0, 1, {"outage": 1, "503": 2})


def test_every_request_is_an_entry() -> None:
    log: list[Entry] = []
    ledger = Ledger(log.append, wall_clock=lambda: 7.0)
    ledger.note(
        1, 2, ((b"A", b"b"), (b"Idempotency-Key", b' "k\xff" ')), b'{"id": 5}', processed=True, status=201
    )
    ledger.note(3, 4, (), None, fault=Fault(FaultKind.RESET_BEFORE_READING))
    ledger.note(3, 5, (), b'{"id": 6}', replayed=True, status=201)
    assert log == [
        Entry(7.0, 5, '"k\xff"', 1, 2, True, False, None, 201),
        Entry(7.0, None, None, 3, 4, False, False, "reset-before-reading", None),
        Entry(7.0, 6, None, 3, 5, False, True, None, 201),
    ]
