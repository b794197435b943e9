from __future__ import annotations

import pytest

from livepost.rehearsal.idempotency import FirstAnswers, idempotency_key
from livepost.rehearsal.reply import Reply
from livepost.rehearsal.request import RequestSeen


def seen(body: bytes = b"{}", *, method: bytes = b"POST", target: bytes = b"/api") -> RequestSeen:
    return RequestSeen(1, 1, method, target, b"/api", (), body, "1.1", True)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"8e03978e-40d5"', b"8e03978e-40d5"),
        (b"8e03978e-40d5", b"8e03978e-40d5"),
        (b'  "a" ', b"a"),
        (b'"a\\"b\\\\"', b'a"b\\'),
        (b'"not closed', b'"not closed'),
        (b'""', b""),
    ],
)
def test_a_key_comes_in_quotes_or_bare(value: bytes, key: bytes) -> None:
    assert idempotency_key(((b"Host", b"x"), (b"idempotency-KEY", value))) == key


def test_a_request_may_have_no_key() -> None:
    assert idempotency_key(((b"Host", b"x"),)) is None


def test_the_first_answer_is_kept_for_the_same_request() -> None:
    answers, first = FirstAnswers(), Reply(201, body=b"1")
    assert answers.find(b"k", seen()) is None
    answers.keep(b"k", seen(), first)
    assert answers.find(b"k", seen()) == first
    assert answers.find(b"other", seen()) is None


@pytest.mark.parametrize("other", [seen(b"[]"), seen(method=b"PUT"), seen(target=b"/api?x")])
def test_another_request_with_the_same_key_is_422(other: RequestSeen) -> None:
    answers = FirstAnswers()
    answers.keep(b"k", seen(), Reply(201))
    reply = answers.find(b"k", other)
    assert reply is not None
    assert reply.status == 422


def test_the_keys_used_longest_ago_are_forgotten() -> None:
    answers = FirstAnswers(2)
    for key in (b"1", b"2"):
        answers.keep(key, seen(), Reply(201))
    answers.find(b"1", seen())
    answers.keep(b"3", seen(), Reply(201))
    assert [answers.find(key, seen()) is None for key in (b"1", b"2", b"3")] == [False, True, False]
