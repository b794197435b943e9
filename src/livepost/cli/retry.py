"""`livepost retry`: send again what was rejected or is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from livepost.cli import asked
from livepost.cli.delivering import Session, named_run, show_nothing_to_send
from livepost.cli.exit_code import ExitCode
from livepost.cli.options import EXIT_CODES, add_delivery_options, delivery_options
from livepost.cli.parser import Parser, collect
from livepost.cli.standing import Standing, quoted
from livepost.cli.talk import say
from livepost.config import ShowOptions
from livepost.errors import ConfigurationError
from livepost.mark import IN_DOUBT, REJECTED
from livepost.recording import LetterSource
from livepost.runs.listing import Activity, describe
from livepost.runs.run import Run

_DESCRIPTION = """\
Send those records of a run again that were rejected or are in doubt.  A record in doubt
may have been processed: sending it again may have it processed twice, unless the server
tells repetitions apart.  The options are those of the run, as with livepost resume.  The
exit code is that of the records sent again."""


def make_parser() -> Parser:
    """The options of `livepost retry`: which records, and how they are delivered."""
    parser = Parser(
        "livepost retry", "livepost retry DIR [--rejected] [--in-doubt] [OPTIONS]", _DESCRIPTION, EXIT_CODES
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", help="the run directory, or its name in .livepost"
    )
    parser.add_argument("--rejected", action="store_true", help="those that the server refused")
    parser.add_argument("--in-doubt", action="store_true", help="those that may have been processed")
    add_delivery_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Deliver the records of the letters, show.  Raises ConfigurationError before anything is sent."""
    given = make_parser().parse(arguments)
    if given.directory is None:
        raise ConfigurationError("no run is named", "livepost runs lists them")
    wanted = {REJECTED: given.rejected, IN_DOUBT: given.in_doubt}
    marks = [mark for mark, is_wanted in wanted.items() if is_wanted]
    if not marks:
        raise ConfigurationError("it is not said what to send again", "add --rejected, --in-doubt or both")
    show = collect(given, ShowOptions)
    path = named_run(given.directory)
    found = describe(path)
    if found.activity is Activity.INTERRUPTED:
        raise ConfigurationError(
            f"the run {path} was interrupted", f"first go on with it: livepost resume {quoted(path)}"
        )
    standing = Standing.described(found)
    if found.activity is Activity.ENDED and not any(standing.number_of(mark) for mark in marks):
        show_nothing_to_send(standing, show)
        if not (standing.unsent or standing.counts.in_flight or standing.has_more_input):
            return ExitCode.DELIVERED
        # Perhaps an earlier retry took them back, and could not send them.
        say(f"livepost: to go on: livepost resume {quoted(path)}")
        return ExitCode.STOPPED_EARLY
    run = Run.open(path)
    try:
        given = asked.restore(run.manifest.asked, given)
        options = delivery_options(given)
        source = LetterSource(run, marks)
        session = Session(source, options, show, run_id=run.manifest.id)
        run.ask(asked.keep(given))
    except BaseException:
        run.close()
        raise
    session.record_in(run)
    code = session.carry_out()
    if source.unfit:
        say(f"livepost: {source.unfit:,} of the rejected were never fit to be sent, and stay rejected")
    return ExitCode.NOT_ALL_DELIVERED if source.unfit and code == ExitCode.DELIVERED else code
