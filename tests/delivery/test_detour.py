from __future__ import annotations

import dataclasses
from collections import deque

import pytest
from schedule_world import HEAD, record

from livepost.delivery.detour import MOST_ORIGINS, Detours
from livepost.target import Target, parse_target
from livepost.wire.message import Exchange, Response

START = parse_target("http://user:secret@api.test/users?a=1")
HEAD_OF_START = dataclasses.replace(
    HEAD,
    target=b"/users?a=1",
    fields=((b"Authorization", b"Basic x"), (b"Content-Type", b"application/json")),
)


class World:
    """Detours of one run, and what they have opened."""

    def __init__(self) -> None:
        self.own: deque[Exchange] = deque()
        self.opened: dict[str, deque[Exchange]] = {}
        self.detours = Detours(START, HEAD_OF_START, self.own, self._open_lane)

    def _open_lane(self, target: Target) -> deque[Exchange]:
        return self.opened.setdefault(str(target), deque())

    def lead(self, exchange: Exchange, status: int, location: str) -> str | None:
        return self.detours.follow(exchange, Response(status, ((b"location", location.encode()),), b""))


def exchange() -> Exchange:
    return Exchange(HEAD_OF_START, b"1", record(1), 1)


def test_within_the_server_only_the_request_changes() -> None:
    world = World()
    one = exchange()
    assert world.lead(one, 308, "/people") is None
    assert (one.head.target, one.head.fields, one.body) == (b"/people", HEAD_OF_START.fields, b"1")
    assert one.detour.queue is world.own
    assert world.opened == {}
    assert not one.has_doubt


def test_another_server_gets_a_lane_and_no_credentials() -> None:
    world = World()
    one, two = exchange(), exchange()
    assert world.lead(one, 307, "https://other.test/people") is None
    assert (one.head.authority, one.head.scheme, one.head.target) == (b"other.test", b"https", b"/people")
    assert one.head.fields == ((b"Content-Type", b"application/json"),)
    assert one.detour.target.authorization is None
    assert world.lead(two, 307, "https://other.test/elsewhere") is None
    assert list(world.opened) == ["https://other.test/people"], "one for each scheme, host and port"
    assert two.detour.queue is one.detour.queue is world.opened["https://other.test/people"]


def test_records_on_the_same_way_share_their_head() -> None:
    world = World()
    one, two = exchange(), exchange()
    world.lead(one, 307, "/a")
    world.lead(two, 307, "/a")
    assert one.head is two.head


def test_credentials_that_were_left_behind_do_not_come_back() -> None:
    world = World()
    one = exchange()
    world.lead(one, 307, "http://other.test/")
    assert world.lead(one, 307, "http://api.test/back") is None
    assert one.detour.queue is world.own
    assert one.head.fields == ((b"Content-Type", b"application/json"),)


def test_a_circle_is_noticed_over_several_servers() -> None:
    world = World()
    one = exchange()
    assert world.lead(one, 307, "http://other.test/") is None
    assert world.lead(one, 307, "http://api.test/users?a=1") == "the redirects go round in a circle"
    assert one.detour.target == parse_target("http://other.test/"), "it stays where it was"


def test_a_303_leaves_a_doubt_and_the_record_behind() -> None:
    world = World()
    one = exchange()
    assert world.lead(one, 303, "/result") is None
    assert (one.head.method, one.body, one.has_doubt) == (b"GET", b"", True)
    assert one.record.body == b"1"


@pytest.mark.parametrize("status", [301, 302])
def test_a_post_that_would_become_a_get_is_not_followed(status: int) -> None:
    one = exchange()
    refusal = World().lead(one, status, "/page")
    assert refusal == "the redirect would turn the POST into a GET without the record"
    assert (one.head, one.body, one.detour, one.has_doubt) == (HEAD_OF_START, b"1", None, False)


def test_there_are_not_arbitrarily_many_lanes() -> None:
    world = World()
    for number in range(MOST_ORIGINS):
        assert world.lead(exchange(), 307, f"http://host{number}.test/") is None
    refusal = f"redirects lead to more than {MOST_ORIGINS} other servers"
    assert world.lead(exchange(), 307, "http://one-more.test/") == refusal
    assert world.lead(exchange(), 307, "http://host0.test/") is None, "those that are known may go on"
    assert len(world.opened) == MOST_ORIGINS
