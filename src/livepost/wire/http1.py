"""HTTP/1.1 on one connection: one exchange at a time, no I/O, no clock (RFC 9112).

    READY ──send──> HEAD ──head──> BODY ──end of body──> READY | OVER
                     ^  └─1xx─┘

The common answer (whole in one read, with a Content-Length) takes a short path through `receive`;
every other shape goes through `_advance`, which reads one phase after the other.

After a final answer the connection may be used again if all of this holds: the peer keeps it
alive (section 9.3), the framing could be trusted (section 6.3), we did not ask to close, the whole
request went out, and not one byte followed the answer.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent
from livepost.wire.answer_body import AnswerBody
from livepost.wire.machine import Answered, Event, Failed, Stage
from livepost.wire.message import Exchange, Fields, RequestHead, Response
from livepost.wire.request_head import RenderedHead, render_request_head, with_fields
from livepost.wire.response_head import (
    HEAD_BYTES_LIMIT,
    REMEMBERED_HEAD_BYTES,
    Framing,
    ProtocolError,
    ResponseHead,
    read_response_head,
    read_short_response_head,
)

_BEGINNING = b"HTTP/1."

# What some servers say before they close an idle connection (Go's Transport reads it so, too).
_IDLE_GOODBYE = b"HTTP/1.1 408"


class Phase(enum.Enum):
    """What the next bytes belong to: nobody (READY, OVER), or that part of an answer."""

    READY = "ready"
    HEAD = "head"
    BODY = "body"
    OVER = "over"


# Looking a member up in its enum takes 0.1 µs in Python 3.11, and this is done for every record.
_READY = Phase.READY
_HEAD = Phase.HEAD

_NO_HEAD = ResponseHead(0, (), False, Framing.LENGTH, 0, False)


class Http1Machine:
    """Satisfies `Machine` (see `wire.machine`) for HTTP/1.1.

    `max_response_bytes` bounds a response body; together with the limit on heads it bounds the
    memory that a hostile server can claim.
    """

    http_version = HttpVersion.HTTP_1_1
    is_multiplexed = False
    capacity = 1
    unserved = 0
    ping_open = False
    unheard = 0

    __slots__ = (
        "_body",
        "_buffer",
        "_exchange",
        "_head",
        "_heads",
        "_holds_bodies",
        "_held_body",
        "_is_plain",
        "_max_response_bytes",
        "_output",
        "_output_end",
        "_output_start",
        "_phase",
        "_plain_head",
        "_plain_raw",
        "_rendered",
        "_response_head",
        "_searched",
        "body_held",
        "closing",
        "room",
    )

    def __init__(self, *, max_response_bytes: int = 1024 * 1024) -> None:
        self._max_response_bytes = max_response_bytes
        self._phase = _READY
        self._exchange: Exchange | None = None
        self._head: RequestHead | None = None
        self._rendered: RenderedHead | None = None
        self._heads: dict[int, bytes] = {}
        self._holds_bodies = False
        self._is_plain = False
        """Requests leave nothing to decide: a plain answer ends the exchange and nothing else."""
        # The last answer's head, if it was plain: mostly the next one is the same, and to see that costs
        # less than to look it up.
        self._plain_raw = b""
        self._plain_head = _NO_HEAD
        self._output = b""
        # Where the open request's bytes begin and end in everything ever output: compared with
        # what the kernel accepted, they tell how much of it can have been seen.
        self._output_start = 0
        self._output_end = 0
        self._held_body: bytes | None = None
        self.body_held = False
        self._buffer = bytearray()
        # Where to go on looking for the end of a head: a server that sends it byte by byte must not
        # make every byte cost a search through all of it.
        self._searched = 0
        self._response_head: ResponseHead | None = None
        self._body: AnswerBody | None = None
        self.closing: CloseReason | None = None
        self.room = 1

    @property
    def open_exchanges(self) -> int:
        return 0 if self._exchange is None else 1

    def waiting(self) -> Iterator[tuple[Exchange, Stage]]:
        if self._exchange is None:
            return
        if self._response_head is not None:
            yield self._exchange, Stage.ANSWERING
        else:
            yield self._exchange, Stage.HELD if self.body_held else Stage.SENT

    def cancel(self, exchange: Exchange, reason: str) -> list[Event]:
        raise RuntimeError("an HTTP/1.1 exchange ends with its connection")

    def leave(self, reason: CloseReason) -> None:
        raise RuntimeError("an HTTP/1.1 connection takes one exchange at a time")

    def ping(self) -> None:
        raise RuntimeError("HTTP/1.1 has no PING")

    def send(self, exchange: Exchange) -> None:
        if not self.room:
            raise RuntimeError("send called on a connection without room")
        if exchange.head is not self._head:
            self._take_head(exchange.head)
        body = exchange.body
        size = len(body)
        output = self._heads.get(size) or self._rendered.for_size(size)  # type: ignore[union-attr]
        if exchange.fields:
            output = with_fields(output, exchange.fields)
        if self._holds_bodies and body:
            self._held_body = body
            self.body_held = True
        else:
            output += body
        self._exchange = exchange
        self._phase = _HEAD
        self.room = 0
        self._output += output
        self._output_start = self._output_end
        self._output_end += len(output)

    def _take_head(self, head: RequestHead) -> None:
        self._rendered = render_request_head(head)
        self._head = head
        self._heads = self._rendered.by_size
        self._holds_bodies = head.expect_continue
        self._is_plain = head.method != b"HEAD" and not head.close and not head.expect_continue

    def release_body(self) -> None:
        if self._held_body is not None:
            self._output += self._held_body
            self._output_end += len(self._held_body)
            self._held_body = None
            self.body_held = False

    def take_output(self) -> bytes:
        output = self._output
        self._output = b""
        return output

    def receive(self, data: bytes) -> list[Event]:
        if self._is_plain and self._phase is _HEAD and not self._buffer and not self._output:
            raw = self._plain_raw
            if not raw or not data.startswith(raw):
                try:
                    raw = self._learn_plain_head(data)
                except ProtocolError as error:
                    return [self._break(str(error))]
            head = self._plain_head
            body = data[len(raw) :]
            if raw and len(body) == head.length:
                self._phase = _READY
                self.room = 1
                exchange, self._exchange = self._exchange, None
                return [Answered(exchange, Response(head.status, head.fields, body))]  # type: ignore[arg-type]
        self._buffer += data
        return self._advance()

    def _learn_plain_head(self, data: bytes) -> bytes:
        """The plain head that `data` begins with, remembered for the next answer; b"" if there is none."""
        end = data.find(b"\r\n\r\n") + 4
        if not 3 < end <= REMEMBERED_HEAD_BYTES:
            return b""
        raw = data[:end]
        head = read_short_response_head(raw)
        if not head.is_plain or head.length > self._max_response_bytes:
            return b""
        self._plain_raw, self._plain_head = raw, head
        return raw

    def end(self, *, written: int, reason: str, orderly: bool) -> list[Event]:
        events: list[Event] = []
        body = self._body
        if body is not None and body.is_until_close and orderly:
            events.append(self._finish_body(body))
            # An answer without a length is the announcement.
            self._close(CloseReason.SERVER_ANNOUNCED)
        self._close(CloseReason.SERVER_CLOSED)
        if self._exchange is not None:
            events.append(self._settle_failure(reason, written))
        self._retire()
        return events

    def _advance(self) -> list[Event]:
        """Read phases until the bytes run out or the exchange is over."""
        while self._buffer:
            phase = self._phase
            try:
                if phase is _HEAD:
                    if not self._read_head():
                        return []
                elif phase is Phase.BODY:
                    self._body.take(self._buffer)  # type: ignore[union-attr]
                else:
                    is_goodbye = self._buffer.startswith(_IDLE_GOODBYE)
                    self._close(CloseReason.SERVER_IDLE if is_goodbye else CloseReason.UNSOLICITED)
                    self._buffer.clear()
                if (body := self._body) is not None and body.is_complete:
                    return [self._finish_body(body)]
            except ProtocolError as error:
                return [self._break(str(error))]
        return []

    def _read_head(self) -> bool:
        """Read one head off the buffer; False when it is not all there."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._searched, HEAD_BYTES_LIMIT) + 4
        if end == 3:
            self._check_unfinished_head()
            self._searched = max(0, len(buffer) - 3)
            return False
        self._searched = 0
        read = read_short_response_head if end <= REMEMBERED_HEAD_BYTES else read_response_head
        head = read(bytes(buffer[:end]))
        del buffer[:end]
        if head.status == 101:
            raise ProtocolError("the server switched protocols, which nobody asked for")
        if head.status < 200:
            if head.status == 100:
                self.release_body()
            return bool(buffer)
        self._response_head = head
        self._phase = Phase.BODY
        has_none = self._head.method == b"HEAD"  # type: ignore[union-attr]
        framing, length = (Framing.LENGTH, 0) if has_none else (head.framing, head.length)
        self._body = AnswerBody(framing, length, self._max_response_bytes)
        return True

    def _check_unfinished_head(self) -> None:
        """See at once what can never become a head, rather than when a time limit ends the wait."""
        buffer = self._buffer
        if not _BEGINNING.startswith(bytes(buffer[: len(_BEGINNING)])):
            raise ProtocolError(f"not an HTTP/1 answer: it begins {bytes(buffer[:24])!r}")
        if len(buffer) >= HEAD_BYTES_LIMIT:
            raise ProtocolError(f"an answer's head is longer than {HEAD_BYTES_LIMIT} bytes")
        if buffer.find(b"\n\n", self._searched) >= 0 or buffer.find(b"\n\r\n", self._searched) >= 0:
            raise ProtocolError("an answer's head has line ends without CR")

    def _finish_body(self, body: AnswerBody) -> Event:
        head = self._response_head
        assert head is not None
        return self._answer(head, body.content, trailers=body.trailers)

    def _answer(
        self,
        head: ResponseHead,
        body: bytes,
        *,
        trailers: Fields = (),
        complete: bool = True,
    ) -> Event:
        exchange = self._exchange
        assert exchange is not None
        self._exchange = None
        self._response_head = None
        self._body = None
        if self._may_carry_another(head):
            self._phase = _READY
            self.room = 1
        else:
            self._retire()
        return Answered(exchange, Response(head.status, head.fields, body, trailers, complete))

    def _may_carry_another(self, head: ResponseHead) -> bool:
        """The keep-alive decision; where it is no, `closing` says why."""
        if self.closing is not None:
            return False
        if self._head.close:  # type: ignore[union-attr]
            self._close(CloseReason.KEEPALIVE_OFF)
        elif not head.keep_alive:
            self._close(CloseReason.SERVER_ANNOUNCED)
        elif self._held_body is not None or self._output:
            self._close(CloseReason.EARLY_ANSWER)
        elif self._buffer:
            self._close(CloseReason.UNSOLICITED)
        return self.closing is None

    def _break(self, reason: str) -> Event:
        """The peer broke the protocol: nothing more is believed."""
        self._close(CloseReason.PROTOCOL_ERROR)
        self._buffer.clear()
        # An answer came, so at least some of the request had arrived; assume all of it.
        return self._settle_failure(reason, self._output_end)

    def _settle_failure(self, reason: str, written: int) -> Event:
        """End the open exchange without a whole answer: with its status if that came."""
        head = self._response_head
        if head is not None:
            content = b"" if self._body is None else self._body.content
            return self._answer(head, content, complete=False)
        exchange = self._exchange
        assert exchange is not None
        failed = Failed(exchange, self._sent(written), reason)
        self._exchange = None
        self._retire()
        return failed

    def _sent(self, written: int) -> Sent:
        if written <= self._output_start:
            return Sent.NOTHING
        if self._held_body is not None:
            return Sent.REFUSED
        return Sent.ALL if written >= self._output_end else Sent.SOME

    def _close(self, reason: CloseReason) -> None:
        self.closing = self.closing or reason
        self.room = 0

    def _retire(self) -> None:
        """Nothing will follow on this connection: what was not written is not to be."""
        self._phase = Phase.OVER
        self._output = b""
        self._held_body = None
        self.body_held = False
