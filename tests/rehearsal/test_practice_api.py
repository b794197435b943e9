from __future__ import annotations

import json

import pytest
from practice_stats import stats

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import EndReason, ServerStats, Tally


def seen(
    body: bytes = b"{}", *, method: bytes = b"POST", path: bytes = b"/api", connection: int = 1, nth: int = 1
) -> RequestSeen:
    return RequestSeen(connection, nth, method, path + b"?x", path, (), body, "1.1", True)


def test_each_record_gets_the_next_id_and_learns_its_connection() -> None:
    api = PracticeApi(Tally())
    replies = [api.answer(seen(connection=c, nth=n)) for c, n in [(4, 1), (4, 2), (5, 1)]]
    assert [reply.status for reply in replies] == [201, 201, 201]
    assert [reply.headers for reply in replies] == [((b"Content-Type", b"application/json"),)] * 3
    assert [reply.body for reply in replies] == [
        b'{"id": 1, "connection": 4, "request_on_connection": 1}',
        b'{"id": 2, "connection": 4, "request_on_connection": 2}',
        b'{"id": 3, "connection": 5, "request_on_connection": 1}',
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b" [1, 2.5e3, true, null] ",
        b'"x"',
        b"0",
        '{"name": "Jörg 😀"}'.encode(),
        b'"\\u00e4\\ud83d\\ude00"',
        # Valid by RFC 8259, and so what `livepost send` passes on.
        b'"\\ud800"',
    ],
)
def test_json_is_taken(body: bytes) -> None:
    assert PracticeApi(Tally()).answer(seen(body)).status == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1} x',
        b"{}{}",
        b"{'a': 1}",
        b"NaN",
        b"01",
        b'"a\nb"',
        b"\xef\xbb\xbf{}",
        b'{"name": "J\xf6rg"}',
        b'"\xed\xa0\x80"',
        b"[" * 200_000,
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_what_is_not_json_is_400_and_uses_no_id(body: bytes, method: bytes) -> None:
    api = PracticeApi(Tally())
    reply = api.answer(seen(body, method=method))
    assert reply.status == 400
    assert list(json.loads(reply.body)) == ["error"]
    assert json.loads(api.answer(seen()).body)["id"] == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_body_may_be_missing_where_methods_have_none(method: bytes) -> None:
    assert PracticeApi(Tally()).answer(seen(b"", method=method)).status == 201
    assert PracticeApi(Tally()).answer(seen(b"{", method=method)).status == 400


@pytest.mark.parametrize("path", [b"/", b"/api/", b"/API", b"/apis", b"*", b"/stats/"])
def test_any_other_path_is_404_and_not_counted(path: bytes) -> None:
    tally = Tally()
    reply = PracticeApi(tally).answer(seen(path=path))
    assert (reply.status, reply.body) == (404, b'{"error":"there is only /api and /stats here"}')
    assert tally.requests == 0


def test_every_request_to_the_api_is_counted_whatever_its_answer() -> None:
    tally = Tally()
    api = PracticeApi(tally, respond=lambda request: Reply(503) if request.body == b"1" else None)
    assert [api.answer(seen(body)).status for body in (b"{}", b"{", b"1")] == [201, 400, 503]
    assert tally.requests == 3


def test_stats_are_what_was_counted() -> None:
    tally = Tally()
    tally.connections, tally.requests, tally.handshakes, tally.open = 5, 6, 7, 8
    tally.resumed, tally.http2 = 4, 2
    tally.ended = {EndReason.IDLE: 1, EndReason.CAP: 2, EndReason.AGE: 3}
    reply = PracticeApi(tally).answer(seen(b"", method=b"GET", path=b"/stats"))
    assert (reply.status, json.loads(reply.body)) == (
        200,
        stats(5, 6, full=3, resumed=4, http2=2, idle=1, cap=2, age=3),
    )
    assert tally.stats() == ServerStats(5, 6, 7, 8, 4, 2, idle_ends=1, cap_ends=2, age_ends=3)


def test_looking_at_the_stats_is_neither_counted_nor_recorded_nor_scripted() -> None:
    calls: list[RequestSeen] = []
    tally = Tally()
    api = PracticeApi(tally, on_request=calls.append, respond=lambda request: Reply(500))
    assert api.answer(seen(path=b"/stats")).status == 200
    assert (calls, tally.requests) == ([], 0)


def test_a_request_is_recorded_before_the_script_is_asked() -> None:
    calls: list[tuple[str, bytes]] = []

    def respond(request: RequestSeen) -> Reply | None:
        calls.append(("respond", request.body))
        return None

    api = PracticeApi(Tally(), on_request=lambda r: calls.append(("seen", r.body)), respond=respond)
    assert api.answer(seen(b"1")).status == 201
    assert api.answer(seen(b"2", path=b"/else")).status == 404
    assert calls == [("seen", b"1"), ("respond", b"1"), ("seen", b"2"), ("respond", b"2")]


def test_only_the_usual_answer_uses_up_an_id() -> None:
    api = PracticeApi(Tally(), respond=lambda request: Reply(500) if request.body == b"0" else None)
    assert [api.answer(seen(body)).status for body in (b"0", b"0", b"1")] == [500, 500, 201]
    assert json.loads(api.usual_answer(seen()).body)["id"] == 2
