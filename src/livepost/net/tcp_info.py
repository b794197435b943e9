"""What the kernel knows of how far our bytes came (Linux: TCP_INFO), and the proof in it.

A server that closes an idle connection may cross a request on its way.  The connection then ends after the
request was written, and nothing in HTTP tells whether it was processed.  TCP can:

1. The server's FIN acknowledges all bytes that its kernel had received when the server closed.  So if none
   of the request is acknowledged when the FIN is here, the server closed first.
2. If the bytes that come after that are answered by RST, nobody is there who could read them.

Both together prove that the request was not processed, whatever its method (RFC 9110 section 9.2.2: "some
means to detect that the original request was never applied").

The first alone does not: a server may have closed only its sending side, and may still read the request.
Neither does an RST alone: it comes also from a server that read the request and then gave up, and then
nothing is acknowledged, either.  Lost acknowledgements are no matter, because the FIN repeats them.

What is left: a server that sends FIN, then reads and processes a request that it can no longer answer, then
resets the connection before its kernel has acknowledged the request.  By RFC 9112 section 9.6 a server reads
after its FIN only to throw away.
"""

from __future__ import annotations

import enum
import errno
import socket
import struct
import sys
from dataclasses import dataclass, field

# struct tcp_info of linux/tcp.h: tcpi_state first, tcpi_rtt (µs) at 68, tcpi_bytes_acked at 120 (from
# Linux 4.1 on).
_ROUND_TRIP_OFFSET = 68
_ROUND_TRIP = struct.Struct("=I")
_BYTES_ACKED_OFFSET = 120
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_NEEDED = _BYTES_ACKED_OFFSET + _BYTES_ACKED.size

# tcp_states.h: the peer's FIN has come and ours is not sent; and it is over, by reset or because time was up.
_TCP_CLOSE_WAIT = 8
_TCP_CLOSE = 7


class TcpEnd(enum.Enum):
    """How far a connection has come to its end."""

    OPEN = "open"
    FIN = "fin"
    """The peer has closed its sending side."""
    FIN_THEN_RST = "fin_then_rst"
    """And then its receiving side, too, with bytes of ours unread or on their way."""
    OTHER = "other"
    """An RST alone, or no acknowledgement for too long, or we have closed it."""


@dataclass(frozen=True, slots=True)
class TcpProgress:
    """What the kernel says of a connection at one moment."""

    bytes_acked: int
    """How many bytes of ours, since it began, the peer's kernel has acknowledged."""
    end: TcpEnd
    round_trip_seconds: float = field(default=0.0, compare=False)
    """As the kernel has measured it, smoothed."""


class Proof(enum.Enum):
    """What the end of a connection tells of the request that was open on it."""

    REFUSED = "refused"
    """The server closed before it received any of it, and cannot have received it since."""
    NOT_YET = "not_yet"
    """The server closed before it received any of it; whether it can still is not known.  If it cannot, that
    shows within a round trip: look again, or take it for no proof.
    """
    NONE = "none"
    """It may have been processed."""


def read_progress(sock: socket.socket, *, keeps_error: bool = False) -> TcpProgress | None:
    """What the kernel says; None where it does not (not Linux, not TCP, closed).  Takes about 1 µs.

    Of a connection that is over it takes the pending error, so FIN_THEN_RST is told once, and not after a
    write has failed.  With `keeps_error` that is left for the next read, and OTHER told.
    """
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_NEEDED)
        if len(info) < _BYTES_NEEDED:
            return None
        (acked,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_OFFSET)
        (microseconds,) = _ROUND_TRIP.unpack_from(info, _ROUND_TRIP_OFFSET)
        return TcpProgress(acked, _end(sock, info[0], keeps_error=keeps_error), microseconds / 1e6)
    except OSError:
        return None


def read_round_trip(sock: socket.socket) -> float | None:
    """Seconds there and back, as the kernel has it; None where `read_progress` has nothing."""
    progress = read_progress(sock, keeps_error=True)
    return None if progress is None else progress.round_trip_seconds


def _end(sock: socket.socket, state: int, *, keeps_error: bool) -> TcpEnd:
    if state == _TCP_CLOSE_WAIT:
        return TcpEnd.FIN
    if state != _TCP_CLOSE:
        return TcpEnd.OPEN
    if keeps_error:
        return TcpEnd.OTHER
    # tcp_reset() of the kernel: EPIPE for an RST in CLOSE_WAIT, ECONNRESET for one without a FIN before.
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return TcpEnd.FIN_THEN_RST if error == errno.EPIPE else TcpEnd.OTHER


def judge(before: TcpProgress | None, after: TcpProgress | None) -> Proof:
    """What is proved, where `before` was read before the first byte of the request was written.

    And `after` when the end was noticed (an end of file was read), or later.  Without one of them
    nothing is proved.
    """
    if before is None or after is None or after.bytes_acked != before.bytes_acked:
        return Proof.NONE
    return _PROOFS.get(after.end, Proof.NONE)


_PROOFS = {TcpEnd.FIN: Proof.NOT_YET, TcpEnd.FIN_THEN_RST: Proof.REFUSED}
