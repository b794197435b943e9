from __future__ import annotations

from livepost.net.fact import Fact, Source, Subject
from livepost.net.idle_limit import IdleLimit


class Dates:
    """A wall clock that is one second on with each look."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def known(limit: IdleLimit) -> tuple[float, Source]:
    return limit.fact.value, limit.fact.source


def kept(limit: IdleLimit) -> dict[str, tuple[float, str]]:
    return {subject.value: (fact.value, fact.source.value) for subject, fact in limit.facts.items()}


def remembered(seconds: float) -> Fact:
    return Fact(seconds, Source.REMEMBERED, 900_000.0)


def test_nothing_is_known_at_first() -> None:
    limit = IdleLimit(Dates())
    assert known(limit) == (4.0, Source.DEFAULT)
    assert kept(limit) == {}


def test_a_hint_is_believed_at_once_and_a_new_one_too() -> None:
    limit = IdleLimit(Dates())
    limit.hinted(5.0)
    assert known(limit) == (5.0, Source.HINT)
    date = limit.fact.at
    limit.hinted(5.0)
    assert limit.fact.at == date
    limit.hinted(15.0)
    assert known(limit) == (15.0, Source.HINT)
    assert kept(limit) == {"idle_limit": (15.0, "hint")}


def test_a_hint_wins_over_one_close_that_came_sooner_but_not_over_two() -> None:
    limit = IdleLimit(Dates())
    limit.hinted(60.0)
    limit.closed(10.0, 100.0)
    assert known(limit) == (60.0, Source.HINT)
    limit.closed(10.2, 200.0)
    assert known(limit) == (10.0, Source.LEARNED)


def test_closes_within_the_margin_of_a_hint_do_not_contradict_it() -> None:
    limit = IdleLimit(Dates())
    limit.hinted(5.0)
    for n in range(5):
        limit.closed(4.6, 100.0 * n)
    assert known(limit) == (5.0, Source.HINT)


def test_a_close_wins_over_what_is_remembered() -> None:
    limit = IdleLimit(Dates(), remembered(75.0))
    assert known(limit) == (75.0, Source.REMEMBERED)
    limit.closed(5.05, 100.0)
    assert known(limit) == (5.0, Source.LEARNED)
    assert kept(limit) == {"idle_limit": (5.0, "learned"), "idle_outlived": (5.05, "outlived")}


def test_what_a_probe_has_measured_is_taken_in_whole_seconds() -> None:
    limit = IdleLimit(Dates(), remembered(2.7))
    assert known(limit) == (2.0, Source.REMEMBERED)
    # It was measured of a server that looks once a second.
    limit.lived(3.1)
    assert known(limit) == (2.0, Source.REMEMBERED)


def test_what_is_remembered_is_forgotten_when_a_connection_lives_clearly_longer() -> None:
    limit = IdleLimit(Dates(), remembered(5.0))
    limit.lived(6.0)
    assert known(limit) == (5.0, Source.REMEMBERED)
    limit.lived(20.0)
    assert known(limit) == (20.0, Source.OUTLIVED)
    assert kept(limit) == {"idle_limit": (0.0, "contradicted"), "idle_outlived": (20.0, "outlived")}


def test_what_connections_outlive_is_a_limit_until_a_better_one_is_known() -> None:
    limit = IdleLimit(Dates())
    limit.lived(3.0)
    assert known(limit) == (4.0, Source.DEFAULT)
    limit.lived(30.0)
    assert known(limit) == (30.0, Source.OUTLIVED)
    limit.lived(20.0)
    assert known(limit) == (30.0, Source.OUTLIVED)
    limit.closed(75.0, 100.0)
    assert known(limit) == (75.0, Source.LEARNED)
    # Set anew.
    limit.closed(10.0, 200.0)
    assert known(limit) == (10.0, Source.LEARNED)


def test_what_connections_outlived_in_an_earlier_run_counts_too() -> None:
    limit = IdleLimit(Dates(), outlived=remembered(50.0))
    assert known(limit) == (50.0, Source.REMEMBERED)
    assert limit.outlived == 50.0
    limit.lived(40.0)
    assert kept(limit) == {}
    limit.lived(55.0)
    assert known(limit) == (55.0, Source.OUTLIVED)


def test_a_limit_whose_closes_are_dismissed_is_not_kept() -> None:
    limit = IdleLimit(Dates())
    limit.closed(2.0, 100.0)
    assert kept(limit)["idle_limit"] == (2.0, "learned")
    limit.lived(3.9)
    assert known(limit) == (4.0, Source.DEFAULT)
    assert kept(limit)["idle_limit"] == (0.0, "contradicted")


def test_a_limit_that_is_seen_again_is_confirmed() -> None:
    limit = IdleLimit(Dates())
    limit.closed(5.0, 100.0)
    first = limit.facts[Subject.IDLE_LIMIT].at
    limit.lived(1.0)
    assert limit.facts[Subject.IDLE_LIMIT].at == first
    limit.closed(5.04, 200.0)
    assert limit.facts[Subject.IDLE_LIMIT] == limit.fact
    assert limit.fact.at > first
