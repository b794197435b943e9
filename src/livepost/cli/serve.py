"""`livepost serve`: the practice server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
from collections.abc import Sequence

from livepost.cli import event_loop
from livepost.cli.fault_grammar import parse_rule
from livepost.cli.fault_help import table_of_faults
from livepost.cli.interrupts import Interrupts
from livepost.cli.parser import Parser
from livepost.cli.talk import say
from livepost.errors import ConfigurationError
from livepost.rehearsal.fault_plan import FaultPlan, Rule
from livepost.rehearsal.ledger import Counts
from livepost.rehearsal.record_log import RecordLog
from livepost.rehearsal.server import PracticeServer, serve

_DESCRIPTION = """\
A practice server.  POST /api (any method) takes JSON and answers 201 with
{"id": n, "connection": c, "request_on_connection": k}; GET /stats tells how
many connections, requests and TLS handshakes there were.  Ctrl-C stops it.

With --fail it misbehaves on purpose.  With --fail, --log or --idempotency,
/stats also tells how many records were processed, how many of them were
duplicates (of the last million), requests replayed, and how often each fault
happened."""


def make_parser() -> Parser:
    """The options of `livepost serve`."""
    parser = Parser("livepost serve", "livepost serve [OPTIONS]", _DESCRIPTION, table_of_faults())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=8080, help="port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--fail",
        metavar="SPEC",
        action="append",
        default=[],
        help="fail like this (see below); repeatable",
    )
    parser.add_argument(
        "--fail-seed", metavar="N", type=int, help="repeat the chances (p=) of a run with this seed"
    )
    parser.add_argument(
        "--log", metavar="FILE", help="append a line of JSON for every request, before it is answered"
    )
    parser.add_argument(
        "--idempotency",
        action="store_true",
        help="answer a repeated Idempotency-Key with the first answer (of the last 100,000 keys)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal comes.  Raises ConfigurationError when the port cannot be had."""
    given = make_parser().parse(arguments)
    if not 0 <= given.port <= 65535:
        raise ConfigurationError(
            f"there is no port {given.port}", "use one from 1 to 65535, or 0 for a free one"
        )
    rules = [parse_rule(spec) for spec in given.fail]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(RecordLog(given.log)).write if given.log is not None else None
        seed = secrets.randbelow(10**9) if given.fail_seed is None else given.fail_seed
        server = PracticeServer(
            given.host,
            given.port,
            faults=FaultPlan(rules, seed=seed) if rules else None,
            log=log,
            idempotent=given.idempotency,
        )
        event_loop.run(_serve(server, _warning(given.fail, rules, seed)))
    return 0


def _warning(specs: Sequence[str], rules: Sequence[Rule], seed: int) -> str:
    """So that nobody takes the server's faults for his own."""
    if not rules:
        return ""
    left_to_chance = any(rule.when.probability is not None for rule in rules)
    repeat = f"; --fail-seed {seed} repeats it" if left_to_chance else ""
    return f"it fails on purpose: {', '.join(specs)}{repeat}"


async def _serve(server: PracticeServer, warning: str) -> None:
    stop = asyncio.Event()

    def on_ready(server: PracticeServer) -> None:
        say(f"practice server on {server.url}/api, counts on {server.url}/stats; Ctrl-C stops it")
        if warning:
            say(warning)

    interrupts = Interrupts(lambda _: stop.set(), stop.set)
    with interrupts.handled():
        stats = await serve(server, on_ready=on_ready, stop=stop)
    say(f"answered {stats.requests} requests on {stats.connections} connections")
    if server.counts is not None:
        say(_account(server.counts))


def _account(counts: Counts) -> str:
    faults = ", ".join(f"{name} {count}" for name, count in sorted(counts.faults.items())) or "none"
    return (
        f"processed {counts.processed} records, {counts.duplicates} of them again; "
        f"replayed {counts.replayed} answers; faults: {faults}"
    )
