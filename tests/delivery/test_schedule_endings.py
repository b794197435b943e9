"""How a record ends by what came of its attempts, what is told of it, and the mark that is kept."""

from __future__ import annotations

import pytest
from schedule_world import DOUBT, FakeRecorder, FakeSupply, World, record, rejection

from livepost.delivery.retry import RetryPolicy
from livepost.events import CloseReason
from livepost.model import Sent
from livepost.policy import OutcomeOptions
from livepost.wire.machine import Answered
from livepost.wire.message import Exchange, Response

ENDINGS: list[tuple[bytes, int | Sent, str, str]] = [
    # method, what came of it, what is told, the mark then
    (b"POST", 200, "1 delivered: status 200 200", "D"),
    (b"POST", 299, "1 delivered: status 299 299", "D"),
    (b"POST", 304, "1 rejected: status 304 304", "R"),
    (b"POST", 400, "1 rejected: status 400 400", "R"),
    (b"POST", 409, "1 rejected: status 409 409", "R"),
    (b"POST", 501, "1 rejected: status 501 501", "R"),
    (b"POST", 500, "1 in_doubt: status 500 500", "Q"),
    (b"POST", 502, "1 in_doubt: status 502 502", "Q"),
    (b"POST", 504, "1 in_doubt: status 504 504", "Q"),
    (b"POST", 999, "1 in_doubt: status 999 999", "Q"),
    (b"POST", Sent.SOME, "1 in_doubt: reset", "Q"),
    (b"POST", Sent.ALL, "1 in_doubt: reset", "Q"),
    (b"POST", 408, "1 retried: status_408", ""),
    (b"POST", 421, "1 retried: status_421", ""),
    (b"POST", 425, "1 retried: status_425", ""),
    (b"POST", 429, "1 retried: status_429", ""),
    (b"POST", 503, "1 retried: status_503", ""),
    (b"POST", Sent.NOTHING, "1 retried: not_sent", ""),
    (b"POST", Sent.REFUSED, "1 retried: refused", ""),
    (b"PUT", 503, "1 retried: status_503", ""),
    (b"PUT", 400, "1 rejected: status 400 400", "R"),
    (b"PUT", 500, "1 retried: status_500", "F"),
    (b"DELETE", 502, "1 retried: status_502", "F"),
    (b"GET", 504, "1 retried: status_504", "F"),
    (b"PUT", Sent.SOME, "1 retried: partly_sent", "F"),
    (b"PUT", Sent.ALL, "1 retried: no_answer", "F"),
]


@pytest.mark.parametrize(("method", "result", "told", "mark"), ENDINGS)
def test_each_row_of_the_table_comes_to_its_end_and_its_mark(
    method: bytes, result: int | Sent, told: str, mark: str
) -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1)), recorder=recorder, method=method)
    exchange = world.pull()
    assert recorder.text == "F"
    if isinstance(result, Sent):
        world.fail(exchange, result)
    else:
        world.answer(exchange, result)
    assert world.observer.told == [told]
    assert recorder.text == mark
    is_over = "retried" not in told
    assert world.finishes == is_over
    assert bool(world.reminders) != is_over
    if not is_over:
        world.advance(1.0)
        assert world.pull() is exchange
        assert recorder.text == "F"
        world.answer(exchange)
        assert (recorder.text, world.finishes) == ("D", 1)


@pytest.mark.parametrize("sent", [Sent.SOME, Sent.ALL])
def test_what_may_have_been_processed_is_in_doubt_and_not_sent_again(sent: Sent) -> None:
    world = World(FakeSupply(record(1)))
    exchange = world.pull()
    world.now += 2.0
    world.fail(exchange, sent, "no answer within 2 s")
    assert world.observer.told == ["1 in_doubt: no answer within 2 s"]
    assert world.observer.seconds == [2.0]
    world.pull_nothing()
    assert (world.finishes, world.reminders) == (1, [])


def test_a_timeout_is_told_apart_from_a_broken_connection() -> None:
    world = World(FakeSupply(record(1)), method=b"PUT")
    world.fail(world.pull(), Sent.ALL, cause=CloseReason.TIMEOUT)
    assert world.observer.told == ["1 retried: timeout"]


def test_an_answer_cut_off_counts_by_its_status() -> None:
    world = World(FakeSupply(record(1), record(2)))
    for status in (201, 404):
        response = Response(status, (), b"ha", complete=False)
        world.schedule.settle([Answered(world.pull(), response)], world.now)
    assert world.observer.told == [
        "1 delivered: status 201, answer cut off 201",
        "2 rejected: status 404, answer cut off 404",
    ]


def test_the_user_may_say_what_a_status_means() -> None:
    outcome = OutcomeOptions(success_on="409", reject_on="503", retry_on="404")
    world = World(FakeSupply(record(1), record(2), record(3)), outcome=outcome)
    for status in (409, 503, 404):
        world.answer(world.pull(), status)
    assert world.observer.told == [
        "1 delivered: status 409 409",
        "2 rejected: status 503 503",
        "3 retried: status_404",
    ]


MARKS_OF_A_LIFE = [
    # what happens, and the marks of both records after it
    ("pull", "F"),
    ("pull", "FF"),
    (Sent.NOTHING, ".F"),
    ("wait", ".F"),
    ("pull", "FF"),
    (Sent.ALL, "FF"),
    ("wait", "FF"),
    ("pull", "FF"),
    (Sent.NOTHING, "FF"),
    ("wait", "FF"),
    ("pull", "FF"),
    (404, "QF"),
]


def test_marks_show_at_each_step_what_a_crash_would_leave() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1), record(2)), recorder=recorder, method=b"PUT")
    first: Exchange | None = None
    for step, marks in MARKS_OF_A_LIFE:
        if step == "pull":
            pulled = world.pull()
            first = first or pulled
        elif step == "wait":
            world.advance(3.0)
        elif isinstance(step, Sent):
            assert first is not None
            world.fail(first, step)
        else:
            assert first is not None
            world.answer(first, 404)
        assert recorder.text == marks, step
    assert recorder.concluded == [f"1 Q after 4: status 404, {DOUBT} 404"]


@pytest.mark.parametrize("leaves_doubt", [False, True])
def test_a_doubt_stays_until_the_end_of_the_run(leaves_doubt: bool) -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1), record(2)), recorder=recorder, method=b"PUT")
    world.fail(world.pull(), Sent.ALL if leaves_doubt else Sent.NOTHING)
    world.schedule.stop()
    end = "in_doubt" if leaves_doubt else "unsent"
    assert world.observer.told[1:] == [f"1 {end}", "2 unsent"]
    assert recorder.text == ("Q" if leaves_doubt else "")
    reason = f"1 Q after 1: the run ended first, {DOUBT}"
    assert recorder.concluded == ([reason] if leaves_doubt else [])


@pytest.mark.parametrize(
    ("ends_by", "told", "mark"),
    [
        (Sent.NOTHING, f"1 in_doubt: reset, {DOUBT}", "Q"),
        (404, f"1 in_doubt: status 404, {DOUBT} 404", "Q"),
        (201, "1 delivered: status 201 201", "D"),
        (None, "1 in_doubt", "Q"),
    ],
)
def test_so_does_a_doubt_that_an_earlier_process_has_left(
    ends_by: int | Sent | None, told: str, mark: str
) -> None:
    recorder = FakeRecorder()
    recorder.marks[1] = ord("F")
    world = World(FakeSupply(record(1)), RetryPolicy(attempts_per_record=1), recorder=recorder, method=b"PUT")
    if ends_by is None:
        world.schedule.stop()
    elif isinstance(ends_by, Sent):
        world.fail(world.pull(), ends_by)
    else:
        world.answer(world.pull(), ends_by)
    assert (world.observer.told, recorder.text, world.finishes) == ([told], mark, 1)


def test_what_was_never_fit_to_send_is_kept_as_rejected() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(rejection(1), record(2)), recorder=recorder)
    assert world.pull_numbers(1) == [2]
    assert recorder.text == "RF"
    assert recorder.concluded == ["1 R after 0: not JSON"]
