from __future__ import annotations

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.fault_plan import FaultPlan, Faults, FaultScript, HeadSeen, Rule, TimedFault, When
from livepost.rehearsal.faults import Fault, FaultKind, fault_of_status

BUSY = fault_of_status(503)
LATE = Fault(FaultKind.LATE)
GONE = Fault(FaultKind.OUTAGE, lasts_seconds=2.0)


class ManualClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def head(number: int) -> HeadSeen:
    return HeadSeen(number, 1, number, b"POST", b"/api", b"/api", ())


def struck(faults: Faults, requests: int = 30) -> list[int]:
    """Which of the first requests meet a fault."""
    return [n for n in range(1, requests + 1) if faults.for_request(head(n)) is not None]


def plan(*rules: Rule, seed: int = 0) -> FaultPlan:
    made = FaultPlan(rules, seed=seed)
    made.start(ManualClock())
    return made


@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        (When(), list(range(1, 31))),
        (When(every=10), [10, 20, 30]),
        (When(first=3, last=5), [3, 4, 5]),
        (When(first=29), [29, 30]),
        (When(last=2), [1, 2]),
        (When(every=2, first=5, last=9), [6, 8]),
        (When(probability=0.0), []),
        (When(probability=1.0, every=15), [15, 30]),
    ],
)
def test_which_requests_are_struck(when: When, numbers: list[int]) -> None:
    assert struck(plan(Rule(BUSY, when))) == numbers


def test_times_count_from_the_start() -> None:
    clock = ManualClock()
    faults = FaultPlan([Rule(BUSY, When(after_seconds=5, before_seconds=7))])
    faults.start(clock)
    seen = []
    for now in (1000.0, 1004.9, 1005.0, 1006.9, 1007.0):
        clock.now = now
        seen.append(faults.for_request(head(1)))
    assert seen == [None, None, BUSY, BUSY, None]


def test_a_seed_repeats_the_chances() -> None:
    rule = Rule(BUSY, When(probability=0.2))
    first = struck(plan(rule, seed=1), 1000)
    assert first == struck(plan(rule, seed=1), 1000)
    assert first != struck(plan(rule, seed=2), 1000)
    assert 150 < len(first) < 250


def test_a_rule_beside_it_and_its_window_leave_the_chances_of_a_rule_alone() -> None:
    second = Rule(LATE, When(probability=0.5))
    beside = plan(Rule(BUSY, When(every=3)), second)
    single = plan(Rule(BUSY, When(first=31)), second)
    windowed = plan(Rule(BUSY, When(first=31)), Rule(LATE, When(probability=0.5, first=11)))
    assert [n for n in struck(beside) if n % 3] == [n for n in struck(single) if n % 3]
    assert struck(windowed) == [n for n in struck(plan(Rule(BUSY, When(first=31)), second)) if n > 10]


def test_the_first_rule_that_applies_wins() -> None:
    faults = plan(Rule(BUSY, When(every=2)), Rule(LATE, When(every=3)))
    assert [faults.for_request(head(n)) for n in range(1, 7)] == [None, BUSY, LATE, BUSY, None, BUSY]


def test_connections_are_struck_by_their_own_rules() -> None:
    reset = Fault(FaultKind.RESET_ON_ACCEPT)
    faults = plan(Rule(reset, When(every=2)), Rule(BUSY, When(first=3)))
    assert [faults.for_connection(n) for n in range(1, 5)] == [None, reset, None, reset]
    assert struck(faults, 4) == [3, 4]


def test_a_fault_of_the_listener_begins_by_itself_unless_it_waits_for_requests() -> None:
    by_itself = Rule(GONE, When(after_seconds=5))
    with_request = Rule(GONE, When(first=3, last=3))
    faults = FaultPlan([by_itself, with_request, Rule(BUSY, When(after_seconds=1))])
    assert (by_itself.begins_by_itself, with_request.begins_by_itself) == (True, False)
    assert faults.start(ManualClock()) == (TimedFault(5.0, GONE),)
    assert [faults.for_request(head(n)) for n in (2, 3, 4)] == [None, GONE, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probability": 1.5}, "the probability is 1.5"),
        ({"probability": -0.1}, "the probability is -0.1"),
        ({"every": 0}, "requests are counted from 1"),
        ({"first": 0}, "requests are counted from 1"),
        ({"first": 5, "last": 4}, "nothing is from request 5 to 4"),
        ({"after_seconds": 5.0, "before_seconds": 5.0}, "nothing is from 5 s to 5 s"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        When(**values)  # type: ignore[arg-type]
    assert (str(caught.value), bool(caught.value.hint)) == (message, True)


def test_a_script_lists_the_faults_one_by_one() -> None:
    faults = FaultScript([None, None, BUSY], connections=[None, LATE])
    assert struck(faults) == [3]
    assert [faults.for_connection(n) for n in (1, 2, 3)] == [None, LATE, None]
    assert faults.start(ManualClock()) == ()


def test_a_script_may_never_end() -> None:
    assert struck(FaultScript(BUSY if n % 4 == 3 else None for n in range(10**9)), 9) == [4, 8]


def test_a_script_may_look_at_the_head() -> None:
    assert struck(FaultScript(lambda seen: BUSY if seen.request_on_connection == 7 else None)) == [7]
