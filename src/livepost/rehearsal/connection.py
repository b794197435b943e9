"""One connection of the practice server that speaks HTTP/1.1: carries replies out, and ends as they say."""

from __future__ import annotations

import msgspec

from livepost.rehearsal.api import STATS_PATH, Answer
from livepost.rehearsal.endpoint import Endpoint, State
from livepost.rehearsal.limits import Hint, ServerLimits
from livepost.rehearsal.reader import RequestReader
from livepost.rehearsal.reply import After, Reply, error_reply, render
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import EndReason
from livepost.rehearsal.visit import Visit
from livepost.wire.message import Fields

_GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Endpoint):
    """Answers every request at once, in order."""

    def __init__(self, visit: Visit, answer: Answer, limits: ServerLimits) -> None:
        super().__init__(visit, limits)
        self._answer = answer
        self._limits_change_answers = limits.change_answers
        self._reader = RequestReader(
            visit.number, max_head_bytes=limits.max_head_bytes, max_body_bytes=limits.max_body_bytes
        )

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            self._disregard()
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        for request in self._reader.receive(data):
            if not self._serve(request):
                return
        self._answer_reader()

    def _serve(self, request: RequestSeen) -> bool:
        """Answer one request; False if the connection takes no more."""
        looks = request.path == STATS_PATH
        if looks is not self._visit.only_looked:
            self._visit.note_look(request.request_on_connection, looks)
        return self._send(request, self._answer(request))

    def _send(self, request: RequestSeen, reply: Reply) -> bool:
        """Write the answer to a request; False if the connection takes no more."""
        client_closes = not request.keep_alive and reply.raw is None
        announced = b"keep-alive" if request.version == "1.0" else b""
        if self._limits_change_answers and reply.raw is None and not client_closes:
            reply, announced = self._within_limits(request, reply, announced)
        if client_closes or reply.after is After.CLOSE:
            announced = b"close"
        answer = render(reply, to_head=request.method == b"HEAD", connection=announced, date=self._visit.date)
        if answer:
            self._transport.write(answer)
        if reply.after is After.KEEP and not client_closes:
            return True
        if client_closes and reply.after is not After.RESET:
            self._end(After.DROP)
        else:
            self._end(reply.after)
        return False

    def _within_limits(self, request: RequestSeen, reply: Reply, announced: bytes) -> tuple[Reply, bytes]:
        """The reply as the limits change it, and the value of its Connection field."""
        if reply.after is not After.KEEP:
            return reply, announced
        limits = self._limits
        reason = None
        if limits.max_requests is not None and request.request_on_connection >= limits.max_requests:
            reason = EndReason.CAP
        elif self._is_too_old():
            reason = EndReason.AGE
        if reason is not None:
            self._visit.ends_for(reason)
            after = After.CLOSE if limits.announces else After.DROP
            return msgspec.structs.replace(reply, after=after), announced
        if limits.hint is Hint.NONE or not (limits.hints_unasked or _asks_for_hint(request.headers)):
            return reply, announced
        headers = (*reply.headers, (b"Keep-Alive", self._hint(request.request_on_connection)))
        return msgspec.structs.replace(reply, headers=headers), b"keep-alive"

    def _hint(self, request_on_connection: int) -> bytes:
        limits = self._limits
        timeout = b"timeout=%d" % limits.hint_seconds
        if limits.hint is Hint.TIMEOUT or limits.max_requests is None:
            return timeout
        return b"%s, max=%d" % (timeout, limits.max_requests - request_on_connection)

    def _answer_reader(self) -> None:
        """Say what has to be said about a request that is not complete."""
        refusal = self._reader.refusal
        if refusal is not None:
            self._transport.write(render(refusal, connection=b"close", date=self._visit.date))
            self._linger()
        elif self._reader.take_go_ahead():
            self._transport.write(_GO_AHEAD)

    def _say_timeout(self) -> None:
        reply = error_reply(408, "no request came in time", After.CLOSE)
        self._transport.write(render(reply, connection=b"close", date=self._visit.date))


def _asks_for_hint(headers: Fields) -> bool:
    return any(
        len(name) == 10 and name.lower() == b"connection" and b"keep-alive" in value.lower()
        for name, value in headers
    )
