"""`livepost probe`: what is worth knowing of a server before a large run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from livepost.cli import event_loop
from livepost.cli.delivering import terminal_width
from livepost.cli.exit_code import ExitCode
from livepost.cli.interrupts import Interrupts
from livepost.cli.parser import Parser, add_options, collect
from livepost.cli.talk import print_data, say, say_error
from livepost.config import (
    DeliveryOptions,
    LivenessOptions,
    RequestOptions,
    RouteOptions,
    ShowOptions,
    Timeouts,
    TlsOptions,
)
from livepost.errors import ConfigurationError, DestinationError, DialError
from livepost.probe import Probe
from livepost.probing.display import make_display
from livepost.probing.findings import Findings
from livepost.probing.options import ProbeOptions
from livepost.probing.recommend import Recommendation, recommend
from livepost.probing.remembering import remember
from livepost.probing.text import as_text
from livepost.target import parse_target

_DESCRIPTION = """\
Find out how URL's server treats its connections: how long they may be idle, how many
requests they carry, what handshakes cost.  Only safe requests are sent (HEAD, GET,
OPTIONS).  Ends with the flags of livepost send that suit it, and livepost send also
goes by what was measured, for seven days.  Takes about as long as --max-wait, unless
the server closes idle connections before.  Ctrl-C shows what is known so far."""

_EXIT_CODES = """\
exit codes: 0 it could be probed, whatever came of it; 2 wrong usage; 3 the server cannot
be reached, or does not answer in HTTP; 130 and 143 stopped by SIGINT and SIGTERM."""

# What a probe has no use for.
_OMITTED: dict[type[Any], tuple[str, ...]] = {
    RequestOptions: ("method",),
    Timeouts: ("idle_conn_timeout", "expect_continue_timeout"),
    ShowOptions: ("receipts",),
    LivenessOptions: tuple(
        field.name for field in dataclasses.fields(LivenessOptions) if field.name != "no_memory"
    ),
}
_KEPT_GROUPS = (Timeouts, LivenessOptions, TlsOptions, RouteOptions)
_HEADERS = "headers"


def make_parser() -> Parser:
    """The options of `livepost probe`, all but one from dataclasses."""
    parser = Parser("livepost probe", "livepost probe URL [OPTIONS]", _DESCRIPTION, _EXIT_CODES)
    parser.add_argument("url", metavar="URL", nargs="?", help="where records are to go")
    for group in (ProbeOptions, RequestOptions, *_KEPT_GROUPS, ShowOptions):
        add_options(parser, group, omit=_OMITTED.get(group, ()))
    return parser


def main(arguments: Sequence[str]) -> int:
    """Parse, probe, show.  Raises ConfigurationError before anything is sent."""
    given = make_parser().parse(arguments)
    if given.url is None:
        raise ConfigurationError("no URL is named", "name the URL that records are to be sent to")
    options = DeliveryOptions(
        target=parse_target(given.url),
        request=RequestOptions(headers=tuple(getattr(given, _HEADERS, ()))),
        timeouts=collect(given, Timeouts),
        tls=collect(given, TlsOptions),
        route=collect(given, RouteOptions),
    )
    show = collect(given, ShowOptions)
    asked = collect(given, ProbeOptions)
    probe = Probe(options, asked, display=make_display(show.progress, sys.stderr))
    try:
        findings, stopped_by = event_loop.run(_probe(probe))
    except (DialError, DestinationError) as error:
        say_error(error)
        return ExitCode.UNREACHABLE
    no_memory = collect(given, LivenessOptions).no_memory
    problems = [] if no_memory else remember(findings, options)
    advised = recommend(findings, is_remembered=not (no_memory or problems))
    _show(findings, advised, given, as_json=show.json)
    for problem in problems:
        say(f"livepost: {problem}")
    return 0 if stopped_by is None else 128 + stopped_by


async def _probe(probe: Probe) -> tuple[Findings, signal.Signals | None]:
    def on_first(number: signal.Signals) -> None:
        probe.stop()
        say(f"livepost: {number.name}: this is what is known so far")

    interrupts = Interrupts(on_first, probe.stop)
    with interrupts.handled():
        findings = await probe.run()
    return findings, interrupts.received


def _show(findings: Findings, advised: Recommendation, given: argparse.Namespace, *, as_json: bool) -> None:
    command = _command(advised, given)
    if not as_json:
        print_data(as_text(findings, advised, command, terminal_width()))
        return
    recommendation = {"command": command, **dataclasses.asdict(advised)}
    print_data(json.dumps({**findings.as_dict(), "recommendation": recommendation}))


def _command(advised: Recommendation, given: argparse.Namespace) -> str:
    """The `livepost send` for this server: what was given here that it needs, and what is recommended."""
    words = ["livepost send FILE... --to", shlex.quote(str(parse_target(given.url)))]
    kept = list(_kept_flags(given))
    words += kept
    words += [advice.flag for advice in advised.advice if advice.flag not in kept]
    return " ".join(words)


def _kept_flags(given: argparse.Namespace) -> Iterator[str]:
    """What was given, without what may hold a secret: that is left for the user to fill in."""
    for group in _KEPT_GROUPS:
        for field in dataclasses.fields(group):
            if not hasattr(given, field.name):
                continue
            value, flag = getattr(given, field.name), field.metadata["flags"][0]
            if value is True:
                yield flag
            elif not field.repr and "@" in value:
                yield f"{flag} ..."
            else:
                for each in value if isinstance(value, list) else [value]:
                    yield f"{flag} {_written(each)}"
    for _ in getattr(given, _HEADERS, ()):
        yield "-H ..."


def _written(value: object) -> str:
    if isinstance(value, float):
        # Without an exponent, which no option takes.
        return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
    return "none" if value is None else shlex.quote(str(value))
