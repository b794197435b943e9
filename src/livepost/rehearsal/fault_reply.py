"""What a fault makes of an answer; no I/O, no clock."""

from __future__ import annotations

import msgspec

from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.reply import JSON_FIELDS, After, Reply, render
from livepost.wire.message import Fields

GARBAGE = b"\x00\xffnot HTTP at all\r\n\x1b[2J\r\n\r\n"

_WITHOUT_ANSWER = frozenset(
    (
        FaultKind.OUTAGE,
        FaultKind.RESET_BEFORE_READING,
        FaultKind.CLOSE_BEFORE_READING,
        FaultKind.RESET_AFTER_READING,
        FaultKind.CLOSE_AFTER_READING,
        FaultKind.RESET_AFTER_PROCESSING,
        FaultKind.CLOSE_AFTER_PROCESSING,
        FaultKind.NEVER,
    )
)


def faulty_reply(
    fault: Fault, usual: Reply, *, now: float, to_head: bool = False, date: bytes = b""
) -> Reply:
    """The answer that is given instead of `usual`.

    `now` is in seconds since 1970; `to_head`: it answers a HEAD request; `date`: the value of its Date
    field, if only a part of it is sent.  That it comes late or in pieces is left to the connection.
    """
    kind = fault.kind
    if kind in _WITHOUT_ANSWER:
        return Reply(raw=b"", after=fault.after)
    if kind is FaultKind.GARBAGE:
        return Reply(raw=GARBAGE, after=fault.after)
    if kind is FaultKind.STATUS:
        body = b'{"error":"this %d is a rehearsal"}' % (fault.status or 0)
        return Reply(fault.status or 0, JSON_FIELDS + _fields(fault, now), body, fault.after)
    if kind in (FaultKind.CUT_HEAD, FaultKind.CUT_BODY):
        return Reply(
            usual.status, raw=_cut(fault, render(usual, to_head=to_head, date=date)), after=fault.after
        )
    after = usual.after if fault.after is After.KEEP else fault.after
    return msgspec.structs.replace(usual, headers=usual.headers + _fields(fault, now), after=after)


def answered_status(fault: Fault | None, usual: Reply) -> int | None:
    """The status of the answer, also if only a part of it is sent; None if it has none."""
    if fault is None:
        return usual.status
    if fault.kind is FaultKind.STATUS:
        return fault.status
    if fault.kind is FaultKind.GARBAGE or fault.kind in _WITHOUT_ANSWER:
        return None
    return usual.status


def _fields(fault: Fault, now: float) -> Fields:
    return tuple(
        (name, value if isinstance(value, bytes) else value.render(now)) for name, value in fault.fields
    )


def _cut(fault: Fault, answer: bytes) -> bytes:
    head_bytes = answer.find(b"\r\n\r\n") + 4
    if fault.kind is FaultKind.CUT_HEAD:
        # At least its last byte is missing.
        return answer[: min(head_bytes // 2 if fault.cut_bytes is None else fault.cut_bytes, head_bytes - 1)]
    body_bytes = len(answer) - head_bytes
    kept = body_bytes // 2 if fault.cut_bytes is None else fault.cut_bytes
    return answer[: head_bytes + max(0, min(kept, body_bytes - 1))]
