"""Acts on a request, or does not, and says which."""

from __future__ import annotations

import msgspec

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.idempotency import FirstAnswers, idempotency_key
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen

NO_REPLY = Reply(raw=b"")


class Served(msgspec.Struct, frozen=True, gc=False):
    """The answer, and whether the record was acted upon for it."""

    reply: Reply
    processed: bool = False
    replayed: bool = False


class Processor:
    """Processes records at most once for each Idempotency-Key, if it is given a place for the answers."""

    def __init__(self, api: PracticeApi, first_answers: FirstAnswers | None = None) -> None:
        self._api = api
        self._first_answers = first_answers

    def process(self, request: RequestSeen) -> Served:
        key = None if self._first_answers is None else idempotency_key(request.headers)
        if self._first_answers is None or key is None:
            return self._act(request)
        kept = self._first_answers.find(key, request)
        if kept is not None:
            self._api.receive(request)
            return Served(kept, replayed=kept.status != 422)
        served = self._act(request)
        if served.processed:
            self._first_answers.keep(key, request, served.reply)
        return served

    def pass_over(self, request: RequestSeen) -> Served:
        """The request was read, and that is all."""
        self._api.receive(request)
        return Served(NO_REPLY)

    def _act(self, request: RequestSeen) -> Served:
        reply = self._api.answer(request)
        return Served(reply, processed=200 <= reply.status < 300)
