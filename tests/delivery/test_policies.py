from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from schedule_world import HEAD, RUN_ID, TARGET

from livepost.config import DeliveryOptions, Limits
from livepost.delivery.classify import Sign, Verdict
from livepost.delivery.policies import Policies
from livepost.delivery.retry import RetryPolicy
from livepost.errors import ConfigurationError
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions

START = 100.0


def policies(retry_policy: RetryPolicy | None = None, method: bytes = b"POST", **groups: Any) -> Policies:
    return Policies.of(
        DeliveryOptions(target=TARGET, **groups),
        dataclasses.replace(HEAD, method=method),
        RUN_ID,
        now=START,
        wall_clock=lambda: 1_700_000_000.0,
        retry=retry_policy,
    )


def test_by_default_nothing_slows_a_run_and_there_is_no_order_and_no_key() -> None:
    made = policies()
    assert made.gate.is_open
    assert (made.order, made.keys) == (None, None)
    assert not made.rules.is_safe_to_repeat
    assert made.retry.attempts_per_record == 11
    assert policies(method=b"PUT").rules.is_safe_to_repeat


def test_each_option_reaches_its_policy() -> None:
    made = policies(
        outcome=OutcomeOptions(retry_on="404", success_on="401", location=True),
        retry=RetryOptions(
            retry=3, retry_max_time=60.0, idempotency_key="X-Key", idempotency_key_format="raw"
        ),
        pace=PaceOptions(rate="10/s", max_retry_after=5.0),
        order=OrderOptions(order_key="/id"),
    )
    assert made.rules.of_status[404].verdict is Verdict.TRY_AGAIN
    assert made.rules.of_status[307].verdict is Verdict.FOLLOW
    assert made.rules.is_safe_to_repeat, "a key makes it so"
    assert (made.retry.attempts_per_record, made.retry.max_seconds) == (4, 60.0)
    assert made.keys is not None
    name, key = made.keys.field(1)
    assert (name, len(key)) == (b"X-Key", 36)
    assert made.order is not None
    assert not made.gate.is_open
    assert made.gate.allow(START, 9) == 1
    hint = made.hints.read(503, ((b"retry-after", b"100"),))
    assert hint is not None
    assert hint.pause_seconds == 5.0
    assert [made.access.denied(status) for status in [401] * 30] == [None] * 30, "the user expects it"


def test_the_brake_reopens_as_far_as_there_are_connections() -> None:
    gate = policies(limits=Limits(3)).gate
    gate.note(Sign.STOP, START, START)
    now = gate.next_at(START)
    assert gate.allow(now, 9) == 1
    gate.note(Sign.WORKS, now, now)
    assert gate.allow(now, 9) == 2
    gate.note(Sign.WORKS, now, now)
    assert not gate.is_braked


def test_patience_is_as_the_user_says() -> None:
    gate = policies(pace=PaceOptions(start_timeout=2.0)).gate
    gate.dial_failed(START)
    gate.dial_failed(START + 2.0)
    assert "within 2 s" in str(gate.error)
    gate = policies(pace=PaceOptions(give_up_after=7.0)).gate
    gate.note(Sign.WORKS, START, START)
    gate.dial_failed(START)
    gate.dial_failed(START + 7.0)
    assert "for 7 s" in str(gate.error)


@pytest.mark.parametrize(("base", "first", "later"), [(0.1, 0.5, 1.0), (0.01, 0.05, 0.1), (10.0, 30.0, 30.0)])
def test_the_pauses_for_all_grow_with_those_of_one_record(base: float, first: float, later: float) -> None:
    retry = RetryPolicy(base_seconds=base, longest_seconds=30.0, uniform=lambda low, high: high)
    gate = policies(retry).gate
    gate.dial_failed(START)
    assert gate.next_at(START) == pytest.approx(min(START + first, START + 5.0))
    now = gate.next_at(START)
    gate.dial_failed(now)
    if gate.error is None:
        assert gate.next_at(now) == pytest.approx(now + later)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pace": PaceOptions(rate="10")},
        {"outcome": OutcomeOptions(success_on="abc")},
        {"outcome": OutcomeOptions(success_on="404", reject_on="404")},
        {"retry": RetryOptions(idempotency_key="no name")},
        {"order": OrderOptions(order_key="id")},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        policies(**wrong)
