from __future__ import annotations

import asyncio
import json

import pytest

from livepost.errors import OutputError
from livepost.rehearsal import demo
from livepost.rehearsal.demo import SAMPLES, Measured, compare, deliver_samples, shown_body


def test_the_samples_go_one_after_the_other_over_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    shown: list[tuple[bytes, int, object]] = []

    def show(record: bytes, status: int, answer: bytes) -> None:
        shown.append((record, status, json.loads(answer)))

    asyncio.run(deliver_samples(show))
    assert shown == [
        (body, 201, {"id": number, "connection": 1, "request_on_connection": number})
        for number, body in enumerate(
            (b'{"name":"John","age":30}', b'{"name":"Lucy","age":25}', b'{"name":"Mike","age":40}'), 1
        )
    ]


def test_a_sample_is_shown_as_a_person_would_write_it() -> None:
    assert shown_body(b'{"name":"John","age":30}') == '{"name": "John", "age": 30}'
    assert json.loads(shown_body(json.dumps(SAMPLES[2]).encode())) == SAMPLES[2]


def test_both_ways_deliver_all_and_the_server_counts_the_handshakes() -> None:
    before, after = asyncio.run(compare(640))
    assert (before.name, before.delivered, before.handshakes) == ("new each time", 640, 640)
    assert (after.name, after.delivered, after.handshakes) == ("live", 640, 64)
    assert before.handshakes_per_1000 == 1000.0
    assert (after.handshakes_per_1000, after.records_per_connection) == (100.0, 10.0)


def test_rates_are_those_of_what_was_delivered() -> None:
    measured = Measured("some", delivered=300, seconds=2.0, handshakes=3)
    assert (measured.records_per_second, measured.handshakes_per_1000) == (150.0, 10.0)
    assert measured.records_per_connection == 100.0


def test_users_are_about_the_size_of_real_ones_and_differ() -> None:
    users = [json.dumps(demo._user(number)) for number in range(1, 101)]
    assert len(set(users)) == 100
    assert 60 <= min(map(len, users)) <= max(map(len, users)) <= 200


@pytest.mark.parametrize("error", [OutputError("mine"), ZeroDivisionError("mine")])
def test_what_ends_a_delivery_early_is_raised(error: Exception) -> None:
    def show(record: bytes, status: int, answer: bytes) -> None:
        raise error

    with pytest.raises(type(error), match="mine"):
        asyncio.run(deliver_samples(show))
