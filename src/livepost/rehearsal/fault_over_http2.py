"""What each kind of fault is over HTTP/2, where one request can end without the others."""

from __future__ import annotations

from livepost.errors import ConfigurationError
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.wire.frames import ErrorCode

AS_EVER = "as over HTTP/1.1"
_BROKEN = "its stream is reset: INTERNAL_ERROR"
_ENDED = "the connection is closed without GOAWAY, with all that is open"

OVER_HTTP2: dict[FaultKind, str] = {
    FaultKind.OUTAGE: AS_EVER,
    FaultKind.REFUSE: AS_EVER,
    FaultKind.NO_ACCEPT: AS_EVER,
    FaultKind.RESET_ON_ACCEPT: AS_EVER,
    FaultKind.CLOSE_ON_ACCEPT: AS_EVER,
    FaultKind.RESET_BEFORE_READING: "its stream is refused: REFUSED_STREAM",
    FaultKind.CLOSE_BEFORE_READING: _ENDED,
    FaultKind.RESET_AFTER_READING: _BROKEN,
    FaultKind.CLOSE_AFTER_READING: _ENDED,
    FaultKind.RESET_AFTER_PROCESSING: _BROKEN,
    FaultKind.CLOSE_AFTER_PROCESSING: _ENDED,
    FaultKind.STATUS: "as over HTTP/1.1; close is GOAWAY; early ends its stream, not the connection",
    FaultKind.NEVER: "its stream is never answered, others are",
    FaultKind.LATE: "others are answered meanwhile",
    FaultKind.TRICKLE: "DATA frames of one byte",
    FaultKind.CUT_BODY: AS_EVER,
    FaultKind.GARBAGE: "bytes that are no frames, then the connection is closed",
    FaultKind.ANNOUNCE_CLOSE: "answered, and GOAWAY: what is open goes on",
    FaultKind.CLOSE_AFTER_ANSWER: "answered, then closed without GOAWAY",
    FaultKind.RESET_AFTER_ANSWER: AS_EVER,
    FaultKind.USUAL: AS_EVER,
}
"""A kind that is not here cannot be: a head is a whole frame, or nothing of it is read."""

STREAM_RESETS: dict[FaultKind, ErrorCode] = {
    FaultKind.RESET_BEFORE_READING: ErrorCode.REFUSED_STREAM,
    FaultKind.RESET_AFTER_READING: ErrorCode.INTERNAL_ERROR,
    FaultKind.RESET_AFTER_PROCESSING: ErrorCode.INTERNAL_ERROR,
}


def check_over_http2(fault: Fault) -> None:
    """Raises ConfigurationError for a fault that HTTP/2 has no form of."""
    if fault.kind not in OVER_HTTP2:
        raise ConfigurationError(
            f"{fault.name} cannot happen over HTTP/2, where a head is a whole frame",
            "use cut-body or garbage, or leave out --http2",
        )
