from __future__ import annotations

import pytest

from livepost.delivery.access import AccessWatch


@pytest.mark.parametrize("status", [401, 403, 407, 511])
def test_if_the_first_twenty_are_denied_the_run_should_stop(status: int) -> None:
    watch = AccessWatch()
    assert watch.is_watching
    assert [watch.denied(status) for _ in range(19)] == [None] * 19
    error = watch.denied(status)
    assert str(error) == f"the server let none of the first 20 records in (status {status})"
    assert error is not None
    assert error.hint


def test_later_it_takes_a_hundred_in_a_row() -> None:
    watch = AccessWatch()
    watch.passed()
    assert not watch.is_watching
    assert [watch.denied(403) for _ in range(99)] == [None] * 99
    assert watch.is_watching
    watch.passed()
    assert [watch.denied(401) for _ in range(99)] == [None] * 99
    assert str(watch.denied(401)) == "the server let none of the last 100 records in (status 401)"


def test_another_rejection_shows_that_records_are_let_in() -> None:
    watch = AccessWatch()
    for _ in range(19):
        watch.denied(401)
    assert watch.denied(422) is None
    assert not watch.is_watching
    assert [watch.denied(401) for _ in range(99)] == [None] * 99


def test_what_the_user_expects_is_no_denial() -> None:
    watch = AccessWatch(frozenset((403,)))
    assert [watch.denied(403) for _ in range(200)] == [None] * 200
    assert not watch.is_watching
