"""The streams of an HTTP/2 connection, as a client sees them (RFC 9113 section 5.1).

    (idle) ── HEADERS [DATA…] out ──> open ──┬── answer's END_STREAM in ──> (answered)
                                             ├── RST_STREAM in or out, GOAWAY in ──> reset
                                             └── nobody waits ──> abandoned: it takes a place

Only streams that carry an exchange are kept as such; a closed one leaves its number or nothing.

What still comes on a stream that was reset, by either side, or abandoned is ignored, as section 5.1 allows:
heads are decoded, as the table must stay right, and bodies count for the connection's window.  To take it for
an error of the connection would put all others in doubt.  A frame behind an answer's END_STREAM is one
(STREAM_CLOSED): who sends that has lost count of its streams.  WINDOW_UPDATE and RST_STREAM may come on any
stream that was ever open.
"""

from __future__ import annotations

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.flow import Output, Uploads
from livepost.wire.frames import ConnectionFault, ErrorCode, rst_stream_frame
from livepost.wire.machine import Answered, Event, Failed
from livepost.wire.message import Fields, Response
from livepost.wire.patience import CancelBudget
from livepost.wire.response_block import BlockHead
from livepost.wire.stream import Stream

_RESETS_REMEMBERED = 1_000


class Streams:
    """All streams of a connection: those that are open, and how they end.

    What ends an exchange returns the event that tells so, and there is no other way to end one.
    """

    __slots__ = (
        "_cancels",
        "_reset",
        "abandoned",
        "closing",
        "max_response_bytes",
        "next_id",
        "open",
        "output",
        "unheard",
        "uploads",
    )

    def __init__(self, output: Output, uploads: Uploads, max_response_bytes: int) -> None:
        self.output = output
        self.uploads = uploads
        self.max_response_bytes = max_response_bytes
        self.open: dict[int, Stream] = {}
        """The oldest first."""
        self.next_id = 1
        self._reset: dict[int, None] = {}
        self.abandoned: set[int] = set()
        """Those that nobody waits for although the server may still be at work on them."""
        self.unheard: set[int] = set()
        """Those that were cancelled since anything was read: the server may be gone."""
        self._cancels = CancelBudget()
        self.closing: CloseReason | None = None

    def close(self, reason: CloseReason) -> None:
        """Open no more; the first reason counts."""
        self.closing = self.closing or reason

    def check_ignorable(self, stream_id: int) -> None:
        """A frame came for a stream that is not open.  Raises ConnectionFault if it should not."""
        self.check_not_idle(stream_id)
        if stream_id not in self._reset and stream_id not in self.abandoned:
            raise ConnectionFault(
                ErrorCode.STREAM_CLOSED, f"the server sent a frame on stream {stream_id} after its end"
            )

    def check_not_idle(self, stream_id: int) -> None:
        """Raises ConnectionFault for the connection itself and for a stream that we never opened."""
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server sent a stream's frame on no stream")
        if stream_id & 1 == 0 or stream_id >= self.next_id:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"the server sent a frame on stream {stream_id}, which nobody opened",
            )

    def ended(self, stream_id: int) -> None:
        """The server is done with a stream that is not open."""
        self.abandoned.discard(stream_id)

    def was_reset(self, stream_id: int) -> None:
        """The server has reset a stream that is not open."""
        if stream_id in self.abandoned:
            self.abandoned.discard(stream_id)
            self.ignore(stream_id)

    def answer(self, stream_id: int, stream: Stream, head: BlockHead, trailers: Fields = ()) -> Event:
        """The answer is whole.  If the request is not, the rest of it is no longer wanted."""
        self._forget(stream_id)
        if stream.unsent is not None:
            self.reset(stream_id, ErrorCode.CANCEL)
        body = bytes(stream.body or b"")
        return Answered(stream.exchange, Response(head.status, head.fields, body, trailers))

    def settle(self, stream_id: int, stream: Stream, reason: str, sent: Sent | None = None) -> Event:
        """No whole answer will come, though perhaps its status did.

        Unless `sent` is given, all output counts as sent: what waits is going to be.
        """
        head = stream.head
        if head is not None:
            body = bytes((stream.body or b"")[: self.max_response_bytes])
            event: Event = Answered(stream.exchange, Response(head.status, head.fields, body, complete=False))
        else:
            event = Failed(stream.exchange, sent or self._sent(stream_id, stream, self.output.end), reason)
        self._forget(stream_id)
        return event

    def settle_all(self, reason: str, written: int, sent: Sent | None = None) -> list[Event]:
        """The connection is over, `written` bytes of all output having left."""
        return [
            self.settle(stream_id, stream, reason, sent or self._sent(stream_id, stream, written))
            for stream_id, stream in list(self.open.items())
        ]

    def _sent(self, stream_id: int, stream: Stream, written: int) -> Sent:
        if written <= stream.start:
            return Sent.NOTHING
        if stream_id in self.uploads.held:
            return Sent.REFUSED
        return Sent.ALL if written >= stream.end else Sent.SOME

    def _forget(self, stream_id: int) -> None:
        del self.open[stream_id]
        self.uploads.drop(stream_id)

    def refuse(self, stream_id: int, stream: Stream, code: ErrorCode, reason: str) -> Event:
        """The peer broke the rules on this stream alone (section 5.4.2)."""
        event = self.settle(stream_id, stream, reason)
        self.reset(stream_id, code)
        return event

    def give_up(self, stream_id: int, stream: Stream, reason: str) -> Event:
        """Wait no longer.  Resets the stream if that is within the budget, or must be to end the request."""
        event = self.settle(stream_id, stream, reason)
        if self._cancels.spend(self.next_id >> 1) or stream.unsent is not None:
            self.output.add(rst_stream_frame(stream_id, ErrorCode.CANCEL))
            self.ignore(stream_id)
        else:
            self.abandoned.add(stream_id)
        return event

    def settle_ended(self, stream_id: int, stream: Stream) -> Event:
        """As `settle`, for an answer that is over but could not be taken wholly."""
        event = self.settle(stream_id, stream, "")
        if stream.unsent is not None:
            self.reset(stream_id, ErrorCode.CANCEL)
        return event

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Say RST_STREAM.  Never raises: the event of the exchange may be known to the caller alone."""
        self.output.add(rst_stream_frame(stream_id, code))
        self.ignore(stream_id)

    def ignore(self, stream_id: int) -> None:
        """Frames of this closed stream may be under way."""
        self._reset[stream_id] = None
        if len(self._reset) > _RESETS_REMEMBERED:
            del self._reset[next(iter(self._reset))]
