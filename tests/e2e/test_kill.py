"""kill -9 at 104 random moments, and 32 power cuts; then what a server has processed is compared.

A seed that fails is tried again by giving it to `Random`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from killing import Killer, Server, records, serving

RECORDS = 400
OPTIONS = ("--connections", "8")
FAULTS = ("--fail", "reset-after-processing:p=0.005", "--fail", "late:delay=2ms", "--fail-seed", "7")
AT_LEAST_ONCE = "--at-least-once"

Check = Callable[[Killer, Counter[int], range], None]


def kill_runs(
    tmp_path: Path,
    random: Random,
    check: Check,
    *options: str,
    by_stdin: bool,
    kills: int = 26,
    power_cuts: bool = False,
) -> tuple[Server, int]:
    """One run after the other until there were enough kills, each with records of its own."""
    most_kills, kills = kills, 0
    in_flight = runs = 0
    first = 1
    with serving(tmp_path / "log", *FAULTS) as server:
        while kills < most_kills:
            runs += 1
            directory = tmp_path / f"run-{runs}"
            killer = Killer(random, server, directory, records(first, RECORDS), by_stdin=by_stdin)
            killer.carry_out(most_kills - kills, *OPTIONS, *options, power_cuts=power_cuts)
            # Of standard input it has taken what it has kept; the rest is the next run's.
            taken = range(first, first + len(killer.marks))
            assert by_stdin or len(taken) == RECORDS
            check(killer, server.processed(), taken)
            kills += killer.kills
            in_flight += killer.in_flight_at_kills
            first += len(taken)
    assert kills == most_kills
    return server, in_flight


def nothing_is_lost_and_nothing_processed_twice(
    killer: Killer, processed: Counter[int], taken: range
) -> None:
    marks = dict(zip(taken, killer.marks, strict=True))
    delivered = {number for number, mark in marks.items() if mark == "D"}
    in_doubt = {number for number, mark in marks.items() if mark == "Q"}
    assert delivered | in_doubt == set(taken)
    assert max(processed.values(), default=1) == 1
    # So every record that was processed without an answer is in doubt.
    assert delivered <= processed.keys()
    assert set(killer.letters("in-doubt.ndjson")) == in_doubt
    assert len(killer.letters("in-doubt.ndjson")) == len(in_doubt)
    assert killer.letters("rejected.ndjson") == []
    assert killer.exit_code == (1 if in_doubt or not killer.is_input_known else 0)


def everything_is_delivered(killer: Killer, processed: Counter[int], taken: range) -> None:
    assert killer.marks == "D" * len(taken)
    assert processed.keys() >= set(taken)
    assert killer.letters("in-doubt.ndjson") == killer.letters("rejected.ndjson") == []
    assert killer.exit_code == (0 if killer.is_input_known else 1)


@pytest.mark.parametrize(("by_stdin", "seed"), [(False, 1), (True, 2)])
def test_by_default_nothing_is_lost_and_nothing_is_processed_twice(
    tmp_path: Path, by_stdin: bool, seed: int
) -> None:
    check = nothing_is_lost_and_nothing_processed_twice
    server, in_flight = kill_runs(tmp_path, Random(seed), check, by_stdin=by_stdin)
    assert in_flight > 0
    resets = server.processed(fault="reset-after-processing").total()
    assert resets > 0


@pytest.mark.parametrize(("by_stdin", "seed"), [(False, 3), (True, 4)])
def test_at_least_once_repeats_no_more_than_was_in_flight(tmp_path: Path, by_stdin: bool, seed: int) -> None:
    server, in_flight = kill_runs(
        tmp_path, Random(seed), everything_is_delivered, AT_LEAST_ONCE, by_stdin=by_stdin
    )
    processed = server.processed()
    resets = server.processed(fault="reset-after-processing").total()
    assert 0 < processed.total() - len(processed) <= in_flight + resets


@pytest.mark.parametrize(("by_stdin", "seed"), [(False, 5), (True, 6)])
def test_after_a_power_cut_nothing_is_lost_and_nothing_is_processed_twice(
    tmp_path: Path, by_stdin: bool, seed: int
) -> None:
    """The marks that come back are older than what was sent, and another boot is under way."""
    check = nothing_is_lost_and_nothing_processed_twice
    kill_runs(tmp_path, Random(seed), check, kills=12, by_stdin=by_stdin, power_cuts=True)


def test_after_a_power_cut_everything_is_delivered_where_that_is_safe(tmp_path: Path) -> None:
    kill_runs(
        tmp_path,
        Random(8),
        everything_is_delivered,
        AT_LEAST_ONCE,
        kills=8,
        by_stdin=False,
        power_cuts=True,
    )
