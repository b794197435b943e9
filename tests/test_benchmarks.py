"""The figures that the benchmark claims: how they come from single runs, and when a target is met."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import json
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


data = _load("data")
counting_api = _load("counting_api")
figures = _load("figures")
idle_servers = _load("idle_servers")
liveness = _load("liveness")
measure = _load("measure")
peers = _load("peers")
run = _load("run")
scenarios = _load("scenarios")
servers = _load("servers")
table = _load("table")


def sample(peer: str, round_number: int, scenario: str = "http", **changes: Any) -> Any:
    """1 000 records in 0.1 s with 0.02 s of CPU, unless changed."""
    values = {
        "scenario": scenario,
        "peer": peer,
        "round": round_number,
        "delivered": 1000,
        "seconds": 0.1,
        "cpu_seconds": 0.02,
        "peak_bytes": 30_000_000,
        "connections": 64,
        "server_cpu_seconds": 0.05,
        "other_cores": 0.0,
    }
    return figures.Sample(**(values | changes))


def test_a_sample_tells_its_rates() -> None:
    one = sample("livepost", 1)
    assert one.records_per_second == pytest.approx(10_000)
    assert one.cpu_microseconds == pytest.approx(20)
    assert one.handshakes_per_1000 == pytest.approx(64)
    assert one.server_busy == pytest.approx(0.5)


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    # Round 2 ran on a machine four times slower: both suffered alike, and it must not count.
    mine = [sample("livepost", 1, seconds=0.1), sample("livepost", 2, seconds=0.4)]
    mine.append(sample("livepost", 3, seconds=0.2))
    wrk = [sample("wrk", 3, seconds=0.1), sample("wrk", 2, seconds=0.32), sample("wrk", 1, seconds=0.09)]
    found = figures.ratio(mine, wrk, lambda one: one.records_per_second)
    assert (found.median, found.smallest, found.largest) == pytest.approx((0.8, 0.5, 0.9))


def test_a_ratio_needs_a_round_in_which_both_ran() -> None:
    assert figures.ratio([sample("livepost", 1)], [sample("go", 2)], lambda one: one.seconds) is None


@pytest.mark.parametrize(("cpu_seconds", "met"), [(0.0100, True), (0.0101, False)])
def test_cpu_may_be_at_most_half_of_that_of_go(cpu_seconds: float, met: bool) -> None:
    samples = [sample("livepost", 1, cpu_seconds=cpu_seconds), sample("go", 1), sample("wrk", 1)]
    assert [verdict.met for verdict in figures.speed_verdicts(samples)] == [met, True]


@pytest.mark.parametrize(("seconds", "met"), [(0.2, True), (0.201, False)])
def test_the_rate_must_be_at_least_half_of_that_of_wrk(seconds: float, met: bool) -> None:
    samples = [sample("livepost", 1, seconds=seconds, cpu_seconds=0.001), sample("go", 1), sample("wrk", 1)]
    assert [verdict.met for verdict in figures.speed_verdicts(samples)] == [True, met]


@pytest.mark.parametrize(("seconds", "met"), [(0.05, True), (0.051, False)])
def test_over_tls_the_rate_must_be_at_least_twice_that_of_go(seconds: float, met: bool) -> None:
    samples = [sample("livepost", 1, "tls", seconds=seconds), sample("go", 1, "tls"), sample("go", 1)]
    assert figures.speed_verdicts([one for one in samples if one.scenario == "tls"])[0].met is met


def http2_verdicts(has_http1: bool = True, **changes: Any) -> list[bool | None]:
    """Whether each target is met by a run that is `changes` beside peers that take 0.1 s and 20 ms of CPU."""
    scenario = "http2-nginx"
    samples = [sample(peer, 1, scenario) for peer in ("go", "h2load", "livepost-http1")]
    samples.append(sample("livepost", 1, scenario, **changes))
    return [verdict.met for verdict in figures.http2_verdicts(samples, scenario, has_http1=has_http1)]


def test_over_http_2_the_cpu_may_be_a_quarter_of_that_of_go() -> None:
    assert http2_verdicts(cpu_seconds=0.005) == [True, True, True]
    assert http2_verdicts(cpu_seconds=0.0051) == [False, True, True]


def test_over_http_2_the_rate_must_be_two_fifths_of_that_of_h2load_and_above_our_own_http_1_1() -> None:
    assert http2_verdicts(cpu_seconds=0.001, seconds=0.25) == [True, True, False]
    assert http2_verdicts(cpu_seconds=0.001, seconds=0.251) == [True, False, False]
    assert http2_verdicts(False, cpu_seconds=0.001, seconds=0.25) == [True, True]


def test_a_target_whose_peer_did_not_run_is_neither_met_nor_missed() -> None:
    cpu, rate = figures.speed_verdicts([sample("livepost", 1, cpu_seconds=0.001), sample("go", 1)])
    assert (cpu.met, rate.met) == (True, None)
    assert "not measured" in rate.measured


@pytest.mark.parametrize(
    ("few", "many", "met"),
    [
        (59_000_000, 64_000_000, [True, True]),
        (60_000_000, 60_000_000, [False, True]),
        (30_000_000, 33_100_000, [True, False]),
    ],
)
def test_memory_must_be_small_and_stay_the_same(few: int, many: int, met: list[bool]) -> None:
    assert [verdict.met for verdict in figures.memory_verdicts(300, few, 3000, many)] == met


def test_the_start_is_judged_by_its_median() -> None:
    assert figures.startup_verdict([0.09, 0.5, 0.08], [0.02]).met is True
    assert figures.startup_verdict([0.10, 0.5, 0.08], [0.02]).met is False


def test_the_summary_of_livepost_is_read_and_undelivered_records_count_as_failed() -> None:
    summary = {"records": {"read": 10, "delivered": 7, "rejected": 1, "in_doubt": 1, "unsent": 1}}
    result = peers.Livepost().read(json.dumps(summary, indent=1))
    assert (result.delivered, result.failed, result.seconds) == (7, 3, None)


def test_the_result_of_wrk_is_the_last_line_after_its_own_talk() -> None:
    shown = 'Running 2s test\n  Requests/sec: 1.0\n{"delivered": 5, "failed": 2, "seconds": 2.5}\n'
    assert peers.Wrk().read(shown) == peers.Result(5, 2, 2.5)


def test_the_result_of_h2load_is_in_its_own_words() -> None:
    shown = "finished in 1.0s\nrequests: 10 total, 10 done, 7 succeeded, 2 failed, 1 errored, 0 timeout\n"
    assert peers.H2load().read(shown) == peers.Result(7, 3)


def test_who_takes_part_where() -> None:
    nginx, nghttpd = servers.Nginx.__new__(servers.Nginx), servers.Nghttpd.__new__(servers.Nghttpd)
    for server, names in (
        (nginx, ("http_url", "tls_url", "http2_url", "http2_tls_url")),
        (nghttpd, ("http_url", "tls_url")),
    ):
        server.certificate = Path("certificate.pem")
        for name in names:
            setattr(server, name, name)
    tables = [*scenarios.http1(nginx, 64), *scenarios.http2(nginx, nghttpd)]
    found = {
        scenario.key: {peer.key for peer in peers.all_peers() if run.takes_part(peer, scenario)}
        for scenario in tables
    }
    assert tuple(found)[2:] == scenarios.HTTP2
    over_http1 = found["http"]
    assert (
        over_http1 == found["tls"] == {peer.key for peer in peers.all_peers()} - {"h2load", "livepost-http1"}
    )
    assert found["http2-nginx"] == found["http2-nginx-tls"] == {"livepost", "livepost-http1", "h2load", "go"}
    assert found["http2-nghttpd"] == found["http2-nghttpd-tls"] == {"livepost", "h2load", "go"}


def test_how_each_is_asked_to_speak_http_2(tmp_path: Path) -> None:
    file = data.write(tmp_path / "file", 3)
    job = peers.Job("http://h2", file, 100, 2, is_http2=True, http1_url="http://h1")
    livepost, http1, go, h2load = peers.Livepost(), peers.LivepostHttp1(), peers.Go(False), peers.H2load()
    for peer in (livepost, http1, go, h2load):
        peer.program = "program"
    h2load._directory = tmp_path
    assert "--http2-prior-knowledge" in livepost.command(job)
    shown = http1.command(job)
    assert ("http://h1" in shown, "64" in shown, "--http1.1" in shown) == (True, True, True)
    assert "--http2-prior-knowledge" not in shown
    assert "-http2" in go.command(job)
    assert {"-n3", "-c1", "-m100"} <= set(h2load.command(job))
    secure = peers.Job("https://h2", file, 100, 2, tmp_path / "certificate.pem", is_http2=True)
    assert "--http2-prior-knowledge" not in livepost.command(secure)


@pytest.mark.parametrize("shown", ["", "PANIC", "[]", "1", '{"delivered": 5}', '{"records": {}}'])
@pytest.mark.parametrize(
    "peer", [peers.Livepost(), peers.Wrk(), peers.Go(default_transport=False), peers.H2load()]
)
def test_a_result_that_makes_no_sense_is_refused(peer: Any, shown: str) -> None:
    with pytest.raises(peers.UnreadableResultError):
        peer.read(shown)


def test_records_are_valid_about_200_bytes_and_always_the_same(tmp_path: Path) -> None:
    lines = data.write(tmp_path / "few", 2000).read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 2001))
    assert 190 < sum(map(len, lines)) / len(lines) < 210
    assert lines == list(data.records(2000))
    many = data.repeat(tmp_path / "many", tmp_path / "few", 3).read_bytes()
    assert many == b"".join(lines) * 3


def test_proxies_and_a_ban_on_bytecode_are_taken_from_the_environment_and_nothing_else() -> None:
    environment = {"HTTP_PROXY": "a", "https_proxy": "b", "All_Proxy": "c", "PATH": "/bin"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    assert measure.usual_environment(environment) == {"PATH": "/bin"}


def test_the_table_compares_with_livepost_and_names_what_is_missing() -> None:
    samples = [sample("livepost", 1), sample("go", 1, seconds=0.2, cpu_seconds=0.05)]
    labels = {"livepost": "livepost send", "wrk": "wrk", "go": "Go"}
    lines = table.Speeds(labels, {"wrk": "not installed (how)"}, 1).lines("Title", samples, "http")
    rows = {line.split("  ")[0]: line for line in lines}
    assert rows["wrk"].endswith("not installed (how)")
    assert rows["livepost send"].split()[2:6] == ["1.00", "1.00", "10", "000"]
    assert rows["Go"].split()[1:5] == ["0.50", "2.50", "5", "000"]
    assert max(map(len, lines)) <= table.WIDTH


def test_only_a_run_without_options_writes_the_results() -> None:
    assert run.parse([]).write == BENCHMARKS / "RESULTS.md"
    assert run.parse(["--quick"]).write is None


@pytest.mark.parametrize(
    "arguments", [["--peers", "curl"], ["--records", "0"], ["--json", "/no/such/directory/file"]]
)
def test_a_wrong_option_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.parse(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


PLAN = liveness.Plan(limit=5, offsets=(-0.5, 0.0, 0.02, 0.5), connections=4, records=10)


def test_a_burst_holds_records_of_its_own() -> None:
    bursts = [PLAN.burst(number).splitlines() for number in range(1 + len(PLAN.pauses))]
    assert [len(burst) for burst in bursts] == [10] * 6
    assert len({record for burst in bursts for record in burst}) == PLAN.sent == 60


def test_handshakes_are_expected_after_pauses_that_outlast_a_connection() -> None:
    assert PLAN.pauses == [6.5, 4.5, 5.0, 5.02, 5.5]
    assert PLAN.expected == (4 * (1 + 2), 4 * (1 + 4))


def test_what_the_server_counted_goes_before_what_a_client_says() -> None:
    made = liveness.figures(60, 58, 0, idle_servers.Counts(connections=9, requests=60, different=57))
    assert made == liveness.Figures(failed=2, twice=3, lost=1, handshakes=9)
    more = liveness.figures(60, 60, 11, idle_servers.Counts(connections=9, requests=60, different=60))
    assert more == liveness.Figures(failed=0, twice=0, lost=0, handshakes=11)


def test_every_server_has_its_table_and_all_their_sum_and_the_missing_are_named() -> None:
    results = {
        ("nginx", "livepost"): liveness.Figures(0, 0, 0, 12),
        ("node", "livepost"): liveness.Figures(1, 0, 0, 8),
        ("nginx", "go"): liveness.Figures(3, 1, 2, 20),
    }
    lines = liveness.shown(
        PLAN,
        {"livepost": "livepost 1", "go": "Go net/http"},
        results,
        {"apache": "not installed (how)"},
        {"nginx": "nginx/1", "node": "Node.js v1"},
    )
    assert [line for line in lines if "expected" in line] == [
        "nginx/1: 12 to 20 handshakes expected",
        "Node.js v1: 12 to 20 handshakes expected",
        "all servers: 24 to 40 handshakes expected",
    ]
    rows = [line.split() for line in lines if line.startswith("  livepost")]
    assert [row[2:] for row in rows] == [["0", "0", "0", "12"], ["1", "0", "0", "8"], ["1", "0", "0", "20"]]
    assert lines[-1] == "apache: not installed (how)"


class _CountedServer:
    key, url = "counted", "http://127.0.0.1:9"

    def counts(self) -> dict[str, Any]:
        return {"/reader": idle_servers.Counts(connections=2, requests=21, different=20)}


class _Reader(peers.Peer):  # type: ignore[misc, name-defined]  # loaded by its path
    key = "reader"


def _measured(directory: Path, program: str) -> Any:
    plan = liveness.Plan(limit=0, offsets=(), connections=1, records=10)
    client = liveness.Client(_Reader(), lambda url, connections: [sys.executable, "-c", program])
    (talk,) = asyncio.run(liveness.measure_all([client], [_CountedServer()], plan, directory))
    return talk


def test_a_client_is_given_its_records_in_bursts_and_believed_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "FIRST_OFFSET", 0.0)
    told = '{"delivered": len(set(sys.stdin)), "failed": 0, "seconds": 1}'
    talk = _measured(tmp_path, f"import json, sys; print(json.dumps({told}))")
    assert (talk.figures, talk.problem) == (liveness.Figures(failed=0, twice=1, lost=0, handshakes=2), "")


def test_a_client_that_ends_without_a_result_is_a_problem_and_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "FIRST_OFFSET", 0.0)
    talk = _measured(tmp_path, "import sys; sys.exit('out of order')")
    assert talk.figures is None
    assert talk.problem.startswith("no result in what it printed")
    assert talk.problem.endswith("exit code 1: out of order")


def test_where_nothing_is_installed_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(idle_servers, "all_servers", list)
    monkeypatch.setattr(liveness, "all_clients", list)
    options = argparse.Namespace(plan=PLAN, clients=[], servers=[], json=None)
    assert asyncio.run(liveness.benchmark(options, tmp_path)) == 2
    assert "nothing can run" in capsys.readouterr().err


def test_the_api_counts_connections_requests_and_different_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting_api, "_paths", {})

    def ask(method: str, port: int, body: bytes) -> bytes:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": "/go", "REMOTE_ADDR": "127.0.0.1"}
        environ |= {
            "REMOTE_PORT": str(port),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        return b"".join(counting_api.application(environ, lambda status, headers: None))

    for port, body in ((1, b"a"), (1, b"b"), (2, b"b")):
        ask("POST", port, body)
    assert json.loads(ask("GET", 3, b"")) == {"/go": [2, 3, 2]}


def test_the_bursts_start_from_the_command_line_and_write_nothing_unless_asked() -> None:
    program = BENCHMARKS / "liveness.py"
    shown = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "nginx, apache, node, uvicorn, gunicorn, hypercorn" in " ".join(shown.stdout.split())
    options = liveness.parse([])
    assert options.json is None
    assert 150 < options.plan.seconds < 250
    assert liveness.parse(["--quick"]).plan.seconds < 60


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "curl"],
        ["--servers", "iis"],
        ["--limit", "0"],
        ["--records", "1001"],
        ["--json", "/no/such/f"],
    ],
)
def test_a_wrong_option_of_the_bursts_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        liveness.parse(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
