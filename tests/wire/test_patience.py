"""What is borne of a server, and what we ask servers to bear."""

from __future__ import annotations

import pytest

from livepost.wire.frames import ConnectionFault, ErrorCode
from livepost.wire.patience import BODY_BYTES_PER_FRAME, IDLE_FRAMES_LIMIT, CancelBudget, Patience


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
