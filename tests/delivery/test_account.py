from __future__ import annotations

import pytest
from schedule_world import HEAD, FakeObserver, FakeRecorder, record, rejection

from livepost.delivery.account import Account
from livepost.mark import IN_FLIGHT
from livepost.model import Outcome, State
from livepost.wire.message import Exchange, Response

UNSENT = Outcome(State.UNSENT, "not sent")
REJECTED = Outcome(State.REJECTED, "status 404")
IN_DOUBT = Outcome(State.IN_DOUBT, "no answer")
NOT_FOUND = Response(404, (), b"")


class World:
    """One record in flight, and an account of it."""

    def __init__(self) -> None:
        self.recorder = FakeRecorder()
        self.marks_when_told: list[str] = []
        self.observer = FakeObserver(lambda: self.marks_when_told.append(self.recorder.text))
        self.account = Account([self.observer, FakeObserver()], self.recorder)
        self.exchange = Exchange(HEAD, b"1", record(1), 2, 100.0)
        self.account.mark(self.exchange.record, IN_FLIGHT)


@pytest.mark.parametrize(
    ("outcome", "response", "mark", "concluded"),
    [
        (REJECTED, NOT_FOUND, "R", ["1 R after 2: status 404 404"]),
        (IN_DOUBT, None, "Q", ["1 Q after 2: no answer"]),
        (UNSENT, None, "", []),
    ],
)
def test_an_end_is_kept_before_it_is_told(
    outcome: Outcome, response: Response | None, mark: str, concluded: list[str]
) -> None:
    world = World()
    world.account.ended(world.exchange, outcome, response, 0.5)
    assert world.marks_when_told == [mark]
    assert world.recorder.concluded == concluded
    answer = "" if response is None else " 404"
    assert world.observer.told == [f"1 {outcome.state.value}: {outcome.reason}{answer}"]
    assert world.observer.seconds == [0.5]


@pytest.mark.parametrize(("has_doubt", "mark"), [(False, ""), (True, "F")])
def test_before_another_attempt_the_mark_says_whether_it_may_have_been_processed(
    has_doubt: bool, mark: str
) -> None:
    world = World()
    world.exchange.has_doubt = has_doubt
    world.account.again(world.exchange, "no_answer", None, 0.5)
    assert world.marks_when_told == [mark]
    assert world.observer.told == ["1 retried: no_answer"]


def test_what_waited_to_be_tried_again_is_left() -> None:
    world = World()
    world.account.again(world.exchange, "refused", None, 0.5)
    world.account.left(world.exchange.record, UNSENT, 2)
    assert (world.recorder.text, world.observer.told[1:]) == ("", ["1 unsent"])


@pytest.mark.parametrize("by_mark", [False, True])
def test_what_may_have_been_processed_is_left_in_doubt(by_mark: bool) -> None:
    """Also if only its mark says so, which an earlier process has left."""
    world = World()
    world.recorder.marks[1] = ord("F") if by_mark else 0
    world.account.left(world.exchange.record, UNSENT, 2, has_doubt=not by_mark)
    assert (world.recorder.text, world.observer.told) == ("Q", ["1 in_doubt"])
    reason = "1 Q after 2: not sent, after an attempt that may have been processed"
    assert world.recorder.concluded == [reason]


def test_what_was_never_tried_keeps_its_mark() -> None:
    world = World()
    world.account.left(record(2), UNSENT)
    world.account.rejected(rejection(3))
    assert world.observer.told == ["2 unsent", "3 rejected: not JSON"]
    assert world.recorder.text == "F.R"
    assert world.recorder.concluded == ["3 R after 0: not JSON"]


def test_nothing_need_be_kept() -> None:
    observer = FakeObserver()
    account = Account([observer], None)
    exchange = Exchange(HEAD, b"1", record(1), 1, 100.0)
    assert account.marks is None
    account.mark(exchange.record, IN_FLIGHT)
    account.again(exchange, "refused", None, 0.0)
    account.ended(exchange, REJECTED, NOT_FOUND, 0.0)
    account.left(exchange.record, UNSENT, 1)
    account.left(exchange.record, UNSENT, 1, has_doubt=True)
    account.rejected(rejection(2))
    assert observer.told == [
        "1 retried: refused",
        "1 rejected: status 404 404",
        "1 unsent",
        "1 in_doubt",
        "2 rejected: not JSON",
    ]
