from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.net.idle_evidence import IdleEvidence, is_clearly_longer


def after(*happened: tuple[str, float, float]) -> IdleEvidence:
    """(what, idle seconds, when) each."""
    evidence = IdleEvidence()
    for what, idle_seconds, when in happened:
        if what == "closed":
            evidence.closed(idle_seconds, when)
        elif what == "lived":
            evidence.lived(idle_seconds)
        else:
            evidence.broke(when)
    return evidence


def test_nothing_seen_tells_nothing() -> None:
    assert (IdleEvidence().limit, IdleEvidence().times_seen) == (None, 0)
    assert after(("lived", 100.0, 0.0)).limit is None


@pytest.mark.parametrize(
    ("idle", "limit"),
    [(5.0, 5.0), (5.99, 6.0), (5.97, 5.0), (75.19, 75.0), (2.9, 2.0), (0.97, 0.9), (0.99, 1.0), (0.04, 0.0)],
)
def test_a_close_tells_the_limit_in_whole_seconds_or_in_tenths_of_the_first(
    idle: float, limit: float
) -> None:
    assert after(("closed", idle, 10.0)).limit == limit


def test_an_answer_that_was_read_late_does_not_cost_a_whole_second() -> None:
    evidence = after(("closed", 1.95, 0.0))
    assert evidence.limit == 1.0
    evidence.closed(2.003, 100.0)
    assert (evidence.shortest, evidence.limit) == (1.95, 2.0)
    # But the shortest tells of a server that looks once a second.
    assert after(("closed", 2.95, 0.0), ("closed", 2.97, 100.0), ("closed", 2.4, 200.0)).limit == 2.0
    assert after(("closed", 1.95, 0.0), ("closed", 2.4, 100.0)).limit == 1.0


def test_the_shortest_of_the_recent_closes_counts() -> None:
    evidence = after(*(("closed", idle, 100.0 * n) for n, idle in enumerate((5.3, 5.1, 5.6, 5.2))))
    assert (evidence.shortest, evidence.limit) == (5.1, 5.0)
    assert evidence.times_seen == 4
    for n in range(8):
        evidence.closed(6.1, 1000.0 + 100 * n)
    assert (evidence.shortest, evidence.limit) == (6.1, 6.0)


def test_connections_that_became_idle_together_are_closed_together() -> None:
    evidence = after(*(("closed", 5.0 + n / 100, 10.0 + n / 100) for n in range(20)))
    assert evidence.limit == 5.0
    # One moment, one observation.
    assert evidence.times_seen == 1


def test_a_server_that_looks_once_a_second_closes_at_different_idle_times() -> None:
    assert after(("closed", 2.9, 10.0), ("closed", 2.0, 10.0), ("closed", 2.5, 10.0)).limit == 2.0


@pytest.mark.parametrize("idles", [(3.0, 40.0), (40.0, 3.0), (1.0, 1.1, 9.0), (9.0, 1.0, 1.1, 30.0)])
def test_closes_at_the_same_time_after_different_idle_times_are_a_restart(idles: tuple[float, ...]) -> None:
    assert after(*(("closed", idle, 10.0 + n / 10) for n, idle in enumerate(idles))).limit is None


def test_a_restart_takes_nothing_from_what_was_seen_before() -> None:
    evidence = after(("closed", 60.0, 100.0), ("closed", 60.0, 300.0), ("closed", 2.0, 310.0))
    assert evidence.limit == 2.0
    for n, idle in enumerate((9.0, 33.0, 5.0)):
        evidence.closed(idle, 310.1 + n / 10)
    assert (evidence.limit, evidence.times_seen) == (60.0, 2)


@pytest.mark.parametrize("order", [("closed", "broke"), ("broke", "closed")])
def test_a_close_at_the_time_that_a_busy_connection_breaks_is_a_restart(order: tuple[str, str]) -> None:
    evidence = after(("closed", 60.0, 0.0), *((what, 3.0, 100.0 + n / 2) for n, what in enumerate(order)))
    assert (evidence.limit, evidence.times_seen) == (60.0, 1)
    evidence.closed(3.0, 102.0)
    assert evidence.limit == 3.0


def test_a_busy_connection_that_breaks_long_after_a_close_says_nothing_of_it() -> None:
    assert after(("closed", 5.0, 10.0), ("broke", 0.0, 11.5)).limit == 5.0


def test_a_close_is_dismissed_when_a_connection_lives_clearly_longer() -> None:
    evidence = after(("closed", 5.0, 10.0))
    evidence.lived(6.0)
    assert evidence.limit == 5.0
    evidence.lived(6.3)
    assert evidence.shortest is None
    assert evidence.limit is None
    assert after(("closed", 3.0, 10.0), ("closed", 75.0, 200.0)).limit == 75.0


def test_a_life_before_the_close_says_nothing_against_it() -> None:
    """The server may have been set anew."""
    assert after(("lived", 60.0, 0.0), ("closed", 5.0, 100.0)).limit == 5.0


def test_the_more_often_a_close_was_seen_the_more_lives_it_takes() -> None:
    evidence = after(*(("closed", 5.0, 100.0 * n) for n in range(3)))
    lives = 0
    while evidence.limit is not None:
        evidence.lived(20.0)
        lives += 1
    assert lives == 9


def test_one_of_several_servers_with_a_shorter_limit_is_not_forgotten() -> None:
    evidence = after(*(("closed", 5.0 if n % 2 else 75.0, 100.0 * n) for n in range(12)))
    assert evidence.limit == 5.0


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.integers(1, 30))
def test_of_a_server_that_looks_once_a_second_the_limit_is_known_whatever_lives_longer(
    moments: list[float], configured: int
) -> None:
    """Connections live until it looks, and those that are used before that have lived."""
    evidence = after(("closed", configured + 0.5, 0.0))
    for number, moment in enumerate(moments, 1):
        evidence.closed(configured + 0.97 * moment, 100.0 * number)
        for other in moments:
            evidence.lived(configured + other)
    assert evidence.limit == configured


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0), st.floats(1.5, 1000.0)), min_size=1, max_size=40),
)
def test_a_server_that_keeps_to_its_limit_is_known_exactly(
    limit: float, happened: list[tuple[bool, float, float]]
) -> None:
    evidence = IdleEvidence()
    now = 0.0
    closes = 0
    for is_close, jitter, pause in happened:
        now += pause
        if is_close:
            # A timer fires late, never early.
            evidence.closed(limit + 0.1 * jitter, now)
            closes += 1
        else:
            evidence.lived(limit * jitter)
    if closes:
        assert evidence.limit is not None
        assert evidence.limit == limit
    else:
        assert evidence.limit is None


@given(st.floats(0.0, 1000.0), st.floats(0.0, 1000.0))
def test_clearly_longer_goes_one_way(one: float, other: float) -> None:
    assert not (is_clearly_longer(one, other) and is_clearly_longer(other, one))
