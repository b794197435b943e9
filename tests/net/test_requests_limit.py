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
