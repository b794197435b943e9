from __future__ import annotations

import pytest

from livepost.net.requests_limit import RequestsLimit


@pytest.mark.parametrize(
    ("ends", "known"),
    [
        ([], None),
        ([1000], None),
        ([1000, 1000], 1000),
        ([1000, 317, 1000], None),
        ([1000, 1000, 317], 1000),
        ([1000, 1000, 317, 317], 317),
        ([1000, 1000, 1001], None),
        ([1000, 1000, 1001, 1001], 1001),
        # A connection for each request is no limit to prepare for.
        ([1, 1, 1], None),
    ],
)
def test_twice_the_same_in_a_row_is_a_limit(ends: list[int], known: int | None) -> None:
    limit = RequestsLimit()
    for requests in ends:
        before = limit.known
        assert limit.learn(requests) is (limit.known != before)
    assert limit.known == known


def test_what_was_no_limit_is_forgotten() -> None:
    limit = RequestsLimit()
    limit.learn(50)
    limit.learn(50)
    limit.forget()
    assert limit.known is None
    limit.learn(50)
    assert limit.known is None


@pytest.mark.parametrize(
    ("answered", "known"),
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
    answered: list[int], known: int | None
) -> None:
    limit = RequestsLimit()
    for number in answered:
        before = limit.known
        assert limit.let_down(number) is (limit.known != before)
    assert (limit.known, limit.is_ours) == (known, known is not None)


def test_a_limit_of_ours_outweighs_what_the_server_says() -> None:
    limit = RequestsLimit()
    for _ in range(2):
        limit.learn(1100)
        limit.let_down(1000)
    # One that was on its way there when that was found out.
    assert not limit.learn(1100)
    assert (limit.known, limit.is_ours) == (1000, True)
