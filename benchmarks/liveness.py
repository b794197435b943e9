"""Bursts with pauses just below, at and above the time for which a server keeps an idle connection.

A client that reuses a connection in the moment in which the server closes it loses the request, or
sends it twice.  Here the same records go through every client to every server, in bursts; the pauses
between them are a sweep around the idle limit.  Shown side by side, for each server:

    failed      records that the client did not report as delivered
    twice       requests that the server had seen before
    lost        records that the client reported as delivered, and the server never saw
    handshakes  connections that carried a request, as the server saw them; for livepost all that it
                opened, if those are more

How many handshakes are to be expected stands beside the server, for a client that uses all its connections
in every burst: one for each, and again after every pause that is longer than the limit for certain (the
fewest), or not shorter (the most).  A pause counts from the moment in which the client is given the
records, so its connections are idle a little less.  Node.js waits a second longer than it says.

livepost takes part twice.  Without --keepalive-path it replaces a connection before the server may close it,
which costs handshakes; with it, it asks whether the connection is still there.

All servers run at a time, and all clients, each with a path of its own, in turns so that their bursts do
not meet; that takes about a minute with --quick and four without.  What is not installed is named and
left out: nginx, Apache, Node, uvicorn, gunicorn, hypercorn; Go, aiohttp, requests, pycurl.  Nothing is
written unless --json is given, and whatever was started is ended.  Exit code 0 whatever the figures, 1
if a client ended without a result, 2 if nothing can run.

    .venv/bin/python benchmarks/liveness.py --quick
    .venv/bin/python benchmarks/liveness.py --servers nginx,apache --clients livepost,go --rounds 20
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import idle_servers
import interruptible
import machine
import peers
from conversation import Conversation
from idle_servers import Counts, IdleServer, ServerMissingError
from interruptible import progress
from peers import HERE, Peer, PeerMissingError, UnreadableResultError

QUICK_OFFSETS = (-0.5, -0.02, -0.005, 0.0, 0.005, 0.02)
OFFSETS = (-0.5, -0.1, -0.05, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
"""Seconds from the idle limit; before the first one there is a pause that outlasts every connection."""
FIRST_OFFSET = 1.5
LONGER_FOR_CERTAIN_SECONDS = 0.2
ARRIVES_WITHIN_SECONDS = 60.0
LABELS = {"go": "Go net/http", "livepost-asking": "livepost, --keepalive-path"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What every client sends, and when."""

    limit: int
    """Seconds for which the servers keep an idle connection."""
    offsets: tuple[float, ...]
    connections: int
    records: int
    """In each burst."""

    @property
    def pauses(self) -> list[float]:
        """Seconds before each burst but the first."""
        return [self.limit + offset for offset in (FIRST_OFFSET, *self.offsets)]

    @property
    def sent(self) -> int:
        return self.records * (1 + len(self.pauses))

    @property
    def expected(self) -> tuple[int, int]:
        """The fewest and the most handshakes of a client that uses all connections, and reuses all it can."""
        certain = sum(pause > self.limit + LONGER_FOR_CERTAIN_SECONDS for pause in self.pauses)
        possible = sum(pause >= self.limit for pause in self.pauses)
        return self.connections * (1 + certain), self.connections * (1 + possible)

    @property
    def seconds(self) -> float:
        """How long it takes, about, but for starting."""
        return self.limit + sum(self.pauses)

    def burst(self, number: int) -> bytes:
        """Its records, none of which is in another burst."""
        first = number * self.records
        return b"".join(b'{"id": %d}\n' % n for n in range(first, first + self.records))


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of one client at one server."""

    failed: int
    twice: int
    lost: int
    handshakes: int


@dataclass(frozen=True, slots=True)
class Client:
    """A peer that is given its records on stdin, as they come."""

    peer: Peer
    command: Callable[[str, int], list[str]]
    """From the URL and how many connections to use."""

    @property
    def key(self) -> str:
        return self.peer.key


def figures(sent: int, delivered: int, opened: int, counts: Counts) -> Figures:
    """From what the client said (`opened` is 0 if it said nothing) and what the server counted."""
    return Figures(
        failed=sent - delivered,
        twice=counts.requests - counts.different,
        lost=max(0, delivered - counts.different),
        handshakes=max(opened, counts.connections),
    )


def all_clients() -> list[Client]:
    """Every client there is, in the order in which they are shown."""
    livepost, asking, go = peers.Livepost(), peers.LivepostAsking(), peers.Go(default_transport=False)

    def sending(peer: peers.Livepost, *asked: str) -> Client:
        options = ["--json", "--progress", "none", "--no-run", *asked]
        return Client(
            peer,
            lambda url, connections: [
                *(peer.program, "send", "-", "--to", url, "--connections", str(connections), *options)
            ],
        )

    def loop(url: str, connections: int) -> list[str]:
        return [str(go.program), "-file", "/dev/stdin", "-to", url, "-workers", str(connections)]

    ours = [sending(livepost), sending(asking, "--keepalive-path", "/counts")]
    return [*ours, Client(go, loop), *map(_script, ("aiohttp", "requests", "pycurl"))]


def _script(module: str) -> Client:
    program = str(HERE / "clients" / f"{module}_bursts.py")
    return Client(
        peers.Script(module, module, module, (1.0, 1.0)),
        lambda url, connections: [sys.executable, program, "--to", url, "--connections", str(connections)],
    )


class Talk(Conversation):
    """One client with one server."""

    def __init__(self, client: Client, server: IdleServer, plan: Plan, folder: Path) -> None:
        self.client = client
        self.server = server
        self.path = f"/{client.key}"
        self.figures: Figures | None = None
        self._plan = plan
        super().__init__(client.command(server.url + self.path, plan.connections), plan, folder)

    async def go_on(self, turn_seconds: float) -> None:
        """Give it the other bursts, and keep what came of all."""
        await super().go_on(turn_seconds)
        if self.problem:
            return
        try:
            result = self.client.peer.read(self.stdout)
        except UnreadableResultError as error:
            self.problem = f"{error}; exit code {self.exit_code}: {self.stderr[-200:]}"
            return
        opened = 0
        if isinstance(self.client.peer, peers.Livepost):
            opened = json.loads(self.stdout)["connections"]["opened"]
        counts = (await asyncio.to_thread(self.server.counts)).get(self.path, Counts())
        self.figures = figures(self._plan.sent, result.delivered, opened, counts)


async def measure_all(
    clients: Sequence[Client], servers: Sequence[IdleServer], plan: Plan, directory: Path
) -> list[Talk]:
    """Let every client talk with every server, all at a time."""
    talks = []
    for server in servers:
        for client in clients:
            folder = directory / f"{client.key}-to-{server.key}"
            folder.mkdir()
            talks.append(Talk(client, server, plan, folder))
    try:
        for talk in talks:
            await talk.begin()
        await asyncio.gather(*(_wait_for_first_burst(server, clients, plan) for server in servers))
        progress(f"every client has sent its first burst; the others take {plan.seconds:.0f} s")
        turns = (plan.limit * number / len(talks) for number in range(len(talks)))
        await asyncio.gather(*(talk.go_on(turn) for talk, turn in zip(talks, turns, strict=True)))
    finally:
        for talk in talks:
            await talk.end()
    return talks


async def _wait_for_first_burst(server: IdleServer, clients: Sequence[Client], plan: Plan) -> None:
    """Until all of them run; a client that never sends is left to what it says in the end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ARRIVES_WITHIN_SECONDS):
            while True:
                counts = await asyncio.to_thread(server.counts)
                if all(counts.get(f"/{one.key}", Counts()).requests >= plan.records for one in clients):
                    return
                await asyncio.sleep(0.25)


def shown(
    plan: Plan,
    labels: dict[str, str],
    results: dict[tuple[str, str], Figures],
    missing: dict[str, str],
    versions: dict[str, str],
) -> list[str]:
    """The report: a table for each server, and the sums over all.  `results` is by server and client."""
    fewest, most = plan.expected
    lines = []
    for key, version in versions.items():
        found = {client: results[key, client] for client in labels if (key, client) in results}
        lines += ["", f"{version}: {fewest} to {most} handshakes expected", *_table(found, labels)]
    if len(versions) > 1:
        sums = {
            client: _sum(figures for (_, one), figures in results.items() if one == client)
            for client in labels
        }
        fewest, most = fewest * len(versions), most * len(versions)
        lines += ["", f"all servers: {fewest} to {most} handshakes expected", *_table(sums, labels)]
    return [*lines, *([""] if missing else []), *(f"{key}: {why}" for key, why in missing.items())]


def _table(rows: dict[str, Figures], labels: dict[str, str]) -> list[str]:
    head = f"  {'':<28}{'failed':>10}{'twice':>10}{'lost':>10}{'handshakes':>14}"
    return [
        head,
        *(
            f"  {labels[key]:<28}{row.failed:>10,}{row.twice:>10,}{row.lost:>10,}{row.handshakes:>14,}"
            for key, row in rows.items()
        ),
    ]


def _sum(several: Iterable[Figures]) -> Figures:
    rows = list(several)
    return Figures(
        failed=sum(row.failed for row in rows),
        twice=sum(row.twice for row in rows),
        lost=sum(row.lost for row in rows),
        handshakes=sum(row.handshakes for row in rows),
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line.  Ends the process with 2 on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = {
        "servers": [server.key for server in idle_servers.all_servers()],
        "clients": [client.key for client in all_clients()],
    }
    for name, known in keys.items():
        parser.add_argument(
            f"--{name}", default=",".join(known), metavar="A,B", help=f"of {', '.join(known)}"
        )
    parser.add_argument("--limit", type=int, default=5, metavar="SECONDS", help="idle limit (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="sweeps of pauses (default: 3)")
    parser.add_argument("--connections", type=int, default=4, metavar="N", help="of each client (default: 4)")
    parser.add_argument("--records", type=int, default=20, metavar="N", help="in each burst (default: 20)")
    parser.add_argument("--quick", action="store_true", help="one short sweep, about a minute in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    options = parser.parse_args(arguments)
    if min(options.limit, options.rounds, options.connections, options.records) < 1:
        parser.error("--limit, --rounds, --connections and --records must be at least 1")
    if options.records > 1000:
        parser.error("--records must be at most 1000: a burst has to fit into a pipe")
    for name, known in keys.items():
        wanted = getattr(options, name).split(",")
        unknown = next((key for key in wanted if key not in known), None)
        if unknown is not None:
            parser.error(f"--{name}: there is no {unknown}: choose from {', '.join(known)}")
        setattr(options, name, wanted)
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"the directory of {options.json} does not exist")
    offsets = QUICK_OFFSETS if options.quick else OFFSETS * options.rounds
    options.plan = Plan(options.limit, offsets, options.connections, options.records)
    return options


async def benchmark(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for, show it, and give the exit code."""
    plan: Plan = options.plan
    missing: dict[str, str] = {}
    clients, labels = [], {}
    for client in all_clients():
        if client.key in options.clients:
            progress(f"preparing {client.key}")
            try:
                version = client.peer.prepare(directory)
            except PeerMissingError as error:
                missing[client.key] = str(error)
                continue
            clients.append(client)
            labels[client.key] = LABELS.get(client.key, version)
    with contextlib.ExitStack() as stack:
        servers, versions = [], {}
        for server in idle_servers.all_servers():
            if server.key in options.servers:
                progress(f"starting {server.key}")
                try:
                    versions[server.key] = server.prepare()
                    stack.enter_context(server.running(directory / server.key, plan.limit))
                    servers.append(server)
                except ServerMissingError as error:
                    versions.pop(server.key, None)
                    missing[server.key] = str(error)
        if not clients or not servers:
            named = "; ".join(f"{key}: {why}" for key, why in missing.items())
            print(f"liveness: nothing can run: {named}", file=sys.stderr)
            return 2
        talks = await measure_all(clients, servers, plan, directory)
    results = {(talk.server.key, talk.client.key): talk.figures for talk in talks if talk.figures}
    problems = [f"{talk.client.key} to {talk.server.key}: {talk.problem}" for talk in talks if talk.problem]
    print(
        f"{plan.sent} records to each server in bursts of {plan.records} over {plan.connections} connections",
        f"idle limit {plan.limit} s, pauses from {min(plan.pauses):g} to {max(plan.pauses):g} s",
        *machine.describe(),
        *shown(plan, labels, results, missing, versions),
        *(["", "Problems", *problems] if problems else []),
        sep="\n",
    )
    if options.json:
        told = [{"server": one, "client": two} | asdict(row) for (one, two), row in results.items()]
        report = {
            "plan": asdict(plan),
            "expected_handshakes": plan.expected,
            "results": told,
            "missing": missing,
        }
        options.json.write_text(
            json.dumps(report | {"problems": problems}, indent=1) + "\n", encoding="utf-8"
        )
    return 1 if problems else 0


def main() -> int:
    options = parse(sys.argv[1:])
    return interruptible.run("liveness", lambda directory: benchmark(options, directory))


if __name__ == "__main__":
    sys.exit(main())
