"""The API that the practice server offers: requests in, replies out, no I/O."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from livepost.records.validate import defect
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.reply import Reply, error_reply, json_reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import Tally

API_PATH = b"/api"
STATS_PATH = b"/stats"

Answer = Callable[[RequestSeen], Reply]
Respond = Callable[[RequestSeen], Reply | None]
OnRequest = Callable[[RequestSeen], None]

_MAY_BE_EMPTY = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))


class PracticeApi:
    """Decides what each request is answered with, and counts the requests.

    `/api` takes JSON with any method and any query and creates a record: 201 with its id, which
    counts the records created on all connections from 1.  `/stats` answers with the counts; it is
    never counted, recorded or scripted.  Anything else is 404.  With a `ledger`, `/stats` tells what
    stands there too.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        on_request: OnRequest | None = None,
        respond: Respond | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._tally = tally
        self._ledger = ledger
        self._on_request = on_request
        self._respond = respond
        self._created = 0

    def answer(self, request: RequestSeen) -> Reply:
        if request.path == STATS_PATH:
            return self._stats()
        self.receive(request)
        if self._respond is not None:
            scripted = self._respond(request)
            if scripted is not None:
                return scripted
        return self.usual_answer(request)

    def receive(self, request: RequestSeen) -> None:
        """Count and record a request, which `answer` does too; for one that is not to be answered."""
        if request.path == API_PATH:
            self._tally.requests += 1
        if self._on_request is not None:
            self._on_request(request)

    def usual_answer(self, request: RequestSeen) -> Reply:
        """The answer without a script; a 201 uses up an id."""
        if request.path != API_PATH:
            return error_reply(404, "there is only /api and /stats here")
        if request.body or request.method not in _MAY_BE_EMPTY:
            fault = defect(request.body)
            if fault is not None:
                return error_reply(400, fault)
        self._created += 1
        return json_reply(
            201,
            b'{"id": %d, "connection": %d, "request_on_connection": %d}'
            % (self._created, request.connection, request.request_on_connection),
        )

    def _stats(self) -> Reply:
        tally = self._tally
        stats = b'"connections": %d, "requests": %d, "handshakes": %d' % (
            tally.connections,
            tally.requests,
            tally.handshakes,
        )
        stats += b', "full": %d, "resumed": %d, "protocols": {"http/1.1": %d, "h2": %d}' % (
            tally.handshakes - tally.resumed,
            tally.resumed,
            tally.connections - tally.http2,
            tally.http2,
        )
        ended = {reason.value: count for reason, count in tally.ended.items()}
        stats += b', "ended": %s' % msgspec.json.encode(ended)
        if self._ledger is not None:
            counts = self._ledger.counts
            stats += b', "processed": %d, "duplicates": %d, "replayed": %d, "faults": %s' % (
                counts.processed,
                counts.duplicates,
                counts.replayed,
                msgspec.json.encode(counts.faults),
            )
        return json_reply(200, b"{%s}" % stats)
