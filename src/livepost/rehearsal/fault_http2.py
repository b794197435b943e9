"""A connection that misbehaves over HTTP/2: `fault_over_http2` says what each fault is there."""

from __future__ import annotations

from livepost.rehearsal.api import STATS_PATH
from livepost.rehearsal.conduct import Conduct
from livepost.rehearsal.fault_over_http2 import STREAM_RESETS, check_over_http2
from livepost.rehearsal.fault_plan import HeadSeen
from livepost.rehearsal.fault_reply import answered_status, faulty_reply
from livepost.rehearsal.faults import BYTE_INTERVAL_SECONDS, Fault, FaultKind, Place
from livepost.rehearsal.http2_connection import Http2Connection
from livepost.rehearsal.http2_stream import Http2Stream
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.processing import NO_REPLY
from livepost.rehearsal.reply import After, Reply
from livepost.rehearsal.visit import Visit
from livepost.wire.frames import FRAME_BYTES


class FaultyHttp2Connection(Http2Connection):
    """Serves one client as its faults say, and accounts for every request before it is answered."""

    _drops_with_fin = True

    def __init__(
        self, visit: Visit, conduct: Conduct, limits: ServerLimits, latency: Latency | None = None
    ) -> None:
        super().__init__(visit, conduct.api.answer, limits, latency)
        self._conduct = conduct

    def _begin(self, stream: Http2Stream) -> None:
        fault = None if stream.path == STATS_PATH else self._choose(stream)
        if fault is not None and fault.place in (Place.HEAD, Place.LISTENER):
            stream.fault = fault
            self._note_early(stream, answered_status(fault, NO_REPLY), fault)
            if fault.kind is FaultKind.OUTAGE:
                self._conduct.begin_outage(fault)  # which ends this connection too
            else:
                self._after_delay(stream, fault.delay, self._strike, stream, fault, NO_REPLY)
        else:
            stream.fault = fault
            super()._begin(stream)

    def _choose(self, stream: Http2Stream) -> Fault | None:
        conduct, connection = self._conduct, self._visit.number
        number = next(conduct.numbers)
        head = HeadSeen(
            number, connection, stream.number, stream.method, stream.target, stream.path, stream.headers
        )
        fault = conduct.faults.for_request(head)
        if fault is None:
            return None
        check_over_http2(fault)
        if fault.place is Place.LISTENER and fault.kind is not FaultKind.OUTAGE:
            conduct.begin_outage(fault)
            return None  # nothing happens to the request itself
        return fault

    def _serve(self, stream: Http2Stream) -> None:
        if stream.path == STATS_PATH:
            super()._serve(stream)
            return
        fault = stream.fault
        if fault is not None and fault.place in (Place.HEAD, Place.LISTENER):
            return  # it strikes whatever came since
        request = stream.request(self._visit.number)
        processor = self._conduct.processor
        is_processed = fault is None or fault.is_processed
        served = processor.process(request) if is_processed else processor.pass_over(request)
        self._conduct.ledger.note(
            self._visit.number,
            stream.number,
            stream.headers,
            request.body,
            processed=served.processed,
            replayed=served.replayed,
            fault=fault,
            status=answered_status(fault, served.reply),
        )
        latency = self._draw_latency()
        if fault is None:
            self._after_delay(stream, latency, self._respond, stream, served.reply)
        else:
            self._after_delay(stream, fault.delay + latency, self._strike, stream, fault, served.reply)

    def _strike(self, stream: Http2Stream, fault: Fault, usual: Reply) -> None:
        code = STREAM_RESETS.get(fault.kind)
        if code is not None:
            self._h2.reset_stream(stream.stream_id, code)
            self._forget(stream.stream_id)
        elif fault.kind is FaultKind.CUT_BODY:
            self._cut(stream, fault, usual)
        else:
            reply = faulty_reply(fault, usual, now=self._visit.now, to_head=stream.method == b"HEAD")
            if fault.kind is FaultKind.TRICKLE:
                self._trickle(stream, fault, reply)
            else:
                # An early answer ends its stream alone, unless it is told otherwise.
                if fault.early and fault.then is None:
                    reply = Reply(reply.status, reply.headers, reply.body)
                self._respond(stream, reply)

    def _cut(self, stream: Http2Stream, fault: Fault, usual: Reply) -> None:
        body = self._begin_answer(stream, usual)
        kept = len(body) // 2 if fault.cut_bytes is None else min(fault.cut_bytes, len(body) - 1)
        kept = min(kept, self._h2.local_flow_control_window(stream.stream_id), FRAME_BYTES)
        if kept > 0:
            self._h2.send_data(stream.stream_id, body[:kept])
        self._end_after(fault.after)

    def _trickle(self, stream: Http2Stream, fault: Fault, reply: Reply) -> None:
        self._trickle_on(stream, fault, self._begin_answer(stream, reply), reply.after)

    def _trickle_on(self, stream: Http2Stream, fault: Fault, body: bytes, after: After) -> None:
        """Send the next byte of what is left, if there is room for it."""
        interval_seconds = fault.interval
        if body and self._h2.local_flow_control_window(stream.stream_id) <= 0:
            interval_seconds = max(interval_seconds, BYTE_INTERVAL_SECONDS)
        elif body:
            self._h2.send_data(stream.stream_id, body[:1], end_stream=len(body) == 1)
            body = body[1:]
        if body:
            self._hold(stream, interval_seconds, self._trickle_on, stream, fault, body, after)
        else:
            self._finish(stream)
            self._end_after(after)

    def _refuse(self, stream: Http2Stream, reply: Reply) -> None:
        self._note_early(stream, reply.status)
        super()._refuse(stream, reply)

    def _note_early(self, stream: Http2Stream, status: int | None, fault: Fault | None = None) -> None:
        """Account for a request whose body is not read."""
        self._conduct.ledger.note(
            self._visit.number, stream.number, stream.headers, None, fault=fault, status=status
        )
