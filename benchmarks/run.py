"""Compares livepost with the programs it is to replace, and says which targets it meets.

Everything runs on this machine: the server on one core, one client after the other on another core.
Exit code 0 if every run succeeded, whether or not the targets were met; 1 if a run failed; 2 if
the benchmark cannot run at all.  Without any option the report is also written to RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import shlex
import signal
import sys
import tempfile
import textwrap
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import data
import figures
import machine
import measure
import peers
import scenarios
import servers
import table
from figures import Verdict
from peers import HERE, Livepost, Peer, PeerMissingError, all_peers
from rounds import Rounds, progress
from scenarios import Scenario

SCENARIOS = ("http", "tls", "http2", "memory", "startup")
MEMORY_FACTOR = 10
NOTES = (
    *peers.NOTES,
    "livepost and Go: the whole process with its start; CPU is user and system time of the client",
    "Go has one core, so GOMAXPROCS is 1; its program reads the same file and every answer to its end",
    "handshakes: connections that the server accepted (of nghttpd's: that the kernel did for all servers)",
    "nginx closes each after 1 000 requests (its default) over HTTP/1.1, and none over HTTP/2",
    "server busy: part of the server's core in use; near 100 % it is the limit, not the client",
    "≤: a peak this small cannot be told from that of the benchmark's own process",
)


@dataclass(slots=True)
class Report:
    """What is shown, printed as it comes and kept for the files."""

    lines: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def show(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line.  Ends the process with 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [peer.key for peer in all_peers()]
    parser.add_argument("--records", type=int, default=300_000, metavar="N", help="(default: 300000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: 5)")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="(default: 64)")
    parser.add_argument("--scenario", choices=("all", *SCENARIOS), default="all")
    parser.add_argument("--peers", default=",".join(keys), metavar="A,B", help=f"of {', '.join(keys)}")
    parser.add_argument(
        "--quick", action="store_true", help="20 000 records, one round: does it work at all?"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run to this file")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write the report to this file, as Markdown"
    )
    options = parser.parse_args(arguments)
    if not arguments:
        options.write = HERE / "RESULTS.md"
    if options.quick:
        options.records, options.rounds = 20_000, 1
    if min(options.records, options.rounds, options.connections) < 1:
        parser.error("--records, --rounds and --connections must be at least 1")
    options.peers = options.peers.split(",")
    for key in options.peers:
        if key not in keys:
            parser.error(f"there is no peer {key}: choose from {', '.join(keys)}")
    for file in (options.json, options.write):
        if file and not file.resolve().parent.is_dir():
            parser.error(f"the directory of {file} does not exist")
    options.scenarios = SCENARIOS if options.scenario == "all" else (options.scenario,)
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with tempfile.TemporaryDirectory(prefix="livepost-bench-") as directory:
            return benchmark(options, Path(directory))
    except servers.ServerError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmark: interrupted; everything it started is stopped", file=sys.stderr)
        return 130


def benchmark(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for, show it, and give the exit code."""
    started = time.monotonic()
    report = Report()
    client_core, server_core = machine.client_and_server_core()
    with contextlib.ExitStack() as running:
        nginx = running.enter_context(servers.Nginx(directory / "nginx", server_core))
        ready, missing, versions = _prepare(options.peers, directory)
        _show_head(report, options, versions, client_core, server_core)
        rounds = Rounds(directory, client_core)
        over_http1 = scenarios.http1(nginx, options.connections)
        tables = [scenario for scenario in over_http1 if scenario.key in options.scenarios]
        if "http2" in options.scenarios:
            tables += scenarios.http2(nginx, _nghttpd(report, running, directory, server_core))
        _speeds(report, options, rounds, tables, ready, missing)
        livepost = next((peer for peer in ready if peer.key == Livepost.key), None)
        assert livepost is None or isinstance(livepost, Livepost)
        if "memory" in options.scenarios and livepost:
            _memory(report, options, rounds, over_http1[0], livepost)
        if "startup" in options.scenarios and livepost:
            _startup(report, livepost, client_core, directory, 5 if options.quick else 20)
    if livepost is None:
        report.show(
            "", f"livepost: {missing.get('livepost', 'left out')}; its memory and start-up were not measured"
        )
    report.show(*table.verdicts(report.verdicts))
    if rounds.problems:
        report.show("", "Problems", *(f"  {problem}" for problem in rounds.problems))
    report.show("", f"The benchmark took {time.monotonic() - started:.0f} s.")
    report.raw |= {"samples": [asdict(sample) for sample in rounds.samples], "missing": missing}
    report.raw |= {"verdicts": [asdict(verdict) for verdict in report.verdicts], "problems": rounds.problems}
    _save(report, options)
    return 1 if rounds.problems else 0


def _nghttpd(
    report: Report, running: contextlib.ExitStack, directory: Path, core: int
) -> servers.Nghttpd | None:
    """Started; None, and that said, where there is none."""
    try:
        return running.enter_context(servers.Nghttpd(directory / "nghttpd", core))
    except servers.ServerError as error:
        report.show("", f"HTTP/2 with nginx alone: {error}")
        return None


def _prepare(keys: list[str], directory: Path) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    ready, missing, versions = [], {}, {}
    for peer in all_peers():
        if peer.key in keys:
            progress(
                f"preparing {peer.key}"
                + (" (compiling; the first time takes a while)" if peer.key == "go" else "")
            )
            try:
                versions[peer.key] = peer.prepare(directory)
                ready.append(peer)
            except PeerMissingError as error:
                missing[peer.key] = str(error)
    return ready, missing, versions


def _show_head(
    report: Report, options: argparse.Namespace, versions: dict[str, str], client_core: int, server_core: int
) -> None:
    report.show(f"livepost benchmark of {dt.datetime.now().astimezone().date()}", *machine.describe())
    if client_core == server_core:
        report.show("THERE IS ONLY ONE CORE: client and server share it, and no figure below means much")
    else:
        report.show(
            f"clients one after the other on core {client_core}, the server on core {server_core}, loopback"
        )
    if options.quick:
        report.show("A QUICK RUN: it shows that the benchmark works; its figures mean little")
    software = [f"{servers.nginx_version()} with its default limits"]
    if "http2" in options.scenarios:
        software += servers.nghttpd_version()
    software += dict.fromkeys(filter(None, versions.values()))
    report.show(*textwrap.wrap("; ".join(software), table.WIDTH))
    report.raw |= {
        "machine": machine.describe(),
        "versions": versions,
        "date": str(dt.datetime.now().astimezone().date()),
    }
    report.raw["command"] = shlex.join(sys.argv[1:])


def _speeds(
    report: Report,
    options: argparse.Namespace,
    rounds: Rounds,
    tables: list[Scenario],
    ready: list[Peer],
    missing: dict[str, str],
) -> None:
    floor = measure.peak_floor_bytes(rounds.directory)
    for scenario in tables:
        asked = [peer for peer in all_peers() if peer.key in options.peers and takes_part(peer, scenario)]
        speeds = table.Speeds({peer.key: peer.label for peer in asked}, missing, floor)
        rounds.run(
            scenario,
            [peer for peer in ready if takes_part(peer, scenario)],
            options.records,
            options.rounds,
        )
        title = (
            f"{scenario.title}, {table.number(options.records)} records of about 200 bytes, "
            f"median of {options.rounds}"
        )
        report.show(*speeds.lines(title, rounds.samples, scenario.key))
    if tables:
        report.show("", *NOTES)
        report.verdicts += figures.speed_verdicts(rounds.samples)
    for scenario in tables:
        if scenario.is_http2:
            has_http1 = scenario.http1_url is not None
            report.verdicts += figures.http2_verdicts(rounds.samples, scenario.key, has_http1=has_http1)


def takes_part(peer: Peer, scenario: Scenario) -> bool:
    """Whether what the peer speaks is what is measured, or is compared with it."""
    if scenario.is_http2:
        return peer.speaks_http2 and (scenario.http1_url is not None or not peer.needs_http1_url)
    return peer.speaks_http1


def _memory(
    report: Report, options: argparse.Namespace, rounds: Rounds, scenario: Scenario, livepost: Livepost
) -> None:
    few, many = options.records, options.records * MEMORY_FACTOR
    source = rounds.file(few)
    progress(f"memory: {few} records, then {many}")
    first = rounds.one(scenario, livepost, source, few, 1, "memory")
    # The large file lives only as long as it is needed: it may lie in memory.
    large = data.repeat(rounds.directory / "large.ndjson", source, MEMORY_FACTOR)
    second = rounds.one(scenario, livepost, large, many, 2, "memory")
    large.unlink()
    if first and second:
        report.verdicts += figures.memory_verdicts(few, first.peak_bytes, many, second.peak_bytes)


def _startup(report: Report, livepost: Livepost, core: int, directory: Path, runs: int) -> None:
    commands = {"livepost": livepost.version_command(), "bare": [sys.executable, "-c", "pass"]}
    progress(f"startup: {runs} times {livepost.key} --version")
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            seconds[name].append(measure.run(command, core, directory).wall_seconds)
    # The first of each fills caches.
    report.verdicts.append(figures.startup_verdict(seconds["livepost"][1:], seconds["bare"][1:]))
    report.raw["startup_seconds"] = seconds


def _save(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        options.json.write_text(json.dumps(report.raw, indent=1) + "\n", encoding="utf-8")
    if options.write:
        text = "\n".join(["# Benchmark results", "", "```text", *report.lines, "```", ""])
        options.write.write_text(text, encoding="utf-8")


def _end(number: int, frame: FrameType | None) -> None:
    # An exception, so that every server, child and directory is cleaned up on its way.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
