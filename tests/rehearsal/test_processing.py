from __future__ import annotations

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.idempotency import FirstAnswers
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import Tally


def seen(body: bytes = b"{}", key: bytes | None = None, path: bytes = b"/api") -> RequestSeen:
    headers = () if key is None else ((b"Idempotency-Key", key),)
    return RequestSeen(1, 1, b"POST", path, path, headers, body, "1.1", True)


def told(processor: Processor, *requests: RequestSeen) -> list[tuple[int, bool, bool]]:
    served = [processor.process(request) for request in requests]
    return [(one.reply.status, one.processed, one.replayed) for one in served]


def test_what_was_taken_was_processed() -> None:
    processor = Processor(PracticeApi(Tally()))
    assert told(processor, seen(), seen(b"{"), seen(path=b"/else"), seen(key=b"k"), seen(key=b"k")) == [
        (201, True, False),
        (400, False, False),
        (404, False, False),
        (201, True, False),
        (201, True, False),
    ]


def test_a_repeated_key_is_processed_once() -> None:
    tally = Tally()
    processor = Processor(PracticeApi(tally), FirstAnswers())
    first = processor.process(seen(key=b'"k"'))
    again = processor.process(seen(key=b"k"))
    assert (again.reply, again.processed, again.replayed) == (first.reply, False, True)
    assert told(processor, seen(b"[]", key=b"k"), seen(), seen()) == [
        (422, False, False),
        (201, True, False),
        (201, True, False),
    ]
    assert tally.requests == 5


def test_only_what_was_processed_is_kept() -> None:
    statuses = iter((500, 201))
    api = PracticeApi(Tally(), respond=lambda request: Reply(next(statuses)))
    processor = Processor(api, FirstAnswers())
    assert told(processor, seen(key=b"k"), seen(key=b"k"), seen(key=b"k")) == [
        (500, False, False),
        (201, True, False),
        (201, False, True),
    ]


def test_what_is_passed_over_is_counted_and_that_is_all() -> None:
    tally, requests = Tally(), list[RequestSeen]()
    api = PracticeApi(tally, on_request=requests.append)
    served = Processor(api).pass_over(seen())
    assert (served.processed, tally.requests, len(requests)) == (False, 1, 1)
    assert b'"id": 1,' in api.usual_answer(seen()).body
