"""`livepost send`: deliver the records of files."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Sequence

from livepost.cli import event_loop
from livepost.cli.exit_code import ExitCode, exit_code
from livepost.cli.interrupts import Interrupts
from livepost.cli.parser import Parser, add_options, collect
from livepost.cli.talk import print_data, say, say_error
from livepost.config import (
    DeliveryOptions,
    InputOptions,
    Limits,
    RequestOptions,
    RouteOptions,
    ShowOptions,
    Timeouts,
    TlsOptions,
)
from livepost.deliver import Delivery, Result
from livepost.errors import ConfigurationError, LivepostError, OutputError
from livepost.model import State
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions
from livepost.records.source import FileSource
from livepost.report.progress import make_progress
from livepost.report.receipts import Receipts
from livepost.target import parse_target

_FLUSH_SECONDS = 1.0

_GROUPS = (
    *(RequestOptions, OutcomeOptions, RetryOptions, PaceOptions, OrderOptions),
    *(Limits, Timeouts, TlsOptions, RouteOptions, InputOptions, ShowOptions),
)

_DESCRIPTION = """\
Deliver every record of FILES to URL over connections that stay live, and say what
became of each.  .ndjson and .jsonl hold one record a line, .json an array or one
object; .gz is understood; - is standard input."""

_EPILOG = """\
exit codes: 0 all delivered; 1 some rejected or in doubt; 2 wrong usage; 3 target never
reached; 75 stopped early, or output not written; 130 and 143 stopped by SIGINT and
SIGTERM (the first lets what is in flight finish, the second stops at once)."""


def make_parser() -> Parser:
    """The options of `livepost send`, all but two from the dataclasses of `config`."""
    parser = Parser("livepost send", "livepost send FILE... --to URL", _DESCRIPTION, _EPILOG)
    parser.add_argument("files", metavar="FILE", nargs="*", help="records to send, or -")
    parser.add_argument("--to", metavar="URL", help="where to send them")
    for group in _GROUPS:
        add_options(parser, group)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Parse, deliver, show.  Raises ConfigurationError before anything is sent or written."""
    given = make_parser().parse(arguments)
    if given.to is None:
        raise ConfigurationError("it is not said where to send the records", "add --to URL")
    if not given.files:
        raise ConfigurationError("no input is named", "name one or more files, or - for standard input")
    options = _delivery_options(given)
    show = collect(given, ShowOptions)
    source = FileSource(given.files, options.input)
    source.check()
    delivery = Delivery(source, options, progress=make_progress(_progress_mode(show), sys.stderr))
    receipts = _open_receipts(show.receipts, given.files)
    if receipts is not None:
        delivery.observe(receipts)
    try:
        result, stopped_by = event_loop.run(_deliver(delivery, receipts))
    finally:
        closing_error = _close(receipts)
    code = exit_code(result, stopped_by)
    try:
        _show(result, show)
    except OutputError as error:
        closing_error = closing_error or error
    if closing_error is None:
        return code
    say_error(closing_error)
    return code if stopped_by else ExitCode.STOPPED_EARLY


def _delivery_options(given: argparse.Namespace) -> DeliveryOptions:
    return DeliveryOptions(
        target=parse_target(given.to),
        request=collect(given, RequestOptions),
        limits=collect(given, Limits),
        timeouts=collect(given, Timeouts),
        tls=collect(given, TlsOptions),
        route=collect(given, RouteOptions),
        input=collect(given, InputOptions),
        outcome=collect(given, OutcomeOptions),
        retry=collect(given, RetryOptions),
        pace=collect(given, PaceOptions),
        order=collect(given, OrderOptions),
    )


def _progress_mode(show: ShowOptions) -> str:
    """As asked for, but no bar among receipts on the same terminal."""
    shares_terminal = show.receipts == "-" and os.isatty(2) and _is_same(_status(1), _status(2))
    return "plain" if shares_terminal and show.progress != "none" else show.progress


def _open_receipts(path: str | None, inputs: Sequence[str]) -> Receipts | None:
    """Refuses to overwrite an input, which would be emptied before it is read."""
    if path is None:
        return None
    output = _status(1 if path == "-" else path)
    for name in inputs:
        if _is_same(_status(0 if name == "-" else name), output, only_files=True):
            raise ConfigurationError(
                f"the receipts would overwrite the input {name}", "give -o the name of another file"
            )
    return Receipts(path)


def _status(file: str | int) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def _is_same(one: os.stat_result | None, other: os.stat_result | None, *, only_files: bool = False) -> bool:
    if one is None or other is None or (only_files and not stat.S_ISREG(one.st_mode)):
        return False
    return os.path.samestat(one, other)


async def _deliver(delivery: Delivery, receipts: Receipts | None) -> tuple[Result, signal.Signals | None]:
    def on_first(number: signal.Signals) -> None:
        delivery.stop()
        say(f"livepost: {number.name}: waiting for what is in flight; once more stops at once")

    interrupts = Interrupts(on_first, delivery.abort)
    flushing = asyncio.create_task(_keep_flushing(receipts, delivery)) if receipts else None
    try:
        with interrupts.handled():
            result = await delivery.run()
            if receipts is not None and interrupts.received is not None:
                # Here, where a signal still ends it, in case nobody reads them.
                with contextlib.suppress(OutputError):
                    receipts.flush()
    finally:
        if flushing is not None:
            flushing.cancel()
    return result, interrupts.received


async def _keep_flushing(receipts: Receipts, delivery: Delivery) -> None:
    """So that `tail -f` shows receipts soon after they are written."""
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        try:
            receipts.flush()
        except OutputError as error:
            delivery.fail(error)


def _close(receipts: Receipts | None) -> LivepostError | None:
    if receipts is None:
        return None
    try:
        receipts.close()
    except LivepostError as error:
        return error
    return None


def _show(result: Result, show: ShowOptions) -> None:
    """The summary, as data or to a person, and what ended the run early.  Raises OutputError."""
    try:
        if show.json:
            print_data(result.summary.to_json())
        else:
            say(result.summary.to_text(_terminal_width()))
            _say_troubles(result)
    finally:
        if result.error is not None:
            say_error(result.error)


def _say_troubles(result: Result) -> None:
    """What became of the first records that were not delivered, and where to see the others."""
    for trouble in result.troubles:
        say(f"livepost: {trouble}")
    records = result.summary.records
    shown = [trouble for trouble in result.troubles if trouble.state is not State.UNSENT]
    more = records.rejected + records.in_doubt - len(shown)
    if more > 0:
        say(f"livepost: and {more:,} more; -o FILE writes what became of every record")
    if not result.read_to_end:
        say("livepost: the input was not read to its end")


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return shutil.get_terminal_size().columns
