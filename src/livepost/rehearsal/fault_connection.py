"""A connection of a server that misbehaves: carries the faults out on the wire.

A fault is chosen when the head of a request is there, since some strike before the body is read.
What strikes then stops the reader; the requests before it are still answered first.  One answer is
under way at a time: while it is held back or trickles, nothing is read and later requests wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from livepost.rehearsal.api import STATS_PATH, PracticeApi
from livepost.rehearsal.connection import Connection, ServerLimits, State
from livepost.rehearsal.fault_plan import Faults, HeadSeen
from livepost.rehearsal.fault_reply import answered_status, faulty_reply
from livepost.rehearsal.faults import Fault, FaultKind, Place
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.processing import NO_REPLY, Processor
from livepost.rehearsal.reader import HeadReader
from livepost.rehearsal.reply import After, Reply, render
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import Tally
from livepost.wire.message import Fields


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the connections of one misbehaving server have in common."""

    api: PracticeApi
    processor: Processor
    faults: Faults
    ledger: Ledger
    numbers: Iterator[int]
    """Of requests."""
    begin_outage: Callable[[Fault], None]


class FaultyConnection(Connection):
    """Serves one client as its faults say, and accounts for every request before it is answered."""

    def __init__(self, number: int, conduct: Conduct, tally: Tally, limits: ServerLimits) -> None:
        super().__init__(number, conduct.api.answer, tally, limits)
        self._number = number
        self._conduct = conduct
        self._reader = HeadReader(
            number,
            self._choose,
            max_head_bytes=limits.max_head_bytes,
            max_body_bytes=limits.max_body_bytes,
        )
        self._chosen: deque[Fault | None] = deque()
        """Of the requests whose head was read and that are not yet served, in order."""
        self._waiting: deque[RequestSeen] = deque()
        self._stopped_at: tuple[HeadSeen, Fault] | None = None
        """The fault that stopped the reader."""
        self._under_way: asyncio.TimerHandle | None = None
        """Sends the answer that is held back, or its next byte."""
        self._heads = 0
        self._at_accept = conduct.faults.for_connection(number)
        if self._at_accept is not None:
            conduct.ledger.fault_happened(self._at_accept)

    @property
    def ends_at_once(self) -> bool:
        """Nothing will be read, not even a TLS handshake: give it a transport without TLS."""
        return self._at_accept is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._at_accept is not None and self._state is State.OPEN:
            self._end(self._at_accept.after)

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        self._waiting.extend(self._reader.receive(data))
        self._go_on()

    def resume_writing(self) -> None:
        if self._under_way is None:
            super().resume_writing()

    def crash(self) -> None:
        """End as if the server's process had died: with a RST."""
        if self._state is State.ACCEPTED:
            self._settle()
        elif self._state is not State.CLOSED:
            self._reset()

    def _settle(self) -> None:
        super()._settle()
        if self._under_way is not None:
            self._under_way.cancel()

    def _choose(self, method: bytes, target: bytes, path: bytes, headers: Fields) -> bool:
        """Called by the reader with each head; True stops it there."""
        self._heads += 1
        if path == STATS_PATH:
            self._chosen.append(None)
            return False
        head = HeadSeen(next(self._conduct.numbers), self._number, self._heads, method, target, path, headers)
        fault = self._conduct.faults.for_request(head)
        if fault is not None and fault.place is Place.LISTENER and fault.kind is not FaultKind.OUTAGE:
            self._conduct.begin_outage(fault)
            fault = None  # nothing happens to the request itself
        if fault is not None and fault.place in (Place.HEAD, Place.LISTENER):
            self._stopped_at = (head, fault)
            return True
        self._chosen.append(fault)
        return False

    def _go_on(self) -> None:
        """Serve what is complete, until an answer has to wait or the connection ends."""
        while self._is_free():
            if self._waiting:
                self._serve(self._waiting.popleft())
            elif self._stopped_at is not None:
                (head, fault), self._stopped_at = self._stopped_at, None
                self._stop_at(head, fault)
            else:
                self._answer_reader()
                return

    def _is_free(self) -> bool:
        return self._state is State.OPEN and self._under_way is None

    def _serve(self, request: RequestSeen) -> bool:
        fault = self._chosen.popleft()
        if request.path == STATS_PATH:
            return super()._serve(request)
        if self._only_looked:
            self._note_look(request.request_on_connection, looks=False)
        processor = self._conduct.processor
        is_processed = fault is None or fault.is_processed
        served = processor.process(request) if is_processed else processor.pass_over(request)
        self._conduct.ledger.note(
            self._number,
            request.request_on_connection,
            request.headers,
            request.body,
            processed=served.processed,
            replayed=served.replayed,
            fault=fault,
            status=answered_status(fault, served.reply),
        )
        if fault is None:
            return self._send(request, served.reply)
        self._after_delay(fault, self._fail, request, fault, served.reply)
        return self._is_free()

    def _fail(self, request: RequestSeen, fault: Fault, usual: Reply) -> None:
        """Answer a complete request as the fault wants it."""
        to_head = request.method == b"HEAD"
        reply = faulty_reply(fault, usual, now=time.time(), to_head=to_head)
        if fault.kind is FaultKind.TRICKLE:
            after = After.CLOSE if reply.after is After.KEEP and not request.keep_alive else reply.after
            answer = render(reply, to_head=to_head, connection=_announcement(after, request.version))
            self._trickle(answer, 0, fault.interval, after)
            return
        self._send(request, reply)
        if reply.raw is not None and reply.after is After.KEEP:
            self._fall_silent()

    def _stop_at(self, head: HeadSeen, fault: Fault) -> None:
        """Let a fault strike before the body is read."""
        if self._only_looked:
            self._note_look(head.request_on_connection, looks=False)
        self._conduct.ledger.note(
            self._number,
            head.request_on_connection,
            head.headers,
            None,
            fault=fault,
            status=answered_status(fault, NO_REPLY),
        )
        if fault.kind is FaultKind.OUTAGE:
            self._conduct.begin_outage(fault)  # which ends this connection too
        else:
            self._after_delay(fault, self._fail_early, head, fault)

    def _fail_early(self, head: HeadSeen, fault: Fault) -> None:
        reply = faulty_reply(fault, NO_REPLY, now=time.time())
        answer = render(
            reply, to_head=head.method == b"HEAD", connection=_announcement(reply.after, version="1.1")
        )
        if answer:
            self._transport.write(answer)
        self._end(reply.after)

    def _answer_reader(self) -> None:
        refusal = self._reader.refusal
        if refusal is not None:
            # A fault that was chosen, and not used, tells that the head was complete.
            nth = self._heads if self._chosen else self._heads + 1
            self._conduct.ledger.note(self._number, nth, (), None, status=refusal.status)
        super()._answer_reader()

    def _trickle(self, answer: bytes, sent: int, interval_seconds: float, after: After) -> None:
        self._transport.write(answer[sent : sent + 1])
        if sent + 1 < len(answer):
            self._hold(interval_seconds, self._trickle, answer, sent + 1, interval_seconds, after)
        else:
            self._end(after)

    def _end(self, how: After) -> None:
        if how is After.DROP and self._transport.can_write_eof():
            # A close with bytes unread is a RST; a FIN is wanted.
            self._linger()
        else:
            super()._end(how)

    def _fall_silent(self) -> None:
        self._state = State.SILENT
        self._transport.resume_reading()  # else it would not notice the client's close
        self._cancel_timer()

    def _after_delay(self, fault: Fault, act: Callable[..., None], *arguments: object) -> None:
        if fault.delay > 0:
            self._hold(fault.delay, act, *arguments)
        else:
            act(*arguments)

    def _hold(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        self._transport.pause_reading()
        self._under_way = self._loop.call_later(seconds, self._act, act, arguments)

    def _act(self, act: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self._under_way = None
        if self._state is not State.OPEN:
            return
        act(*arguments)
        if self._is_free():
            self._transport.resume_reading()
            self._go_on()


def _announcement(after: After, version: str) -> bytes:
    if after is After.CLOSE:
        return b"close"
    return b"keep-alive" if version == "1.0" and after is After.KEEP else b""
