from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from schedule_world import (
    HEAD,
    LONGEST,
    RUN_ID,
    FakeObserver,
    FakeRecorder,
    FakeSupply,
    World,
    record,
    rejection,
)

from livepost.delivery.retry import RetryPolicy
from livepost.errors import DestinationError
from livepost.events import CloseReason
from livepost.model import Record, Sent, State
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions
from livepost.wire.machine import Answered, Failed
from livepost.wire.message import Exchange, Response

DOUBT = "after an attempt that may have been processed"


def test_records_are_given_in_order_and_their_ends_told() -> None:
    world = World(FakeSupply(record(1), record(2), record(3)))
    first, second = world.pull(), world.pull()
    assert (first.head, first.body, first.record) == (HEAD, b"1", record(1))
    world.now += 0.25
    world.answer(second)
    third = world.pull()
    world.now += 0.5
    world.answer(third, 404)
    assert world.finishes == 0
    world.answer(first, 400)
    assert world.finishes == 1
    assert world.observer.told == [
        "2 delivered: status 201 201",
        "3 rejected: status 404 404",
        "1 rejected: status 400 400",
    ]
    assert world.observer.seconds == [0.25, 0.5, 0.75]
    assert world.schedule.read == 3
    world.pull_nothing()
    assert world.finishes == 1


def test_the_end_of_an_empty_supply_is_the_end() -> None:
    world = World(FakeSupply(ended=False))
    world.schedule.check_finished()
    world.pull_nothing()
    assert world.finishes == 0
    world.supply.has_ended = True
    world.schedule.check_finished()
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read, world.observer.told) == (1, 0, [])


def test_an_end_that_comes_late_is_noticed_by_the_pull() -> None:
    world = World(FakeSupply(record(1), ended=False))
    world.answer(world.pull())
    assert world.finishes == 0
    world.supply.has_ended = True
    world.pull_nothing()
    assert world.finishes == 1


def test_it_is_not_finished_while_one_is_in_flight() -> None:
    world = World(FakeSupply(record(1)))
    exchange = world.pull()
    world.pull_nothing()
    world.schedule.check_finished()
    assert world.finishes == 0
    world.answer(exchange)
    assert world.finishes == 1


def test_what_was_never_fit_to_send_needs_no_connection() -> None:
    world = World(FakeSupply(rejection(1), rejection(2)))
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read) == (1, 2)
    assert world.observer.told == ["1 rejected: not JSON", "2 rejected: not JSON"]


def test_rejections_before_a_record_are_settled_without_a_connection() -> None:
    world = World(FakeSupply(rejection(1), record(2), rejection(3)))
    world.schedule.check_finished()
    assert (world.finishes, world.schedule.read, world.schedule.waiting) == (0, 1, 2)
    world.answer(world.pull())
    assert (world.finishes, world.schedule.read, world.schedule.waiting) == (1, 3, 0)
    assert world.observer.told == [
        "1 rejected: not JSON",
        "2 delivered: status 201 201",
        "3 rejected: not JSON",
    ]


def test_a_pull_passes_over_rejections() -> None:
    world = World(FakeSupply(record(1), rejection(2), rejection(3), record(4), rejection(5)))
    first, second = world.pull(), world.pull()
    assert (first.record.number, second.record.number) == (1, 4)
    world.pull_nothing()
    assert (world.schedule.read, world.finishes) == (5, 0)
    world.answer(first)
    world.answer(second)
    assert world.finishes == 1


def test_waiting_is_what_can_be_pulled() -> None:
    world = World(FakeSupply(record(1), record(2), record(3), ended=False))
    assert world.schedule.waiting == 3
    exchange = world.pull()
    assert world.schedule.waiting == 2
    world.postpone(exchange)
    assert world.schedule.waiting == 2, "what must wait cannot be pulled"
    world.advance(0.1)
    world.schedule.check_finished()
    assert (world.schedule.waiting, world.finishes) == (3, 0)
    world.now += 0.001
    assert world.pull() is exchange, "what is ready again goes first, within the budget"
    assert world.schedule.waiting == 2
    world.schedule.stop()
    assert world.schedule.waiting == 0


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_cannot_have_been_processed_is_tried_again_up_to_six_times(sent: Sent) -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), sent, "reset")
    assert world.reminders == [pytest.approx(world.now + 0.001)], "at once"
    world.advance(0.001)
    for delay in (0.2, 0.4, 0.8, 1.6):
        world.fail(world.pull(), sent, "reset")
        assert world.reminders == [pytest.approx(world.now + delay)]
        world.advance(delay - 0.001)
        world.pull_nothing()
        world.advance(0.002)
    assert world.finishes == 0
    world.fail(world.pull(), sent, "reset")
    word = "not_sent" if sent is Sent.NOTHING else "refused"
    assert world.observer.told == [f"1 retried: {word}"] * 5 + ["1 unsent: reset"]
    assert (world.finishes, world.reminders) == (1, [])


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
def test_what_the_server_has_not_looked_at_goes_again_at_once_and_ahead(sent: Sent) -> None:
    """nginx: a hundred requests were on their way when it said that it had had its last."""
    world = World(FakeSupply(*map(record, range(1, 201))))
    refused = world.schedule.pull(100, world.now)
    events = [Failed(exchange, sent, "refused") for exchange in refused]
    world.schedule.settle(events, world.now)
    assert world.schedule.waiting == 200
    again = world.schedule.pull(150, world.now)
    assert again[:100] == refused, "no budget is asked"
    assert [exchange.record.number for exchange in again[100:]] == list(range(101, 151))
    # The second time it is like any other, and waits for its turn.
    world.schedule.settle(events, world.now)
    assert world.schedule.waiting == 50
    world.advance(0.201)
    again = world.schedule.pull(150, world.now)
    assert sum(exchange.attempts == 3 for exchange in again) == 37, "a quarter of the 150 fresh ones"
    assert sum(exchange.attempts == 1 for exchange in again) == 50


def test_a_refusal_after_another_failure_is_no_first_one() -> None:
    world = World(FakeSupply(record(1)))
    world.postpone(world.pull())
    world.advance(0.101)
    world.fail(world.pull(), Sent.REFUSED)
    world.pull_nothing()
    assert world.until_waiting() == pytest.approx(0.2)


def test_without_retries_not_even_what_was_refused_goes_again() -> None:
    world = World(FakeSupply(record(1)), RetryPolicy(attempts_per_record=1))
    world.fail(world.pull(), Sent.REFUSED, "refused")
    assert world.observer.told == ["1 unsent: refused"]


def test_refusals_during_an_outage_wait_for_the_brake() -> None:
    world = World(FakeSupply(record(1), record(2)))
    first, second = world.pull(), world.pull()
    world.answer(first, 503)
    world.fail(second, Sent.REFUSED)
    world.pull_nothing()
    assert world.until_waiting() > 0.25


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


def test_a_record_that_comes_back_may_end_in_any_way() -> None:
    world = World(FakeSupply(record(1), record(2), record(3)))
    exchanges = [world.pull() for _ in range(3)]
    for exchange in exchanges:
        world.fail(exchange, Sent.NOTHING)
    world.advance(1.0)
    assert [world.pull() for _ in range(3)] == exchanges
    world.answer(exchanges[0])
    world.fail(exchanges[1], Sent.ALL, "gone")
    world.answer(exchanges[2], 400)
    assert world.observer.told[3:] == [
        "1 delivered: status 201 201",
        "2 in_doubt: gone",
        "3 rejected: status 400 400",
    ]
    assert world.finishes == 1


def test_what_waits_comes_back_in_the_order_of_its_time() -> None:
    delays = iter([0.3, 0.1, 0.2, 0.1])
    world = World(FakeSupply(*map(record, range(1, 5))), RetryPolicy(uniform=lambda low, high: next(delays)))
    for exchange in [world.pull() for _ in range(4)]:
        world.postpone(exchange)
    world.advance(0.15)
    assert [world.pull().record.number for _ in range(2)] == [2, 4]
    world.pull_nothing()
    world.advance(1.0)
    assert [world.pull().record.number for _ in range(2)] == [3, 1]


def test_one_reminder_is_under_way_for_what_is_due_first() -> None:
    delays = iter([0.3, 0.5, 0.1])
    world = World(FakeSupply(*map(record, range(1, 4))), RetryPolicy(uniform=lambda low, high: next(delays)))
    for exchange in [world.pull() for _ in range(3)]:
        world.postpone(exchange)
    assert world.reminders == [pytest.approx(100.1)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.3)]
    world.advance(0.2)
    assert world.reminders == [pytest.approx(100.5)]


def test_a_reminder_that_comes_early_asks_again() -> None:
    world = World(FakeSupply(record(1)))
    world.postpone(world.pull())
    assert world.reminders == [pytest.approx(100.1)]
    world.reminders.clear()
    world.now = 100.0996
    world.schedule.release_due(world.now)
    world.pull_nothing()
    assert world.reminders == [pytest.approx(100.1, abs=0.001)]
    world.advance(0.002)
    assert world.pull().record.number == 1


def test_it_is_not_finished_while_one_is_ready_again() -> None:
    world = World(FakeSupply(record(1)))
    world.fail(world.pull(), Sent.NOTHING)
    world.schedule.check_finished()
    world.advance(0.2)
    world.schedule.check_finished()
    assert world.finishes == 0
    world.answer(world.pull())
    assert world.finishes == 1


def test_a_reminder_too_many_does_no_harm() -> None:
    world = World(FakeSupply(record(1)))
    world.schedule.release_due(world.now)
    exchange = world.pull()
    world.schedule.release_due(world.now)
    world.answer(exchange)
    world.schedule.release_due(world.now)
    assert (world.finishes, world.reminders) == (1, [])


def test_after_a_stop_nothing_is_pulled_and_what_is_in_flight_may_finish() -> None:
    world = World(FakeSupply(record(1), record(2), rejection(3), record(4), ended=False))
    exchange = world.pull()
    world.schedule.stop()
    world.pull_nothing()
    assert (world.finishes, world.schedule.waiting) == (0, 0)
    world.answer(exchange)
    assert world.finishes == 1
    assert world.schedule.read == 4
    assert world.observer.told == [
        "1 delivered: status 201 201",
        "2 unsent",
        "3 rejected: not JSON",
        "4 unsent",
    ]


def test_a_stop_with_nothing_in_flight_is_the_end() -> None:
    world = World(FakeSupply(record(1), ended=False))
    world.schedule.stop()
    world.schedule.stop()
    assert (world.finishes, world.observer.told) == (1, ["1 unsent"])


def test_a_stop_leaves_unsent_what_waits_to_be_tried_again() -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    exchanges = [world.pull() for _ in range(4)]
    world.fail(exchanges[1], Sent.NOTHING)
    world.advance(0.1)
    world.fail(exchanges[0], Sent.REFUSED)
    world.schedule.stop()
    assert world.finishes == 0
    world.fail(exchanges[2], Sent.NOTHING)
    world.fail(exchanges[3], Sent.ALL, "gone")
    assert world.finishes == 1
    assert world.observer.told == [
        "2 retried: not_sent",
        "1 retried: refused",
        "3 retried: not_sent",
        "4 in_doubt: gone",
        "2 unsent",
        "1 unsent",
        "3 unsent",
    ]


def test_after_a_stop_there_are_no_reminders() -> None:
    world = World(FakeSupply(record(1), record(2)))
    first, second = world.pull(), world.pull()
    world.schedule.stop()
    world.fail(first, Sent.NOTHING)
    world.schedule.release_due(world.now + 10)
    assert world.reminders == []
    world.answer(second)
    assert world.finishes == 1


def stopping_observer(world: list[World], words: str) -> FakeObserver:
    """Stops the schedule as soon as it is told something that begins so."""

    def stop() -> None:
        if observer.told[-1].startswith(words):
            world[0].schedule.stop()

    observer = FakeObserver(stop)
    return observer


@pytest.mark.parametrize("is_last_in_flight", [True, False])
def test_an_observer_may_stop_the_run_at_an_answer(is_last_in_flight: bool) -> None:
    worlds: list[World] = []
    world = World(FakeSupply(*map(record, range(1, 4))), LONGEST, stopping_observer(worlds, "1 delivered"))
    worlds.append(world)
    first = world.pull()
    second = None if is_last_in_flight else world.pull()
    world.answer(first)
    world.pull_nothing()
    if second is not None:
        assert world.finishes == 0
        world.answer(second)
    assert world.finishes == 1
    assert world.observer.told[0] == "1 delivered: status 201 201", "told before the run was finished"
    assert world.observer.states.total() == world.schedule.read == 3


def test_an_observer_may_stop_the_run_at_a_retry() -> None:
    worlds: list[World] = []
    world = World(FakeSupply(record(1), record(2)), LONGEST, stopping_observer(worlds, "1 retried"))
    worlds.append(world)
    world.fail(world.pull(), Sent.NOTHING)
    assert world.finishes == 1
    assert world.observer.told == ["1 retried: not_sent", "1 unsent", "2 unsent"]


def test_an_observer_may_stop_the_run_at_a_rejection_within_a_pull() -> None:
    """What that pull has taken by then still goes out."""
    worlds: list[World] = []
    world = World(
        FakeSupply(record(1), rejection(2), record(3), record(4)),
        LONGEST,
        stopping_observer(worlds, "2 rejected"),
    )
    worlds.append(world)
    for exchange in world.schedule.pull(2, world.now):
        world.answer(exchange)
    assert world.finishes == 1
    assert world.observer.told == [
        "2 rejected: not JSON",
        "1 delivered: status 201 201",
        "3 delivered: status 201 201",
        "4 unsent",
    ]


def test_an_observer_may_stop_the_run_at_a_rejection_without_a_connection() -> None:
    worlds: list[World] = []
    world = World(
        FakeSupply(rejection(1), rejection(2), record(3)), LONGEST, stopping_observer(worlds, "1 rejected")
    )
    worlds.append(world)
    world.schedule.check_finished()
    assert world.finishes == 1
    assert world.observer.states == {State.REJECTED: 2, State.UNSENT: 1}
    assert world.schedule.read == 3


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


def test_a_brake_pauses_everything_and_reopens_with_one_probe() -> None:
    world = World(FakeSupply(*map(record, range(1, 10)), ended=False))
    exchanges = world.schedule.pull(4, world.now)
    world.answer(exchanges[0], 503)
    assert world.schedule.waiting == 0
    world.pull_nothing()
    assert world.until_waiting() == pytest.approx(0.5)
    assert world.schedule.waiting == 1, "one probe"
    probe = world.pull()
    assert probe.record.number == 5, "not the record that has failed"
    assert world.schedule.waiting == 0
    world.pull_nothing()
    world.answer(probe)
    assert world.schedule.waiting == 2, "two once it has worked"
    assert world.reminders == [pytest.approx(world.now + 0.001)], "for connections that wait without work"
    more = world.schedule.pull(4, world.now)
    assert [exchange.record.number for exchange in more] == [6, 7]
    world.answer(more[0])
    assert world.schedule.waiting == 2


def test_a_record_that_has_failed_probes_only_if_there_is_no_other() -> None:
    world = World(FakeSupply(record(1), record(2), ended=False))
    first, second = world.pull(), world.pull()
    world.answer(first, 503)
    world.answer(second, 201)
    world.until_waiting()
    assert world.pull() is first


def test_an_outage_uses_up_no_tries() -> None:
    world = World(
        FakeSupply(record(1)),
        RetryPolicy(attempts_per_record=3, uniform=lambda low, high: high),
        pace=PaceOptions(start_timeout=None),
    )
    for _ in range(50):
        world.answer(world.pull(), 503)
        world.until_waiting()
    exchange = world.pull()
    assert (exchange.attempts, exchange.tries) == (51, 1)
    world.answer(exchange)
    assert world.observer.states == {State.DELIVERED: 1}


def test_the_end_of_patience_ends_the_run() -> None:
    world = World(FakeSupply(*map(record, range(1, 10))), pace=PaceOptions(give_up_after=10.0))
    world.answer(world.pull())
    while not world.errors:
        if world.schedule.waiting:
            world.answer(world.pull(), 503)
        else:
            world.until_reminded()
    assert world.now == pytest.approx(110.0, abs=0.01)
    assert str(world.errors[0]) == "the server has taken nothing for 10 s: status 503"
    assert "--give-up-after" in world.errors[0].hint
    assert isinstance(world.errors[0], DestinationError)
    assert world.finishes == 1
    assert world.observer.states == {State.DELIVERED: 1, State.UNSENT: 8}


def test_a_dial_that_failed_pauses_all_and_says_when_the_next_may_be() -> None:
    world = World(FakeSupply(record(1)))
    assert world.schedule.waiting == 1
    assert world.schedule.dial_failed(world.now) == pytest.approx(0.5)
    assert world.schedule.waiting == 0
    assert world.until_reminded() == pytest.approx(0.5)
    assert world.schedule.waiting == 1
    assert world.schedule.dial_failed(world.now) == pytest.approx(1.0), "that dial was the probe"
    world.until_reminded()
    world.answer(world.pull())
    assert world.finishes == 1


def test_dials_that_fail_too_long_are_given_up() -> None:
    world = World(FakeSupply(record(1)), pace=PaceOptions(start_timeout=3.0))
    delays = []
    while (delay := world.schedule.dial_failed(world.now)) is not None:
        delays.append(delay)
        world.advance(delay)
    assert delays == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(1.5)]
    assert world.errors == [], "whoever dials knows why, and says so"


def test_retry_after_slows_the_whole_destination() -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    world.answer(world.pull(), 503, (b"retry-after", b"20"))
    assert world.until_waiting() == pytest.approx(22.0), "as asked, and up to a tenth more"
    assert world.pull_numbers(4) == [2]


@pytest.mark.parametrize("status", [201, 404])
def test_a_quota_that_is_used_up_is_a_pause(status: int) -> None:
    world = World(FakeSupply(*map(record, range(1, 5))))
    world.answer(world.pull(), status, (b"ratelimit", b'"a";r=0;t=30'))
    assert world.schedule.waiting == 0
    assert world.until_reminded() == pytest.approx(33.0)
    assert world.pull_numbers(4) == [2]


def test_a_quota_slows_the_requests_while_it_lasts() -> None:
    world = World(FakeSupply(*map(record, range(1, 100))))
    quota = (b"ratelimit-policy", b'"a";q=20;w=10'), (b"ratelimit", b'"a";r=5;t=10')
    world.answer(world.pull(), 201, *quota)
    numbers = []
    for _ in range(4):
        assert world.until_waiting() == pytest.approx(2.0)
        numbers += world.pull_numbers(9)
    assert numbers == [2, 3, 4, 5]
    assert world.until_waiting() == pytest.approx(2.0)
    assert len(world.pull_numbers(9)) == 9, "the ten seconds are over"


def test_retries_are_a_fifth_of_all_while_there_are_fresh_records() -> None:
    world = World(FakeSupply(*map(record, range(1, 2000))), RetryPolicy(uniform=lambda low, high: 0.0))
    for exchange in world.schedule.pull(400, world.now):
        world.postpone(exchange)
    pulled = world.schedule.pull(400, world.now)
    again = [exchange for exchange in pulled if exchange.attempts == 2]
    assert (len(pulled), len(again)) == (400, 100), "a quarter of the 400 fresh ones before"
    pulled = world.schedule.pull(400, world.now)
    assert sum(exchange.attempts == 2 for exchange in pulled) == 75, "a quarter of 300"


def test_a_retry_beyond_the_budget_comes_later_on_a_connection_that_waits() -> None:
    world = World(FakeSupply(record(1), ended=False), RetryPolicy(uniform=lambda low, high: 0.0))
    world.postpone(world.pull())
    world.arrive(record(2))
    fresh = world.schedule.pull(4, world.now)
    assert [exchange.record.number for exchange in fresh] == [2]
    assert world.schedule.waiting == 0, "nothing is dialled for what the budget keeps back"
    assert world.reminders == [pytest.approx(100.001)]
    world.until_reminded()
    assert world.pull_numbers(4) == [1], "nothing fresh is left, so no budget is asked"


def test_a_budget_that_is_spent_asks_to_be_reminded() -> None:
    world = World(FakeSupply(*map(record, range(1, 9))), RetryPolicy(uniform=lambda low, high: 0.0))
    world.postpone(world.pull())
    world.until_reminded()
    assert world.pull_numbers(1) == [2]
    assert world.reminders == [pytest.approx(100.076)], "a quarter is earned, and ten a second are given"
    world.until_reminded()
    assert world.pull_numbers(1) == [1]


def test_a_rate_is_kept_and_the_requests_are_evenly_spread() -> None:
    world = World(FakeSupply(*map(record, range(1, 1000))), pace=PaceOptions(rate="50/s"))
    pulled = [(world.now, len(world.schedule.pull(100, world.now)))]
    while world.now < 110.0:
        world.until_reminded()
        pulled.append((world.now, len(world.schedule.pull(100, world.now))))
    assert pulled[0] == (100.0, 5), "a burst of a tenth of a second"
    assert {count for _, count in pulled[1:]} == {1}
    assert sum(count for _, count in pulled) == pytest.approx(505, abs=1)


def test_a_rate_that_nothing_waits_for_wakes_nobody() -> None:
    world = World(FakeSupply(record(1), ended=False), pace=PaceOptions(rate="2/s"))
    world.answer(world.pull())
    assert world.reminders == [pytest.approx(100.5)], "that there is a token again"
    world.until_reminded()
    world.pull_nothing()
    assert world.reminders == []
    world.now += 60.0
    world.arrive(record(2))
    assert world.schedule.waiting == 1
    assert world.pull().record.number == 2


def test_after_the_end_there_are_no_reminders() -> None:
    world = World(FakeSupply(record(1)), pace=PaceOptions(rate="2/s"))
    world.answer(world.pull())
    assert world.finishes == 1
    world.schedule.release_due(world.now)
    world.reminders.clear()
    world.schedule.release_due(world.now + 0.1)
    world.pull_nothing()
    assert world.reminders == []


def test_the_order_is_slot_then_rate_then_attempt_then_release_then_wait() -> None:
    """Whoever waits to be tried again holds no slot and no token; a rate is asked only with a slot."""
    log: list[str] = []
    world = World(
        FakeSupply(record(1), record(2)),
        LONGEST,
        FakeObserver(lambda: log.append("attempt ended")),
        pace=PaceOptions(rate="1/s"),
    )
    allow = world.policies.gate.allow
    add = world.policies.retries.add

    def allowing(now: float, wanted: int) -> int:
        granted = allow(now, wanted)
        log.append(f"slot free, rate asked: {granted} of {wanted}")
        return granted

    def adding(exchange: Exchange, at: float) -> None:
        log.append("waits")
        add(exchange, at)

    world.schedule._gate = SpiedGate(world.policies.gate, allowing)  # type: ignore[assignment]
    world.schedule._retries = SpiedRetries(world.policies.retries, adding)  # type: ignore[assignment]
    exchange = world.pull()
    log.append(f"attempt {exchange.attempts} of {exchange.record.number}")
    world.postpone(exchange)
    in_flight = world.schedule._in_flight
    log.append(f"released: {in_flight} in flight")
    world.pull_nothing()
    world.advance(1.0)
    log.append(f"attempt of {world.pull().record.number}")
    assert log == [
        "slot free, rate asked: 1 of 1",
        "attempt 1 of 1",
        "attempt ended",
        "waits",
        "released: 0 in flight",
        "slot free, rate asked: 0 of 1",
        "slot free, rate asked: 1 of 1",
        "attempt of 1",
    ]


class Spied:
    """Passes everything on but one call."""

    def __init__(self, spied: Any, call: Callable[..., Any]) -> None:
        self._spied = spied
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spied, name)

    def __len__(self) -> int:
        return len(self._spied)


class SpiedGate(Spied):
    def allow(self, now: float, wanted: int) -> int:
        return int(self._call(now, wanted))


class SpiedRetries(Spied):
    def add(self, exchange: Exchange, at: float) -> None:
        self._call(exchange, at)


def keyed(number: int, key: str) -> Record:
    return Record(number, b'{"key": "%s"}' % key.encode(), "-", number)


def test_in_strict_order_one_is_under_way_and_no_more_is_dialled_for() -> None:
    world = World(FakeSupply(*map(record, range(1, 4))), order=OrderOptions(ordered=True))
    world.schedule.arrived()
    assert world.schedule.waiting == 1
    exchange = world.pull()
    assert world.schedule.waiting == 0
    world.postpone(exchange)
    assert world.schedule.waiting == 0, "the second waits for the first, which waits for its time"
    world.until_reminded()
    assert world.schedule.waiting == 1
    assert world.pull() is exchange
    world.answer(exchange)
    assert world.schedule.waiting == 1
    assert world.pull_numbers(9) == [2]


@pytest.mark.parametrize("ends_by", [404, 500])
def test_a_failure_in_strict_order_leaves_the_rest_unsent(ends_by: int) -> None:
    recorder = FakeRecorder()
    world = World(
        FakeSupply(record(1), record(2), rejection(3), record(4)),
        recorder=recorder,
        order=OrderOptions(ordered=True),
    )
    world.answer(world.pull(), ends_by)
    assert world.finishes == 1
    assert sorted(world.observer.told)[1:] == ["2 unsent", "3 rejected: not JSON", "4 unsent"]
    assert recorder.text == ("R" if ends_by == 404 else "Q") + ".R"


def test_a_failure_in_strict_order_may_be_skipped() -> None:
    order = OrderOptions(ordered=True, on_key_failure="skip")
    world = World(FakeSupply(record(1), record(2)), order=order)
    world.answer(world.pull(), 404)
    world.answer(world.pull())
    assert world.observer.told == ["1 rejected: status 404 404", "2 delivered: status 201 201"]


def test_records_of_one_key_go_one_after_the_other_and_others_meanwhile() -> None:
    supply = FakeSupply(keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), record(4), keyed(5, "a"))
    world = World(supply, order=OrderOptions(order_key="/key"))
    world.schedule.arrived()
    assert world.schedule.waiting == 3
    first, third, fourth = world.schedule.pull(9, world.now)
    assert [x.record.number for x in (first, third, fourth)] == [1, 3, 4], "the fourth has no key"
    assert world.schedule.waiting == 0
    world.answer(third)
    assert world.schedule.waiting == 0
    world.answer(first)
    assert world.schedule.waiting == 1
    second = world.pull()
    assert second.record.number == 2
    world.answer(second)
    world.answer(world.pull())
    world.answer(fourth)
    assert world.finishes == 1


def test_a_failure_stops_its_key_alone() -> None:
    supply = FakeSupply(keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "a"), ended=False)
    world = World(supply, order=OrderOptions(order_key="/key"))
    first, third = world.schedule.pull(9, world.now)
    world.answer(first, 404)
    assert world.observer.told == ["1 rejected: status 404 404", "2 unsent", "4 unsent"]
    world.arrive(keyed(5, "a"), keyed(6, "b"))
    assert world.observer.told[3:] == ["5 unsent"]
    world.answer(third)
    assert world.pull_numbers(9) == [6]


def test_a_stop_by_whoever_hears_of_a_key_that_was_stopped_ends_the_run_once_all_are_told() -> None:
    worlds: list[World] = []
    supply = FakeSupply(keyed(1, "a"), keyed(2, "b"), keyed(3, "a"), keyed(4, "a"))
    stopping = stopping_observer(worlds, "3 unsent")
    world = World(supply, LONGEST, stopping, order=OrderOptions(order_key="/key"))
    worlds.append(world)
    first, second = world.schedule.pull(2, world.now)
    world.answer(first, 404)
    assert (world.finishes, world.observer.told[1:]) == (0, ["3 unsent", "4 unsent"])
    world.answer(second)
    assert world.finishes == 1


def test_what_an_end_sets_free_wakes_connections_that_wait() -> None:
    """So many are held behind one key that no more is read until its record has ended."""
    count = 10_300
    supply = FakeSupply(*(keyed(number, "a") for number in range(1, count)), record(count), record(count + 1))
    world = World(supply, order=OrderOptions(order_key="/key"))
    (first,) = world.schedule.pull(2, world.now)
    assert (world.schedule.waiting, world.reminders) == (0, [])
    for number in range(2, 400):
        world.answer(first)
        if world.schedule.waiting > 1:
            break
        first = world.pull()
        assert first.record.number == number
    assert world.schedule.waiting == 3, "its next, and the two behind those of the key"
    assert world.reminders == [pytest.approx(100.001)]


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_key_stays_with_its_record(is_plain: bool) -> None:
    order = OrderOptions(ordered=not is_plain)
    world = World(
        FakeSupply(record(1), record(2)), retry=RetryOptions(idempotency_key="Idempotency-Key"), order=order
    )
    exchange = world.pull()
    key = b'"%b"' % str(uuid.uuid5(RUN_ID, "1")).encode()
    assert exchange.fields == ((b"Idempotency-Key", key),)
    world.fail(exchange, Sent.ALL)
    world.advance(1.0)
    assert world.observer.told == ["1 retried: no_answer"], "it is safe to repeat now"
    while (pulled := world.pull()) is not exchange:
        assert pulled.fields != exchange.fields
    assert exchange.fields == ((b"Idempotency-Key", key),)


def test_without_keys_nothing_is_added_to_a_request() -> None:
    assert World(FakeSupply(record(1))).pull().fields == ()


FOLLOWING = OutcomeOptions(location=True)


def test_a_redirect_within_the_server_is_followed_at_once_and_is_no_retry() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(*map(record, range(1, 9))), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 307, (b"location", b"/new?x=1"))
    assert recorder.text == ""
    assert world.observer.told == ["1 retried: status_307"]
    assert world.pull() is exchange, "before what is fresh, and no budget is asked"
    assert recorder.text == "F"
    assert (exchange.head.method, exchange.head.target, exchange.body) == (b"POST", b"/new?x=1", b"1")
    assert (exchange.attempts, exchange.tries) == (2, 0)
    world.fail(exchange, Sent.NOTHING)
    world.advance(1.0)
    assert world.schedule.pull(2, world.now)[0] is exchange
    assert exchange.head.target == b"/new?x=1", "it is tried again where it was led"
    world.answer(exchange)
    assert world.observer.told[1:] == ["1 retried: not_sent", "1 delivered: status 201 201"]


def test_a_redirect_to_another_server_goes_over_connections_of_its_own() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1), record(2)), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 308, (b"location", b"http://other.test:8080/api"))
    (lane,) = world.lanes.values()
    assert lane.waiting == 1
    assert world.reminders == [pytest.approx(100.001)], "so that its connections are made"
    assert world.schedule.waiting == 1, "the fresh one"
    assert world.pull_numbers(9) == [2]
    assert lane.pull(9, world.now) == [exchange]
    assert (lane.waiting, exchange.attempts, exchange.sent_at) == (0, 2, world.now)
    assert (exchange.head.authority, exchange.head.target) == (b"other.test:8080", b"/api")
    assert recorder.text == "FF"
    lane.settle([Failed(exchange, Sent.NOTHING, "reset")], world.now)
    world.advance(1.0)
    assert lane.waiting == 1
    world.schedule.stop()
    assert lane.waiting == 0
    assert lane.pull(9, world.now) == []


def test_lanes_heed_the_same_brake_and_rate() -> None:
    world = World(
        FakeSupply(*map(record, range(1, 9)), ended=False), outcome=FOLLOWING, pace=PaceOptions(rate="20/s")
    )
    first, second = world.schedule.pull(2, world.now)
    for exchange in (first, second):
        world.answer(exchange, 307, (b"location", b"http://other.test/"))
    (lane,) = world.lanes.values()
    assert lane.waiting == 0, "the burst of two is used up"
    world.advance(0.05)
    assert lane.waiting == 1
    assert lane.pull(2, world.now) == [first]
    world.answer(first, 503)
    world.advance(0.2)
    assert lane.waiting == world.schedule.waiting == 0
    world.advance(0.3)
    assert lane.waiting == world.schedule.waiting == 1
    assert lane.pull(2, world.now) == [second]
    assert lane.waiting == world.schedule.waiting == 0, "one probe for both"


def test_a_record_that_was_processed_before_its_redirect_is_never_rejected() -> None:
    recorder = FakeRecorder()
    world = World(FakeSupply(record(1)), recorder=recorder, outcome=FOLLOWING)
    exchange = world.pull()
    world.answer(exchange, 303, (b"location", b"/result"))
    assert recorder.text == "F"
    assert world.pull() is exchange
    assert (exchange.head.method, exchange.body) == (b"GET", b"")
    world.answer(exchange, 404)
    assert world.observer.told[1:] == [f"1 in_doubt: status 404, {DOUBT} 404"]


@pytest.mark.parametrize(
    ("status", "location", "reason"),
    [
        (307, b"/", "the redirects go round in a circle"),
        (302, b"/new", "the redirect would turn the POST into a GET without the record"),
        (301, b"/new", "the redirect would turn the POST into a GET without the record"),
        (308, b"ftp://a", "the redirect's address cannot be understood"),
    ],
)
def test_a_redirect_that_cannot_be_followed_rejects(status: int, location: bytes, reason: str) -> None:
    world = World(FakeSupply(record(1)), outcome=FOLLOWING)
    world.answer(world.pull(), status, (b"location", location))
    assert world.observer.told == [f"1 rejected: status {status}: {reason} {status}"]
    assert world.finishes == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_nobody_in_ends_the_run_early(status: int) -> None:
    world = World(FakeSupply(*map(record, range(1, 1000))))
    while not world.errors:
        world.answer(world.pull(), status)
    assert world.observer.states == {State.REJECTED: 20, State.UNSENT: 979}
    assert str(world.errors[0]) == f"the server let none of the first 20 records in (status {status})"
    assert world.finishes == 1


def test_records_that_are_forbidden_among_others_end_nothing() -> None:
    world = World(FakeSupply(*map(record, range(1, 300))))
    for number in range(1, 300):
        world.answer(world.pull(), 201 if number % 50 == 1 else 403)
    assert world.errors == []
    assert world.observer.states == {State.REJECTED: 293, State.DELIVERED: 6}


def test_nothing_fresh_is_given_while_too_many_wait_to_be_tried_again() -> None:
    count = 10_000
    world = World(FakeSupply(*map(record, range(1, count + 3))), RetryPolicy(uniform=lambda low, high: 1.0))
    for exchange in world.schedule.pull(count, world.now):
        world.postpone(exchange)
    assert world.schedule.waiting == 0
    world.pull_nothing()
    world.advance(1.0)
    assert world.schedule.waiting == count
    assert world.pull_numbers(3) == [1, 2, 3], "no budget keeps them then"
    assert world.schedule.waiting == count - 3 + 2
