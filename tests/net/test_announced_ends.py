from __future__ import annotations

import pytest

from livepost.net.announced_ends import AnnouncedEnds
from livepost.net.fact import Fact, Source, Subject
from livepost.net.hand_over import HandOverReason


def make(
    cap: float | None = None, age: float | None = None, answered_cap: float | None = None
) -> AnnouncedEnds:
    """With what is remembered."""
    facts = (
        None if value is None else Fact(value, Source.REMEMBERED, 900_000.0)
        for value in (cap, age, answered_cap)
    )
    return AnnouncedEnds(lambda: 1_000_000.0, *facts)


def known(ends: AnnouncedEnds) -> tuple[float | None, float | None]:
    cap, age = ends.cap, ends.maximum_age
    return None if cap is None else cap.value, None if age is None else age.value


def test_the_same_number_of_requests_twice_is_a_cap() -> None:
    ends = make()
    ends.announced(1000, 7.0)
    assert known(ends) == (None, None)
    ends.announced(420, 3.0)
    ends.announced(1000, 90.0)
    assert known(ends) == (1000, None)
    assert ends.facts == {Subject.REQUEST_CAP: Fact(1000, Source.LEARNED, 1_000_000.0)}


def test_a_server_that_ends_each_connection_after_one_request_has_no_cap() -> None:
    ends = make()
    for _ in range(5):
        ends.announced(1, 0.01)
    assert known(ends) == (None, None)


def test_more_requests_than_the_cap_show_that_it_was_none() -> None:
    ends = make(cap=100)
    ends.announced(101, 5.0)
    assert known(ends) == (None, None)
    assert ends.facts[Subject.REQUEST_CAP].source is Source.CONTRADICTED
    ends.announced(101, 6.0)
    assert known(ends) == (101, None)


def test_a_connection_that_is_not_ended_at_the_cap_shows_that_it_was_none() -> None:
    ends = make(cap=100)
    ends.unannounced(99, 5.0)
    assert known(ends) == (100, None)
    ends.unannounced(100, 5.0)
    assert known(ends) == (None, None)


def test_a_cap_that_is_remembered_is_confirmed_by_one_end() -> None:
    ends = make(cap=100)
    ends.announced(100, 5.0)
    assert ends.cap == Fact(100, Source.LEARNED, 1_000_000.0)


def test_a_lower_cap_replaces_a_higher_one() -> None:
    ends = make(cap=1000)
    ends.announced(100, 1.0)
    ends.announced(100, 1.1)
    assert known(ends) == (100, None)


def test_ages_that_repeat_are_a_maximum_age() -> None:
    ends = make()
    ends.announced(52_017, 3600.4)
    ends.announced(8_122, 1200.0)
    assert known(ends) == (None, None)
    ends.announced(51_890, 3612.0)
    assert known(ends) == (None, 3600.4)
    assert ends.facts == {Subject.MAXIMUM_AGE: Fact(3600.4, Source.LEARNED, 1_000_000.0)}


def test_an_end_that_the_cap_explains_says_nothing_of_the_age() -> None:
    """At a steady rate the cap comes after the same time each time."""
    ends = make()
    for n in range(5):
        ends.announced(1000, 100.0 + n / 100)
    assert known(ends) == (1000, None)


def test_ends_soon_after_the_beginning_say_nothing_of_the_age() -> None:
    ends = make()
    ends.announced(17, 0.5)
    ends.announced(18, 0.5)
    assert known(ends) == (None, None)


@pytest.mark.parametrize("how", ["announced", "unannounced"])
def test_a_connection_that_outlives_the_maximum_age_shows_that_it_was_none(how: str) -> None:
    ends = make(age=3600.0)
    getattr(ends, how)(7, 3700.0)
    assert known(ends) == (None, 3600.0)
    getattr(ends, how)(8, 3800.0)
    assert known(ends) == (None, None)
    assert ends.facts[Subject.MAXIMUM_AGE].source is Source.CONTRADICTED


def test_a_maximum_age_seen_at_a_steady_slow_rate_is_found_out_although_it_looks_like_a_cap() -> None:
    ends = make()
    ends.announced(60, 3600.0)
    ends.announced(60, 3601.0)
    assert known(ends) == (60, None)
    # Handed over at the cap, so not announced.
    ends.unannounced(60, 60.0)
    ends.announced(7000, 3600.0)
    assert known(ends) == (None, 3600.0)


def test_a_hint_gives_the_cap_at_once() -> None:
    ends = make(cap=1000)
    ends.hinted(101)
    assert ends.cap == Fact(101, Source.HINT, 1_000_000.0)
    ends.announced(101, 2.0)
    ends.hinted(101)
    assert ends.cap.source is Source.LEARNED


def test_a_hint_that_is_another_with_every_answer_is_not_believed() -> None:
    """Some servers send the same `max` always."""
    ends = make()
    for requests in range(1, 4):
        ends.hinted(requests + 100)
    assert known(ends) == (103, None)
    ends.hinted(104)
    assert known(ends) == (None, None)
    ends.hinted(105)
    assert known(ends) == (None, None)
    ends.announced(500, 1.0)
    ends.announced(500, 1.0)
    ends.hinted(106)
    assert known(ends) == (500, None)


def test_a_hint_that_turned_out_to_be_wrong_is_not_believed_again() -> None:
    """Its first answer says the same on each connection, so it looks right until a connection is full."""
    ends = make()
    ends.hinted(101)
    ends.unannounced(101, 3.0)
    ends.hinted(101)
    assert known(ends) == (None, None)
    ends.hinted(501)
    assert known(ends) == (501, None)


@pytest.mark.parametrize(
    ("answered", "cap"),
    [
        ([1000], None),
        ([1000, 1000], 1000),
        # Some of the last answers were late.
        ([1000, 963], 963),
        ([963, 1000], 963),
        ([1000, 500], None),
        ([1000, 500, 510], 500),
        # To begin anew so often would cost more than it saves.
        ([50, 50, 50], None),
    ],
)
def test_what_a_server_answers_before_it_leaves_requests_unanswered_is_all_it_is_given(
    answered: list[int], cap: int | None
) -> None:
    ends = make()
    for now, number in enumerate(answered):
        ends.let_down(number, now, now + 0.5)
    assert known(ends) == (cap, None)
    assert ends.is_ours is (cap is not None)
    # A fact of its own, so that a later run can tell it from one that the server keeps to.
    learned = {} if cap is None else {Subject.ANSWERED_CAP: Fact(cap, Source.LEARNED, 1_000_000.0)}
    assert ends.facts == learned


def test_what_an_earlier_run_was_let_down_by_outweighs_what_the_server_says() -> None:
    ends = make(cap=1100, answered_cap=990)
    assert (known(ends), ends.is_ours, ends.facts) == ((990, None), True, {})
    ends.announced(1100, 1.0)
    ends.announced(1100, 1.0)
    ends.unannounced(990, 1.0)
    assert (known(ends), ends.is_ours, ends.facts) == ((990, None), True, {})


def test_a_server_that_answers_fewer_than_it_did_in_an_earlier_run_lets_down_twice() -> None:
    ends = make(answered_cap=1000)
    ends.let_down(500, 0.0, 1.0)
    assert known(ends) == (1000, None)
    ends.let_down(500, 1.0, 2.0)
    assert ends.facts == {Subject.ANSWERED_CAP: Fact(500, Source.LEARNED, 1_000_000.0)}


def silence(ends: AnnouncedEnds, answered: int, opened_at: float, now: float, elsewhere: int = 0) -> None:
    ends.fell_silent(answered, opened_at, now, carried_elsewhere=elsewhere)


def test_a_connection_that_ends_without_a_word_where_the_one_before_it_did_has_a_cap() -> None:
    ends = make(cap=1000)
    # Of 64 connections that carry the same number each, and break together.
    silence(ends, 50, 0.0, 10.0)
    silence(ends, 50, 1.0, 10.5)
    assert (known(ends), ends.is_ours) == ((1000, None), False)
    silence(ends, 50, 10.0, 13.0)
    assert (known(ends), ends.is_ours) == ((50, None), True)
    assert ends.facts[Subject.ANSWERED_CAP] == Fact(50, Source.LEARNED, 1_000_000.0)
    assert ends.facts[Subject.REQUEST_CAP].source is Source.CONTRADICTED


@pytest.mark.parametrize(
    "how", ["another between", "more elsewhere", "more before", "more unannounced", "more announced"]
)
def test_what_may_be_chance_is_no_cap(how: str) -> None:
    ends = make()
    if how == "more before":
        silence(ends, 51, 0.0, 1.0)
    if how == "more unannounced":
        ends.unannounced(52, 10.0)
    if how == "more announced":
        ends.announced(52, 10.0)
    silence(ends, 50, 1.0, 2.0)
    if how == "another between":
        silence(ends, 49, 2.0, 3.0)
    silence(ends, 50, 3.0, 4.0, elsewhere=51 if how == "more elsewhere" else 50)
    assert known(ends) == (None, None)


@pytest.mark.parametrize("answered", [0, 1])
def test_connections_that_end_behind_at_most_one_answer_have_no_cap(answered: int) -> None:
    ends = make()
    for now in range(1, 10):
        silence(ends, answered, now, now + 0.5)
    assert known(ends) == (None, None)


def test_connections_that_one_restart_breaks_let_nobody_down() -> None:
    ends = make()
    ends.let_down(5000, 0.0, 100.0)
    ends.let_down(5200, 0.0, 100.1)
    assert known(ends) == (None, None)
    ends.let_down(5100, 100.0, 200.0)
    assert known(ends) == (5000, None)


def test_of_two_caps_that_are_remembered_the_later_counts() -> None:
    older, newer = (Fact(value, Source.REMEMBERED, at) for value, at in ((50.0, 1.0), (1000.0, 2.0)))
    ends = AnnouncedEnds(lambda: 3.0, cap=newer, answered_cap=older)
    assert (known(ends), ends.is_ours) == ((1000, None), False)
    ends = AnnouncedEnds(lambda: 3.0, cap=older, answered_cap=newer)
    assert (known(ends), ends.is_ours) == ((1000, None), True)
    ends = AnnouncedEnds(lambda: 3.0, answered_cap=Fact(0.5, Source.REMEMBERED, 2.0))
    assert known(ends) == (None, None)


def test_a_cap_of_ours_outweighs_what_the_server_says() -> None:
    ends = make()
    for now in range(2):
        ends.announced(1100, 1.0)
        ends.let_down(1000, now, now + 0.5)
    assert (known(ends), ends.is_ours) == ((1000, None), True)
    assert ends.facts[Subject.REQUEST_CAP].source is Source.CONTRADICTED
    # Of those that were on their way there when that was found out.
    ends.announced(1100, 1.0)
    ends.announced(1100, 1.0)
    ends.hinted(500)
    # Of one that we have ended there.
    ends.unannounced(1000, 1.0)
    assert (known(ends), ends.is_ours) == ((1000, None), True)
    assert ends.facts[Subject.REQUEST_CAP].source is Source.CONTRADICTED


def test_an_end_is_explained_by_the_limit_that_is_known() -> None:
    ends = make()
    assert ends.explains(1000, 30.0) is None
    ends.announced(1000, 30.0)
    ends.announced(1000, 40.0)
    ends.announced(500, 60.0)
    ends.announced(510, 61.0)
    assert ends.explains(1000, 30.0) is HandOverReason.CAP
    assert ends.explains(999, 59.0) is HandOverReason.AGE
    assert ends.explains(999, 50.0) is None
