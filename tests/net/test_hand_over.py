from __future__ import annotations

import pytest

from livepost.net.deadlines import NEVER
from livepost.net.hand_over import HandOver, HandOverReason, plan_hand_over


def plan(cap: float = NEVER, age: float = NEVER, *, rate: float = 0.0, dial: float = 0.0) -> HandOver:
    return plan_hand_over(cap, age, requests_per_second=rate, dial_seconds=dial, margin=0.5)


def test_without_limits_a_connection_is_never_replaced() -> None:
    assert plan(rate=1e6, dial=10.0) == HandOver()
    assert HandOver().due(10**9, 1e9) is None


@pytest.mark.parametrize(
    ("cap", "rate", "dial", "requests"),
    [
        (1000, 0.0, 0.0, 999),
        (1000, 100.0, 0.05, 995),
        (1000, 101.0, 0.05, 994),
        (1000, 1e6, 1.0, 500),
        (2, 5.0, 1.0, 1),
    ],
)
def test_as_many_requests_before_the_cap_as_are_sent_while_dialling(
    cap: int, rate: float, dial: float, requests: int
) -> None:
    planned = plan(cap, rate=rate, dial=dial)
    assert (planned.requests, planned.requests_limit) == (requests, cap)
    assert planned.age_seconds == planned.age_limit_seconds == NEVER


@pytest.mark.parametrize(("age", "dial", "at"), [(3600.0, 0.1, 3599.4), (10.0, 60.0, 5.0)])
def test_as_long_before_the_maximum_age_as_dialling_takes(age: float, dial: float, at: float) -> None:
    planned = plan(age=age, dial=dial)
    assert planned.age_seconds == pytest.approx(at)
    assert planned.age_limit_seconds == age


def test_the_reason_is_told() -> None:
    planned = plan(100, 60.0)
    assert planned.due(98, 59.0) is None
    assert planned.due(99, 59.0) is HandOverReason.CAP
    assert planned.due(98, 59.5) is HandOverReason.AGE
