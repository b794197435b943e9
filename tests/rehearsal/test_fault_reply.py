from __future__ import annotations

import pytest

from livepost.rehearsal.fault_reply import GARBAGE, answered_status, faulty_reply
from livepost.rehearsal.faults import Fault, FaultKind, FromNow, TimeForm, fault_of_status
from livepost.rehearsal.reply import JSON_FIELDS, After, Reply, json_reply, render

USUAL = json_reply(201, b'{"id": 1}')
WHOLE = render(USUAL)
HEAD_BYTES = WHOLE.index(b"{")


def reply(fault: Fault, usual: Reply = USUAL) -> Reply:
    return faulty_reply(fault, usual, now=1000.0)


def test_fields_are_added_to_the_usual_answer() -> None:
    fault = Fault(FaultKind.USUAL, fields=((b"X", b"1"), (b"At", FromNow(TimeForm.EPOCH_SECONDS, 5))))
    assert reply(fault) == Reply(201, (*JSON_FIELDS, (b"X", b"1"), (b"At", b"1005")), USUAL.body)


def test_a_status_says_that_it_is_a_rehearsal() -> None:
    fault = fault_of_status(429, (b"Retry-After", FromNow(TimeForm.HTTP_DATE, 0)))
    assert reply(fault) == Reply(
        429,
        (*JSON_FIELDS, (b"Retry-After", b"Thu, 01 Jan 1970 00:16:40 GMT")),
        b'{"error":"this 429 is a rehearsal"}',
    )


@pytest.mark.parametrize(
    ("kind", "cut_bytes", "left"),
    [
        (FaultKind.CUT_HEAD, None, HEAD_BYTES // 2),
        (FaultKind.CUT_HEAD, 0, 0),
        (FaultKind.CUT_HEAD, 10**9, HEAD_BYTES - 1),
        (FaultKind.CUT_BODY, None, HEAD_BYTES + 4),
        (FaultKind.CUT_BODY, 0, HEAD_BYTES),
        (FaultKind.CUT_BODY, 10**9, len(WHOLE) - 1),
    ],
)
def test_a_cut_answer_always_misses_something(kind: FaultKind, cut_bytes: int | None, left: int) -> None:
    assert reply(Fault(kind, cut_bytes=cut_bytes)).raw == WHOLE[:left]


def test_an_answer_without_a_body_has_none_to_cut() -> None:
    cut = faulty_reply(Fault(FaultKind.CUT_BODY), USUAL, now=0.0, to_head=True)
    assert cut.raw == WHOLE[:HEAD_BYTES]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        (FaultKind.ANNOUNCE_CLOSE, After.CLOSE),
        (FaultKind.CLOSE_AFTER_ANSWER, After.DROP),
        (FaultKind.RESET_AFTER_ANSWER, After.RESET),
        (FaultKind.LATE, After.KEEP),
        (FaultKind.TRICKLE, After.KEEP),
    ],
)
def test_the_usual_answer_and_what_comes_after(kind: FaultKind, after: After) -> None:
    assert reply(Fault(kind)) == Reply(201, JSON_FIELDS, USUAL.body, after)


def test_what_the_usual_answer_does_to_the_connection_holds_unless_the_fault_ends_it() -> None:
    closing = Reply(503, after=After.CLOSE)
    assert reply(Fault(FaultKind.LATE), closing).after is After.CLOSE
    assert reply(Fault(FaultKind.CLOSE_AFTER_ANSWER), closing).after is After.DROP


@pytest.mark.parametrize(
    ("fault", "raw", "after", "status"),
    [
        (None, None, After.KEEP, 201),
        (Fault(FaultKind.GARBAGE), GARBAGE, After.DROP, None),
        (Fault(FaultKind.NEVER), b"", After.KEEP, None),
        (Fault(FaultKind.RESET_BEFORE_READING), b"", After.RESET, None),
        (Fault(FaultKind.CLOSE_AFTER_READING), b"", After.DROP, None),
        (Fault(FaultKind.CLOSE_AFTER_PROCESSING), b"", After.DROP, None),
        (Fault(FaultKind.LATE), None, After.KEEP, 201),
        (fault_of_status(500), None, After.KEEP, 500),
    ],
)
def test_the_status_that_is_logged(
    fault: Fault | None, raw: bytes | None, after: After, status: int | None
) -> None:
    assert answered_status(fault, USUAL) == status
    if fault is not None:
        assert (reply(fault).raw, reply(fault).after) == (raw, after)
