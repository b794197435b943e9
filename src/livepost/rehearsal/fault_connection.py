"""A connection of a server that misbehaves: carries the faults out on the wire.

A fault is chosen when the head of a request is there, since some strike before the body is read.
What strikes then stops the reader; the requests before it are still answered first.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from livepost.rehearsal.api import STATS_PATH
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.endpoint import Endpoint, State
from livepost.rehearsal.fault_plan import HeadSeen
from livepost.rehearsal.fault_reply import answered_status, faulty_reply
from livepost.rehearsal.faults import Fault, FaultKind, Place
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.paced_connection import PacedConnection
from livepost.rehearsal.processing import NO_REPLY
from livepost.rehearsal.reader import HeadReader
from livepost.rehearsal.reply import After, Reply, render
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.visit import Visit
from livepost.wire.message import Fields


class EndingConnection(Endpoint):
    """Ends as soon as it begins."""

    ends_at_once = True
    _drops_with_fin = True

    def __init__(self, visit: Visit, limits: ServerLimits, how: After) -> None:
        super().__init__(visit, limits)
        self._how = how

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._state is State.OPEN:
            self._end(self._how)


class FaultyConnection(PacedConnection):
    """Serves one client as its faults say, and accounts for every request before it is answered."""

    _drops_with_fin = True

    def __init__(
        self, visit: Visit, conduct: Conduct, limits: ServerLimits, latency: Latency | None = None
    ) -> None:
        super().__init__(visit, conduct.api.answer, limits, latency)
        self._number = visit.number
        self._conduct = conduct
        self._reader = HeadReader(
            visit.number,
            self._choose,
            max_head_bytes=limits.max_head_bytes,
            max_body_bytes=limits.max_body_bytes,
        )
        self._chosen: deque[Fault | None] = deque()
        """Of the requests whose head was read and that are not yet served, in order."""
        self._stopped_at: tuple[HeadSeen, Fault] | None = None
        """The fault that stopped the reader."""
        self._heads = 0

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

    def _stop_early(self) -> bool:
        if self._stopped_at is None:
            return False
        (head, fault), self._stopped_at = self._stopped_at, None
        self._stop_at(head, fault)
        return True

    def _serve(self, request: RequestSeen) -> bool:
        fault = self._chosen.popleft()
        if request.path == STATS_PATH:
            return super()._serve(request)
        if self._visit.only_looked:
            self._visit.note_look(request.request_on_connection, looks=False)
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
            self._after_delay(self._draw_latency(), self._send, request, served.reply)
        else:
            delay = fault.delay + self._draw_latency()
            self._after_delay(delay, self._fail, request, fault, served.reply)
        return self._is_free()

    def _fail(self, request: RequestSeen, fault: Fault, usual: Reply) -> None:
        """Answer a complete request as the fault wants it."""
        to_head = request.method == b"HEAD"
        reply = faulty_reply(fault, usual, now=self._visit.now, to_head=to_head, date=self._visit.date)
        if fault.kind is FaultKind.TRICKLE:
            self._trickle(*self._whole_answer(request, reply), fault.interval)
            return
        self._send(request, reply)
        if reply.raw is not None and reply.after is After.KEEP:
            self._fall_silent()

    def _stop_at(self, head: HeadSeen, fault: Fault) -> None:
        """Let a fault strike before the body is read."""
        if self._visit.only_looked:
            self._visit.note_look(head.request_on_connection, looks=False)
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
            self._after_delay(fault.delay, self._fail_early, head, fault)

    def _fail_early(self, head: HeadSeen, fault: Fault) -> None:
        reply = faulty_reply(fault, NO_REPLY, now=self._visit.now, date=self._visit.date)
        announced = b"close" if reply.after is After.CLOSE else b""
        answer = render(reply, to_head=head.method == b"HEAD", connection=announced, date=self._visit.date)
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

    def _whole_answer(self, request: RequestSeen, reply: Reply) -> tuple[bytes, After]:
        """The bytes of an answer, and what comes after them."""
        announced = b"keep-alive" if request.version == "1.0" and reply.after is After.KEEP else b""
        if not request.keep_alive and reply.after is After.KEEP:
            reply = msgspec.structs.replace(reply, after=After.CLOSE)
        reply, announced = self._within_limits(request, reply, announced)
        if reply.after is After.CLOSE:
            announced = b"close"
        answer = render(reply, to_head=request.method == b"HEAD", connection=announced, date=self._visit.date)
        return answer, reply.after

    def _trickle(self, answer: bytes, after: After, interval_seconds: float, sent: int = 0) -> None:
        self._transport.write(answer[sent : sent + 1])
        if sent + 1 < len(answer):
            self._hold(interval_seconds, self._trickle, answer, after, interval_seconds, sent + 1)
        else:
            self._end(after)
