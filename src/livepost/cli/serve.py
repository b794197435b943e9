"""`livepost serve`: the practice server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import shutil
import ssl
import textwrap
from collections.abc import Iterator, Sequence

from livepost.cli import event_loop
from livepost.cli.fault_grammar import parse_rule
from livepost.cli.fault_help import table_of_faults
from livepost.cli.interrupts import Interrupts
from livepost.cli.parser import Parser
from livepost.cli.profile_help import described, table_of_profiles
from livepost.cli.serve_options import add_connection_options, limits_of, profile_of, whole_number
from livepost.cli.talk import say
from livepost.errors import ConfigurationError
from livepost.rehearsal.certificates import practice_certificate, server_context
from livepost.rehearsal.fault_over_http2 import check_over_http2
from livepost.rehearsal.fault_plan import FaultPlan, Rule
from livepost.rehearsal.ledger import Counts
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.profiles import Profile
from livepost.rehearsal.record_log import RecordLog
from livepost.rehearsal.server import PracticeServer, serve
from livepost.rehearsal.server_clock import ServerClock
from livepost.rehearsal.stats import ServerStats
from livepost.report.wording import duration

_DESCRIPTION = """\
A practice server.  POST /api (any method) takes JSON and answers 201 with
{"id": n, "connection": c, "request_on_connection": k}; GET /stats tells how
many connections, requests and TLS handshakes there were.  Ctrl-C stops it.

With --profile, or limits of its own, it ends connections as real servers do,
and /stats tells how many it ended because they were idle, used up, or too old.
With --fail it misbehaves on purpose.  With --fail, --log or --idempotency,
/stats also tells how many records were processed, how many of them were
duplicates (of the last million), requests replayed, and how often each fault
happened."""

_WIDEST = 80


def make_parser() -> Parser:
    """The options of `livepost serve`."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    description = "\n\n".join(
        textwrap.fill(paragraph, width, break_on_hyphens=False) for paragraph in _DESCRIPTION.split("\n\n")
    )
    epilog = f"{table_of_profiles(width)}\n\n{table_of_faults(width)}"
    parser = Parser("livepost serve", "livepost serve [OPTIONS]", description, epilog)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=whole_number,
        default=8080,
        help="port, 0 for a free one (default: %(default)s)",
    )
    add_connection_options(parser)
    faults = parser.add_argument_group("faults and account")
    faults.add_argument(
        "--fail",
        metavar="SPEC",
        action="append",
        default=[],
        help="fail like this (see below); repeatable",
    )
    faults.add_argument(
        "--fail-seed",
        metavar="N",
        type=whole_number,
        help="repeat the chances (p=) of a run with this seed",
    )
    faults.add_argument(
        "--log", metavar="FILE", help="append a line of JSON for every request, before it is answered"
    )
    faults.add_argument(
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
    profile = profile_of(given)
    limits = limits_of(given, profile)
    rules = _rules(given)
    with contextlib.ExitStack() as stack:
        seed = secrets.randbelow(10**9) if given.fail_seed is None else given.fail_seed
        tls, remark_on_tls = _tls(given, stack)
        log = stack.enter_context(RecordLog(given.log)).write if given.log is not None else None
        server = PracticeServer(
            given.host,
            given.port,
            ssl_context=tls,
            limits=limits,
            faults=FaultPlan(rules, seed=seed) if rules else None,
            log=log,
            idempotent=given.idempotency,
            http2=given.http2,
            latency=given.latency,
            handshake_seconds=given.handshake_latency,
            clock=ServerClock(given.clock_skew),
        )
        remarks = (
            remark_on_tls,
            _remark_on_limits(profile, limits),
            _remark_on_clock(given.clock_skew),
            _warning(given.fail, rules, seed),
        )
        event_loop.run(_serve(server, [remark for remark in remarks if remark]))
    return 0


def _rules(given: argparse.Namespace) -> list[Rule]:
    rules = []
    for spec in given.fail:
        rule = parse_rule(spec)
        if given.http2:
            try:
                check_over_http2(rule.fault)
            except ConfigurationError as error:
                raise ConfigurationError(f"--fail {spec}: {error}", error.hint) from None
        rules.append(rule)
    return rules


def _tls(given: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[ssl.SSLContext | None, str]:
    """A context if TLS is wanted, and how to trust it; the stack removes what is made for it."""
    if given.tls_cert is not None:
        return server_context(given.tls_cert, given.tls_key, http2=given.http2), ""
    if not given.tls:
        return None, ""
    made = stack.enter_context(practice_certificate(given.host))
    context = server_context(str(made.certificate), str(made.key), http2=given.http2)
    return context, f"its certificate is trusted with --cacert {made.ca_file}"


def _remark_on_limits(profile: Profile | None, limits: ServerLimits) -> str:
    described_limits = described(limits)
    if profile is None:
        return f"a connection's limits: {described_limits}" if described_limits else ""
    return f"as {profile.name}: {described_limits or 'no limits'}"


def _remark_on_clock(skew: float) -> str:
    return f"its clock is {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}" if skew else ""


def _warning(specs: Sequence[str], rules: Sequence[Rule], seed: int) -> str:
    """So that nobody takes the server's faults for his own."""
    if not rules:
        return ""
    left_to_chance = any(rule.when.probability is not None for rule in rules)
    repeat = f"; --fail-seed {seed} repeats it" if left_to_chance else ""
    return f"it fails on purpose: {', '.join(specs)}{repeat}"


async def _serve(server: PracticeServer, remarks: Sequence[str]) -> None:
    stop = asyncio.Event()

    def on_ready(server: PracticeServer) -> None:
        say(f"practice server on {server.url}/api, counts on {server.url}/stats; Ctrl-C stops it")
        for remark in remarks:
            say(remark)

    interrupts = Interrupts(lambda _: stop.set(), stop.set)
    with interrupts.handled():
        stats = await serve(server, on_ready=on_ready, stop=stop)
    for line in _farewell(stats):
        say(line)
    if server.counts is not None:
        say(_account(server.counts))


def _farewell(stats: ServerStats) -> Iterator[str]:
    yield f"answered {stats.requests} requests on {stats.connections} connections"
    if stats.handshakes:
        yield f"TLS handshakes: {stats.handshakes - stats.resumed} full, {stats.resumed} resumed"
    if stats.http2:
        yield f"HTTP/2 on {stats.http2} of the connections"
    ended = (("idle", stats.idle_ends), ("used up", stats.cap_ends), ("too old", stats.age_ends))
    if any(count for _, count in ended):
        yield f"ended: {', '.join(f'{count} {reason}' for reason, count in ended)}"


def _account(counts: Counts) -> str:
    faults = ", ".join(f"{name} {count}" for name, count in sorted(counts.faults.items())) or "none"
    return (
        f"processed {counts.processed} records, {counts.duplicates} of them again; "
        f"replayed {counts.replayed} answers; faults: {faults}"
    )
