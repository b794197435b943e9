from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT, Mark
from livepost.model import Record, Rejection
from livepost.runs.resumption import Resumption, kept_batches
from livepost.runs.run import Run

Item = Record | Rejection


def record(number: int) -> Record:
    return Record(number, b'{"n":%d}' % number, "-", number)


def kill(run: Run) -> None:
    """What the end of the process does to a run: nothing more is written, and the lock is free."""
    os.close(run.states._file)
    run.states._file = -1
    run._lock.release()


def interrupted(path: Path, marks: bytes) -> Run:
    """A run that was killed with these marks, and is opened again."""
    run = Run.create(path, {})
    run.reserve([record(number) for number in range(1, len(marks) + 1)])
    run.states.marks[1 : len(marks) + 1] = marks
    kill(run)
    return Run.open(path)


def letters(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_what_was_settled_is_left_out_and_what_was_in_flight_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = interrupted(path, bytes((DELIVERED, IN_FLIGHT, UNSENT, DELIVERED, UNSENT)))
    resumption = Resumption(run, resend=False)
    rest = resumption.remaining([record(number) for number in range(1, 6)])
    assert rest == [record(3), record(5)]
    assert resumption.put_in_doubt == 1
    assert bytes(run.states.marks[1:6]) == bytes((DELIVERED, IN_DOUBT, UNSENT, DELIVERED, UNSENT))
    (letter,) = letters(path / "in-doubt.ndjson")
    assert (letter["n"], letter["reason"], letter["record"]) == (
        2,
        "in flight when the run was interrupted",
        {"n": 2},
    )
    resumption.close()
    run.close()


def test_where_that_is_safe_what_was_in_flight_is_sent_again(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run", bytes((DELIVERED, IN_FLIGHT, UNSENT)))
    resumption = Resumption(run, resend=True)
    assert resumption.remaining([record(1), record(2), record(3)]) == [record(2), record(3)]
    assert run.states.marks[2] == IN_FLIGHT
    assert resumption.put_in_doubt == 0
    resumption.close()
    run.close()
    assert letters(tmp_path / "run" / "in-doubt.ndjson") == []


def test_after_a_restart_of_the_machine_the_reason_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", {})
    run.reserve([record(1)])
    kill(run)
    monkeypatch.setattr("livepost.runs.states.current_boot_id", lambda: "second")
    run = Run.open(tmp_path / "run")
    resumption = Resumption(run, resend=False)
    assert resumption.remaining([record(1)]) == []
    (letter,) = letters(tmp_path / "run" / "in-doubt.ndjson")
    assert letter["reason"] == "may have been in flight when the machine stopped"
    resumption.close()
    run.close()


def test_a_letter_that_a_crash_has_taken_is_written_again_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = Run.create(path, {})
    run.reserve([record(number) for number in range(1, 5)])
    run.conclude(REJECTED, record(1), "status 422", attempts=1, status=422)
    run.flush()
    for number in (2, 3):
        run.conclude(REJECTED, record(number), "status 400", attempts=1, status=400)
    run.conclude(IN_DOUBT, record(4), "reset", attempts=1)
    kill(run)

    again = Run.open(path)
    resumption = Resumption(again, resend=False)
    batch: list[Item] = [record(1), record(2), Rejection(3, "-", 3, "invalid JSON"), record(4)]
    assert resumption.remaining(batch) == []
    resumption.close()
    again.close()
    lost = "the reason was lost when the run was interrupted"
    assert [(one["n"], one["reason"]) for one in letters(path / "rejected.ndjson")] == [
        (1, "status 422"),
        (2, lost),
        (3, "invalid JSON"),
    ]
    assert [(one["n"], one["reason"]) for one in letters(path / "in-doubt.ndjson")] == [(4, lost)]


def test_of_what_was_not_delivered_somebody_is_told(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run", bytes((DELIVERED, REJECTED, IN_DOUBT, IN_FLIGHT, UNSENT, REJECTED)))
    resumption = Resumption(run, resend=False)
    told: list[Record] = []
    resumption.on_undelivered = told.append
    items: list[Item] = [record(number) for number in range(1, 6)]
    assert resumption.remaining([*items, Rejection(6, "-", 6, "invalid JSON")]) == [record(5)]
    assert told == [record(2), record(3), record(4)]
    resumption.close()
    run.close()


def test_what_is_not_fit_to_send_cannot_have_been_in_flight(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run", bytes((IN_FLIGHT, UNSENT)))
    resumption = Resumption(run, resend=False)
    batch: list[Item] = [Rejection(1, "-", 1, "invalid JSON"), Rejection(2, "-", 2, "invalid JSON")]
    assert resumption.remaining(batch) == batch
    resumption.close()
    run.close()


def test_a_batch_with_a_gap_before_it(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run", bytes((DELIVERED, DELIVERED, DELIVERED, IN_FLIGHT, UNSENT)))
    resumption = Resumption(run, resend=True)
    assert resumption.remaining([record(4), record(5)]) == [record(4), record(5)]
    resumption.close()
    run.close()


def test_records_that_were_taken_back_are_kept_by_their_letters(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = Run.create(path, {}, keep_input=True)
    run.reserve([record(number) for number in range(1, 7)])
    for number in range(1, 6):
        run.conclude(REJECTED if number < 4 else IN_DOUBT, record(number), "r", attempts=1)
    run.conclude(REJECTED, Rejection(6, "-", 6, "invalid JSON"), "invalid JSON", attempts=0)
    run.close()
    assert not (path / "spool").exists()

    retried = Run.open(path)
    retried.states.release([1, 2, 4])
    retried.states.marks[2] = IN_FLIGHT
    retried.conclude(IN_DOUBT, record(1), "reset", attempts=1)
    retried.states.release([1])
    retried.flush()
    kill(retried)

    again = Run.open(path)
    resumption = Resumption(again, resend=False)
    (batch,) = kept_batches(again)
    assert batch == [record(1), record(2), record(4)]
    again.reserve(batch)
    assert resumption.remaining(batch) == [record(1), record(4)]
    assert again.states.marks[2] == IN_DOUBT
    resumption.close()
    again.close()


@pytest.mark.parametrize(("in_flight", "order"), [((7, 3), (7, 3)), ((9,), (2, 9, 3)), ((), (8, 5, 1))])
def test_records_that_letters_have_kept_come_in_the_order_of_the_input_and_are_not_sent_twice(
    tmp_path: Path, in_flight: tuple[int, ...], order: tuple[int, ...]
) -> None:
    path = tmp_path / "run"
    run = Run.create(path, {}, keep_input=True)
    run.reserve([record(number) for number in range(1, 11)])
    for number in order:
        run.conclude(IN_DOUBT, record(number), "timeout", attempts=1)
    for number in {*range(1, 11)} - {*order}:
        run.states.marks[number] = DELIVERED
    run.close()

    retried = Run.open(path)
    retried.states.release(order)
    for number in in_flight:
        retried.states.marks[number] = IN_FLIGHT
    kill(retried)

    again = Run.open(path)
    resumption = Resumption(again, resend=False)
    (batch,) = kept_batches(again)
    again.reserve(batch)
    assert resumption.remaining(batch) == [
        record(number) for number in sorted(order) if number not in in_flight
    ]
    assert [again.states.marks[number] for number in in_flight] == [IN_DOUBT] * len(in_flight)
    resumption.close()
    again.close()


def test_what_was_kept_twice_is_read_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {}, keep_input=True)
    run.reserve([record(number) for number in range(1, 4)])
    run.conclude(REJECTED, record(2), "r", attempts=1)
    run.flush()
    run.states.release([2])
    kill(run)
    again = Run.open(tmp_path / "run")
    assert list(kept_batches(again)) == [[record(1), record(2), record(3)]]
    again.close()


def test_a_run_that_keeps_no_input_has_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    assert list(kept_batches(run)) == []
    run.close()


@given(
    marks=st.lists(st.sampled_from(Mark), min_size=1, max_size=30),
    resend=st.booleans(),
    size=st.integers(1, 7),
)
@settings(deadline=None, max_examples=50)
def test_each_record_is_settled_in_doubt_or_sent_whatever_the_batches(
    tmp_path_factory: pytest.TempPathFactory, marks: list[Mark], resend: bool, size: int
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run"
    run = interrupted(path, bytes(marks))
    resumption = Resumption(run, resend=resend)
    items: list[Item] = [record(number) for number in range(1, len(marks) + 1)]
    rest: list[Item] = []
    for start in range(0, len(items), size):
        rest += resumption.remaining(items[start : start + size])
    resumption.close()
    sent = (Mark.UNSENT, Mark.IN_FLIGHT) if resend else (Mark.UNSENT,)
    assert [item.number for item in rest] == [number for number, mark in enumerate(marks, 1) if mark in sent]
    for mark, name in ((REJECTED, "rejected.ndjson"), (IN_DOUBT, "in-doubt.ndjson")):
        marked = [number for number in range(1, len(marks) + 1) if run.states.marks[number] == mark]
        assert [letter["n"] for letter in letters(path / name)] == marked
    run.close()
