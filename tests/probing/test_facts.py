from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from probing_peers import NOW

from livepost.events import HttpVersion
from livepost.probing.facts import OriginFacts, facts_of
from livepost.probing.findings import (
    Contact,
    Ending,
    Findings,
    IdleConnection,
    IdleLimit,
    KeepAliveHint,
    RequestCap,
)
from livepost.target import parse_target

TARGET = parse_target("https://a.test/api")
FOUND = Findings(
    *("https://a.test/api", "/api", NOW),
    seconds=80.0,
    contact=Contact("HEAD", 200, "HTTP/1.1", True, None, None),
    keep_alive_hint=KeepAliveHint(75.0, 99),
    idle=IdleLimit(75.0, 60.0, None, ()),
    cap=RequestCap(1000, None, 1000, Ending.ANNOUNCED, 9.0, None),
)


def test_findings_become_limits_of_the_origin() -> None:
    assert facts_of(FOUND, TARGET) == OriginFacts(
        origin=("https", "a.test", 443),
        http_version=HttpVersion.HTTP_1_1,
        idle_limit_seconds=75.0,
        idle_survived_seconds=60.0,
        request_cap=1000,
        is_cap_announced=True,
        hinted_timeout_seconds=75.0,
        hinted_cap=99,
        learned=NOW + timedelta(seconds=80),
    )


@pytest.mark.parametrize(
    ("survived", "dropped", "sure"), [(120.0, 240.0, 120.0), (None, 106.0, 4.0), (None, 3.0, 3.0)]
)
def test_what_something_between_forgets_lives_surely_for_as_long_as_it_was_seen_to(
    survived: float | None, dropped: float, sure: float
) -> None:
    facts = facts_of(dataclasses.replace(FOUND, idle=IdleLimit(300.0, survived, dropped, ())), TARGET)
    assert facts is not None
    assert (facts.idle_limit_seconds, facts.idle_survived_seconds) == (sure, survived)


@pytest.mark.parametrize("age", [2.0, None])
def test_a_cap_that_may_be_an_age_is_not_stored(age: float | None) -> None:
    cap = RequestCap(None, age, 382, Ending.ANNOUNCED, 2.0, None)
    facts = facts_of(dataclasses.replace(FOUND, cap=cap), TARGET)
    assert facts is not None
    assert facts.request_cap is None


def test_a_server_without_keep_alive_has_a_cap_of_one() -> None:
    contact = Contact("HEAD", 200, "HTTP/2", False, None, None)
    facts = facts_of(Findings(*("", "", NOW), contact=contact), TARGET)
    assert facts is not None
    assert (facts.request_cap, facts.http_version) == (1, HttpVersion.HTTP_2)
    assert (facts.idle_limit_seconds, facts.hinted_cap) == (None, None)


@pytest.mark.parametrize("changes", [{"contact": None}, {"via_proxy": "p.test:3128"}])
def test_nothing_is_learned_of_the_origin_without_contact_or_through_a_proxy(
    changes: dict[str, str | None],
) -> None:
    assert facts_of(dataclasses.replace(FOUND, **changes), TARGET) is None  # type: ignore[arg-type]


def test_an_idle_limit_is_remembered_in_whole_seconds() -> None:
    """Of a server that looks once a second, or whose answer was read late."""
    for seconds, limit in (
        ((2.9, 2.6, 2.3), 2.0),
        ((1.97, 2.001, 2.002), 2.0),
        ((1.95, 2.3, 2.6), 2.0),
        ((1.97,), 1.0),
    ):
        seen = tuple(IdleConnection(one, Ending.FIN) for one in seconds)
        idle = IdleLimit(min(seconds), None, None, (*seen, IdleConnection(0.5, Ending.REUSED)))
        facts = facts_of(dataclasses.replace(FOUND, idle=idle), TARGET)
        assert facts is not None
        assert facts.idle_limit_seconds == limit
