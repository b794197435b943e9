"""What is borne of a server, and what we ask servers to bear."""

from __future__ import annotations

import pytest

from livepost.wire.frames import ConnectionFault, ErrorCode
from livepost.wire.patience import (
    BODY_BYTES_PER_FRAME,
    IDLE_FRAMES_LIMIT,
    CalmLimit,
    CancelBudget,
    Patience,
)


def test_patience_ends_and_begins_anew_with_every_request() -> None:
    patience = Patience()
    for next_id in (1, 3):
        for _ in range(IDLE_FRAMES_LIMIT):
            patience.spend(next_id)
    with pytest.raises(ConnectionFault) as caught:
        patience.spend(3)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    patience.spend(5)


def cancels(budget: CancelBudget, requests: int) -> int:
    """How many are allowed at once after so many requests."""
    count = 0
    while budget.spend(requests):
        count += 1
    return count


def test_cancels_are_earned_by_requests() -> None:
    budget = CancelBudget()
    assert cancels(budget, 0) == 2
    assert cancels(budget, 3) == 0
    assert cancels(budget, 4) == 1
    assert cancels(budget, 44) == 10
    assert cancels(budget, 10_000) == 100
    assert cancels(budget, 10_003) == 0


def stretch(calm: CalmLimit, next_id: int) -> int:
    """How many requests it takes until there is one place more."""
    places = calm.places_at(next_id)
    requests = 0
    while calm.places_at(next_id + 2 * requests) == places:
        requests += 1
    assert calm.places == places + 1
    return requests


def test_calm_halves_and_grows_by_one_after_64_times_as_many_requests() -> None:
    calm = CalmLimit()
    assert calm.places == 2**31 - 1
    calm.asked(1, 201, 100)
    assert calm.places == 50
    assert stretch(calm, 201) == 64 * 50
    assert stretch(calm, 201 + 2 * 64 * 50) == 64 * 51


def test_calm_is_asked_for_once_by_all_that_were_begun_before() -> None:
    calm = CalmLimit()
    for stream_id in (1, 199, 3):
        calm.asked(stream_id, 201, 100)
    assert calm.places == 50
    calm.asked(201, 301, 50)
    assert calm.places == 25
    for next_id in (401, 501, 601, 701, 801, 901):
        calm.asked(next_id - 100, next_id, 25)
    assert calm.places == 1


def test_with_every_call_for_calm_it_takes_twice_as_long_up_to_64_times() -> None:
    calm = CalmLimit()
    stretches = []
    next_id = 201
    for _ in range(9):
        calm.asked(next_id, next_id, 2)
        stretches.append(stretch(calm, next_id))
        next_id += 2 * stretches[-1]
    assert stretches == [64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096, 4_096]


def test_bodies_make_up_for_windows_and_for_nothing_else() -> None:
    patience = Patience()
    for _ in range(IDLE_FRAMES_LIMIT):
        patience.spend_on_window(1, 0)
    for number in range(1, 101):
        patience.spend_on_window(1, number * BODY_BYTES_PER_FRAME)
    with pytest.raises(ConnectionFault):
        patience.spend_on_window(1, 101 * BODY_BYTES_PER_FRAME - 1)


def test_what_bodies_have_made_up_for_outlives_the_next_request() -> None:
    patience = Patience()
    patience.spend_on_window(1, 50 * BODY_BYTES_PER_FRAME)
    for _ in range(IDLE_FRAMES_LIMIT + 49):
        patience.spend(3)
    with pytest.raises(ConnectionFault):
        patience.spend(3)
