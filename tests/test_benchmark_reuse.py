"""The proof of reuse: how many handshakes it takes at the least, and when a condition is missed."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


idle_servers = _load("idle_servers")
reuse = _load("reuse")
reuse_figures = _load("reuse_figures")
reuse_plan = _load("reuse_plan")
Mode = reuse_plan.Mode

# A request takes 0.1 s, and so an idle time of 2 s a pause of 2.105 s.
BELOW, AT, ABOVE = 1.5, 2.105, 2.6


def setting(cap: int | None = None, later: tuple[float, float] = (0.0, 0.1)) -> Any:
    return reuse_plan.Setting("short", 2, cap, later)


def least(
    *pauses: float,
    mode: Any = Mode.TESTED,
    cap: int | None = None,
    new: tuple[int, ...] = (),
    **seen: Any,
) -> int:
    """Of four connections, by default all closed by the server."""
    plan = reuse_plan.BurstPlan(setting(cap), mode, 4, pauses)
    values = {"closed_by_server": 100, "alive": 4, "full": 0, "tests": 0, "known_limit": 2.0} | seen
    made: int = reuse_plan.least_handshakes(
        plan, reuse_plan.Seen(new_in_burst=new or (0,) * (1 + len(pauses)), **values)
    )
    return made


def test_each_burst_has_a_record_for_each_connection() -> None:
    plan = reuse_plan.BurstPlan(setting(), Mode.PLAIN, 4, (BELOW, AT))
    bursts = [plan.burst(number).splitlines() for number in range(3)]
    assert [len(burst) for burst in bursts] == [4, 4, 4]
    assert len({record for burst in bursts for record in burst}) == plan.sent == 12
    assert [plan.burst_of(number) for number in (1, 4, 5, 12)] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("pause", "fate"),
    [
        (BELOW, "KEPT"),
        (1.9, "KEPT"),
        (2.0, "UNCERTAIN"),
        (AT, "UNCERTAIN"),
        (2.35, "UNCERTAIN"),
        (2.5, "CLOSED"),
    ],
)
def test_a_server_keeps_what_is_idle_for_less_than_its_limit(pause: float, fate: str) -> None:
    assert setting().fate(pause) is reuse_plan.Fate[fate]


def test_a_server_may_be_later_than_it_says() -> None:
    late = setting(later=(1.0, 1.2))
    assert [late.fate(pause).name for pause in (AT, 3.1, 3.6)] == ["KEPT", "UNCERTAIN", "CLOSED"]


def test_a_connection_is_made_in_the_beginning_and_after_pauses_that_are_too_long() -> None:
    assert least(BELOW, BELOW) == 4
    assert least(BELOW, ABOVE, BELOW, ABOVE) == 12


def test_a_connection_is_made_after_as_many_requests_as_the_server_takes() -> None:
    assert least(*[BELOW] * 9, cap=10) == 4
    assert least(*[BELOW] * 10, cap=10) == 8
    # A pause begins the count anew.
    assert least(*[BELOW] * 8, ABOVE, *[BELOW] * 9, cap=10) == 8
    # Tests count: each pause of these had one.
    assert least(*[1.7] * 5, cap=10, tests=20) == 8
    assert least(*[1.7] * 4, cap=10, tests=16) == 4


def test_near_the_limit_what_the_server_closed_counts_and_not_what_the_client_did() -> None:
    assert least(AT, new=(4, 3)) == 7
    assert least(AT, ABOVE, new=(4, 3, 4), closed_by_server=7) == 11
    assert least(AT, ABOVE, new=(4, 3, 4), closed_by_server=5) == 9
    assert least(AT, new=(4, 3), closed_by_server=0) == 4


def test_without_a_path_what_may_be_closed_is_not_used() -> None:
    """From 1.5 s on, of a limit of 2 s."""
    assert least(1.6, 1.61, 1.8, AT, mode=Mode.PLAIN) == 16
    assert least(1.6, 1.61, 1.8, AT, mode=Mode.PLAIN, known_limit=3.0) == 4


def test_with_heartbeats_full_connections_are_replaced_and_no_others() -> None:
    assert least(ABOVE, ABOVE, mode=Mode.BEATING) == 4
    assert least(ABOVE, ABOVE, mode=Mode.BEATING, full=6) == 10
    assert least(ABOVE, ABOVE, mode=Mode.BEATING, full=4, alive=1) == 5


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("limit", "seconds"), [(2, 60.0), (75, 480.0), (1, 1.0)])
def test_bursts_fill_the_time_and_begin_with_a_pause_that_outlasts_the_start(
    mode: Any, limit: int, seconds: float
) -> None:
    one = reuse_plan.Setting("any", limit, None, (0.0, 0.1))
    pauses = reuse_plan.plan_bursts(one, mode, 8, seconds).pauses
    assert len(pauses) >= 3
    assert sum(pauses) <= max(seconds + 3 * limit, 10.0)
    if mode is not Mode.BEATING:
        assert one.fate(pauses[0]) is reuse_plan.Fate.CLOSED
        if limit > 1:
            assert {one.fate(pause).name for pause in pauses} == {"KEPT", "UNCERTAIN", "CLOSED"}


def host() -> Any:
    server = idle_servers.Nginx()
    return reuse_figures.Host(server, "nginx/1", setting(), Path(), 2.0)


def summary(**records: int) -> dict[str, Any]:
    ended = {"delivered": 8, "rejected": 0, "in_doubt": 0, "unsent": 0} | records
    connections = {"opened": 5, "heartbeats": 0, "closed": {"server_idle": 1, "finished": 4}}
    return {"records": ended, "retries": {}, "connections": connections}


RECEIPTS = [{"n": n, "connection": connection} for n, connection in enumerate((1, 2, 3, 4, 1, 1, 3, 5), 1)]


def test_a_cycle_is_a_connection_of_an_earlier_burst_counted_once_a_burst() -> None:
    plan = reuse_plan.BurstPlan(setting(), Mode.TESTED, 4, (AT,))
    counts = idle_servers.Counts(connections=6, requests=9, different=8)
    row = reuse.figures(host(), plan, summary(), RECEIPTS, counts)
    assert (row.cycles, row.handshakes, row.least, row.twice, row.lost) == (2, 6, 5, 1, 0)
    assert not row.is_clean
    assert row.excess == pytest.approx(0.2)


def row(**changes: Any) -> Any:
    values = {
        "server": "nginx/1",
        "mode": "tested",
        "cycles": 10,
        "sent": 20,
        "in_doubt": 0,
        "rejected": 0,
        "stale": 0,
        "twice": 0,
        "lost": 0,
        "handshakes": 105,
        "least": 100,
        "heartbeats": 0,
        "closed": {},
    }
    return reuse_figures.Figures(**(values | changes))


def test_every_condition_can_be_missed() -> None:
    assert reuse.missed([row(), row()], 20) == []
    assert reuse.missed([row()], 11) == ["10 cycles are fewer than 11"]
    for name in ("in_doubt", "rejected", "stale", "twice", "lost"):
        (told,) = reuse.missed([row(), row(**{name: 1})], 20)
        assert "not every record was delivered once, at the first attempt" in told
    assert reuse.missed([row(handshakes=106)], 10) == ["nginx/1, tested: 6.0% more handshakes than the least"]


def test_the_table_has_a_row_for_each_conversation_and_the_sums() -> None:
    lines = reuse.shown([row(), row(mode="no path", handshakes=95)])
    assert len(lines) == 4
    assert lines[1].split()[-3:] == ["105", "100", "5.0%"]
    assert lines[3].split() == ["all", "20", "0", "0", "0", "0", "200", "200", "0.0%"]
    crossings = reuse.shown_crossings([row(sent=24, stale=2), row(sent=24, in_doubt=1)])
    assert crossings[1].split()[-3:] == ["16", "1", "2"]


def test_a_livepost_that_has_no_summary_is_a_problem(tmp_path: Path) -> None:
    program = tmp_path / "livepost"
    program.write_text("#!/bin/sh\necho out of order >&2; exit 3\n")
    program.chmod(0o700)
    plan = reuse_plan.BurstPlan(setting(), Mode.PLAIN, 1, ())
    one = host()
    one.server.url = "http://127.0.0.1:9"
    talk = reuse.Talk(str(program), one, plan, "/x", tmp_path)

    async def converse() -> None:
        await talk.begin()
        await talk.go_on(0.0)
        await talk.end()

    asyncio.run(converse())
    assert talk.figures is None
    assert talk.problem == "no summary; exit code 3: out of order"


def test_it_starts_from_the_command_line_and_writes_nothing_unless_asked() -> None:
    shown = subprocess.run(
        [sys.executable, BENCHMARKS / "reuse.py", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "of nginx, apache, node, uvicorn, gunicorn, hypercorn" in " ".join(shown.stdout.split())
    options = reuse.parse([])
    assert (options.json, options.connections, options.seconds) == (None, 32, 480)
    assert reuse.parse(["--quick"]).seconds == 40


@pytest.mark.parametrize(
    "arguments",
    [["--servers", "iis"], ["--connections", "65"], ["--seconds", "-1"], ["--json", "/no/such/f"]],
)
def test_a_wrong_option_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        reuse.parse(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_server_counts_its_cap_in_its_own_way() -> None:
    nginx, apache = idle_servers.Nginx(), idle_servers.Apache()
    assert (nginx.cap(None), nginx.cap(50)) == (1000, 50)
    assert (apache.cap(None), apache.cap(20)) == (101, 21)
    assert idle_servers.PythonServer("uvicorn").cap(None) is None
