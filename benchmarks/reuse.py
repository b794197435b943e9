"""Proof that connections are reused wherever they can be, and never where they may be gone.

livepost alone, against every server as it comes and with shortened limits, in bursts with pauses below, at
and above the time for which the server keeps an idle connection.  Three of it talk to each at a time: one
with --keepalive-path, one with heartbeats (its pauses are up to three times the limit), and one with neither.
`livepost probe` has measured each server before, so the limits are known.  Shown for each:

    cycles      reuses: a connection made for an earlier burst carried a record after a pause.  Counted
                from receipts; each connection once a burst, so that reuse within a burst does not count
    doubt       records in doubt
    rejected    records rejected, or not sent
    stale       attempts that failed on a connection and were made again
    twice       requests that the server had seen before
    handshakes  connections as the server counted them, or as livepost did, if those are more
    least       with how many it could have been done (`reuse_plan` says how that is computed); without a
                path: given that what may be closed any moment is not used for what cannot be repeated

The exit code is 1 unless there were 20,000 cycles (500 with --quick), nothing was in doubt, rejected, stale
or twice, and no conversation took over 5 % more handshakes than the least.

After that it is shown what a limit costs that is not known: each of many livepost has but three bursts, the
last one after a pause of about the limit.  A request that crosses the server's close can end in doubt
then; that is counted, and changes no exit code.

Apache is given as many threads as it may need: one that lacks them closes idle connections before their
time, and so it does when it ends a child.  No client can foresee that, and a request that crosses it ends in
doubt (seen with 25 threads a child: 18 records in 18,000 cycles).

What is not installed is named, left out and missed (exit code 1).  All conversations take place at a time;
it takes 12 minutes, or two with --quick.  Nothing is written unless --json is given.

    .venv/bin/python benchmarks/reuse.py --quick
    .venv/bin/python benchmarks/reuse.py --servers nginx,apache --json proof.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import idle_servers
import interruptible
import machine
import measure
import peers
from conversation import Conversation
from idle_servers import Counts, IdleServer, ServerMissingError
from interruptible import progress
from reuse_figures import Figures, Host, figures, missed, shown, shown_crossings
from reuse_plan import (
    WAIT_MILLISECONDS,
    BurstPlan,
    Mode,
    Setting,
    plan_bursts,
)

CYCLES = 20_000
QUICK_CYCLES = 500
SHORT_LIMITS = {"gunicorn": 1}
SHORT_LIMIT_SECONDS = 2
SHORTEST_BEATEN_LIMIT = 2
"""Seconds; heartbeats are a second apart at least."""
SHORT_CAPS = {"nginx": 50, "apache": 20, "node": 50, "hypercorn": 40}
LONGEST_QUICK_LIMIT = 5
MOST_CONNECTIONS = 64
ARRIVES_WITHIN_SECONDS = 60.0
# Each begins with a thousand requests.
PROBES_APART_SECONDS = 1.5
CROSSING_CONNECTIONS = 8
SHORT_PAUSE_SECONDS = 0.4
CROSSINGS = tuple(step / 1000 for step in (-16, -8, -4, -2, 0, 2, 4, 8))
"""Seconds from the limit at which unknown limits are met, each by one livepost."""
KEEPALIVE = ("--keepalive-path", "/counts")
OPTIONS = {
    Mode.TESTED: KEEPALIVE,
    # Without a longer one, connections that carry only heartbeats end after 90 s.
    Mode.BEATING: (*KEEPALIVE, "--keepalive-every", "auto", "--idle-timeout", "10m"),
    Mode.PLAIN: (),
}


class Talk(Conversation):
    """One livepost with one server; `path` is its own."""

    def __init__(self, program: str, host: Host, plan: BurstPlan, path: str, folder: Path) -> None:
        self.host = host
        self.plan = plan
        self.path = path
        self.figures: Figures | None = None
        self._receipts = folder / "receipts"
        url = f"{host.server.url}{path}?wait={WAIT_MILLISECONDS}"
        options = ("--connections", str(plan.connections), "-o", str(self._receipts), *OPTIONS[plan.mode])
        quiet = ("--json", "--progress", "none", "--no-run")
        super().__init__([program, "send", "-", "--to", url, *options, *quiet], plan, folder)

    async def wait_for_first_burst(self) -> None:
        """Until it runs; one that never sends is left to what it says in the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARRIVES_WITHIN_SECONDS):
                while True:
                    if (await self._counts()).requests >= self.plan.connections:
                        return
                    await asyncio.sleep(0.02)

    async def _counts(self) -> Counts:
        return (await asyncio.to_thread(self.host.server.counts)).get(self.path, Counts())

    async def go_on(self, turn_seconds: float) -> None:
        """Give it the other bursts, and keep what came of all."""
        await super().go_on(turn_seconds)
        if self.problem:
            return
        try:
            summary = json.loads(self.stdout)
        except ValueError:
            self.problem = f"no summary; exit code {self.exit_code}: {self.stderr[-300:]}"
            return
        counts = await self._counts()
        lines = self._receipts.read_text(encoding="utf-8").splitlines()
        self.figures = figures(self.host, self.plan, summary, [json.loads(line) for line in lines], counts)


async def probe(
    program: str, server: IdleServer, setting: Setting, memory: Path, later_seconds: float
) -> float:
    """Measure the server, and give its idle limit in seconds, as livepost takes it."""
    await asyncio.sleep(later_seconds)
    wait = setting.limit + setting.later[1] + 3
    process = await asyncio.create_subprocess_exec(
        *(program, "probe", f"{server.url}/counts", "-X", "GET", "--max-wait", f"{wait:g}s", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=measure.usual_environment(os.environ) | {"XDG_CACHE_HOME": str(memory)},
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ServerMissingError(f"livepost probe failed: {stderr.decode(errors='replace').strip()[-300:]}")
    found = json.loads(stdout)
    # What the server says goes before what is seen, which is taken in whole seconds.
    hint = found["keep_alive_hint"]["timeout_seconds"]
    return float(hint if hint is not None else setting.limit + int(setting.later[0]))


async def converse(talks: Sequence[Talk]) -> list[str]:
    """Let all take place at a time; gives what went wrong with any."""
    starting = asyncio.Semaphore(1)

    async def take_place(talk: Talk, turn_seconds: float) -> None:
        async with starting:
            await talk.begin()
            await talk.wait_for_first_burst()
        await talk.go_on(turn_seconds)

    turns = (talk.plan.setting.limit * number / len(talks) for number, talk in enumerate(talks))
    try:
        await asyncio.gather(*(take_place(talk, turn) for talk, turn in zip(talks, turns, strict=True)))
    finally:
        for talk in talks:
            await talk.end()
    return [f"{talk.host.name}, {talk.plan.mode.value}: {talk.problem}" for talk in talks if talk.problem]


def proof(program: str, hosts: Sequence[Host], options: argparse.Namespace, directory: Path) -> list[Talk]:
    """A conversation in each mode with each server, which goes by what the probe measured."""
    talks: list[Talk] = []
    for host in hosts:
        for mode in Mode:
            if mode is Mode.BEATING and host.setting.limit < SHORTEST_BEATEN_LIMIT:
                continue
            folder = directory / f"talk-{len(talks)}"
            shutil.copytree(host.memory, folder)
            plan = plan_bursts(host.setting, mode, options.connections, options.seconds)
            talks.append(Talk(program, host, plan, f"/{mode.name.lower()}", folder))
    return talks


def first_crossings(program: str, hosts: Sequence[Host], directory: Path) -> list[Talk]:
    """Three bursts each, of a livepost that knows nothing of the server; the last one meets the limit."""
    talks: list[Talk] = []
    for host in hosts:
        for mode in (Mode.TESTED, Mode.PLAIN):
            for offset in CROSSINGS:
                folder = directory / f"crossing-{len(talks)}"
                folder.mkdir()
                plan = BurstPlan(
                    host.setting,
                    mode,
                    CROSSING_CONNECTIONS,
                    (SHORT_PAUSE_SECONDS, host.setting.pause_at(offset)),
                )
                talks.append(Talk(program, host, plan, f"/crossing-{len(talks)}", folder))
    return talks


def settings(server: IdleServer, *, quick: bool) -> list[Setting]:
    """Its default limits, and short ones."""
    cap = SHORT_CAPS.get(server.key)
    made = [Setting("default", server.default_limit, server.cap(None), server.later, None)]
    if quick and server.default_limit > LONGEST_QUICK_LIMIT:
        made = []
    return [
        *made,
        Setting(
            "short", SHORT_LIMITS.get(server.key, SHORT_LIMIT_SECONDS), server.cap(cap), server.later, cap
        ),
    ]


async def start(
    program: str, options: argparse.Namespace, directory: Path, stack: contextlib.ExitStack
) -> tuple[list[Host], dict[str, str]]:
    """Run and measure every server twice; gives those that run, and why others do not."""
    made: list[tuple[IdleServer, str, Setting, Path]] = []
    missing: dict[str, str] = {}
    for number, key in enumerate(options.servers):
        try:
            # Each is started twice, so it takes two of them.
            pairs = [next(one for one in idle_servers.all_servers() if one.key == key) for _ in range(2)]
            versions = [server.prepare() for server in pairs]
            for server, setting in zip(pairs, settings(pairs[0], quick=options.quick), strict=False):
                progress(f"starting {key}, {setting.name}")
                folder = directory / f"{key}-{setting.name}"
                stack.enter_context(server.running(folder, setting.limit, setting.told_cap))
                made.append((server, versions[0], setting, directory / f"memory-{number}-{setting.name}"))
        except ServerMissingError as error:
            missing[key] = str(error)
    progress(f"measuring them, which takes {max((one[2].limit for one in made), default=0)} s")
    limits = await asyncio.gather(
        *(
            probe(program, server, setting, memory, number * PROBES_APART_SECONDS)
            for number, (server, _, setting, memory) in enumerate(made)
        )
    )
    return [Host(*one, limit) for one, limit in zip(made, limits, strict=True)], missing


async def prove(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for, show it, and give the exit code."""
    livepost = peers.Livepost()
    try:
        version = livepost.prepare(directory)
    except peers.PeerMissingError as error:
        print(f"reuse: {error}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        hosts, missing = await start(livepost.program, options, directory, stack)
        talks = proof(livepost.program, hosts, options, directory)
        seconds = max((sum(talk.plan.pauses) for talk in talks), default=0.0)
        progress(f"{len(talks)} conversations, which take {seconds:.0f} s")
        problems = await converse(talks)
        short = [host for host in hosts if host.setting.name == "short"]
        progress("the same limits, unknown")
        crossings = first_crossings(livepost.program, short, directory)
        problems += await converse(crossings)
    rows = [talk.figures for talk in talks if talk.figures is not None]
    failed = missed(rows, QUICK_CYCLES if options.quick else CYCLES)
    failed += [*problems, *(f"{key}: {why}" for key, why in missing.items())]
    print(
        f"{version}; bursts of {options.connections} records over as many connections",
        *machine.describe(),
        "",
        *shown(rows),
        "",
        *shown_crossings([talk.figures for talk in crossings if talk.figures is not None]),
        "",
        *(["Missed:", *failed] if failed else ["Every condition is met."]),
        sep="\n",
    )
    if options.json:
        report = {
            "proof": [asdict(row) for row in rows],
            "first_crossings": [asdict(talk.figures) for talk in crossings if talk.figures is not None],
            "missed": failed,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line.  Ends the process with 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [server.key for server in idle_servers.all_servers()]
    parser.add_argument("--servers", default=",".join(known), metavar="A,B", help=f"of {', '.join(known)}")
    parser.add_argument(
        "--connections", type=int, metavar="N", help="of each livepost (default: 32; quick: 16)"
    )
    parser.add_argument("--seconds", type=int, metavar="N", help="of bursts, about (default: 480; quick: 40)")
    parser.add_argument("--quick", action="store_true", help="without limits over 5 s, in two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    options = parser.parse_args(arguments)
    options.connections = options.connections or (16 if options.quick else 32)
    options.seconds = options.seconds or (40 if options.quick else 480)
    if min(options.connections, options.seconds) < 1:
        parser.error("--connections and --seconds must be at least 1")
    if options.connections > MOST_CONNECTIONS:
        parser.error(f"--connections must be at most {MOST_CONNECTIONS}: gunicorn serves as many at a time")
    options.servers = options.servers.split(",")
    unknown = next((key for key in options.servers if key not in known), None)
    if unknown is not None:
        parser.error(f"--servers: there is no {unknown}: choose from {', '.join(known)}")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"the directory of {options.json} does not exist")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    return interruptible.run("reuse", lambda directory: prove(options, directory))


if __name__ == "__main__":
    sys.exit(main())
