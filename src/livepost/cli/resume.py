"""`livepost resume`: go on with a run that was stopped or has crashed."""

from __future__ import annotations

from collections.abc import Sequence

from livepost.cli import asked
from livepost.cli.delivering import FINISHED, Session, named_run, show_nothing_to_send
from livepost.cli.exit_code import ExitCode
from livepost.cli.options import EXIT_CODES, add_delivery_options, delivery_options
from livepost.cli.parser import Parser, collect
from livepost.cli.standing import Standing
from livepost.cli.talk import say
from livepost.config import ShowOptions
from livepost.errors import ConfigurationError
from livepost.recording import ResumedSource
from livepost.runs.listing import Activity, Description, describe
from livepost.runs.run import Run

_DESCRIPTION = """\
Go on with the run in DIR where it ended.  What was delivered is never sent again; what
was in flight at a crash is in doubt, or is sent again where that is safe: a method or
a key that the run began without makes nothing safe that it had sent.  The options
are those of the run; what is given here goes before them, and what may hold a secret
must be given again.  The input must not have changed.  The exit code is that of the
whole run."""


def make_parser() -> Parser:
    """The options of `livepost resume`: those of `send` that do not say what is read."""
    parser = Parser("livepost resume", "livepost resume DIR [OPTIONS]", _DESCRIPTION, EXIT_CODES)
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", help="the run directory, or its name in .livepost"
    )
    add_delivery_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Take the run up, deliver what is left, show.

    Raises ConfigurationError and InputError before anything is sent.
    """
    given = make_parser().parse(arguments)
    if given.directory is None:
        raise ConfigurationError("no run is named", "livepost runs lists them")
    show = collect(given, ShowOptions)
    path = named_run(given.directory)
    found = describe(path)
    if found.activity is Activity.ENDED and _has_finished(found):
        standing = Standing.described(found)
        show_nothing_to_send(standing, show, continues=True)
        return _code_of_all(ExitCode.DELIVERED, standing)
    run = Run.open(path)
    try:
        given = asked.restore(run.manifest.asked, given)
        options = delivery_options(given)
        source = ResumedSource(run, given.files, options, asked.sent_with(run.manifest))
        session = Session(source, options, show, run_id=run.manifest.id, inputs=given.files, continues=True)
        run.ask(asked.keep(given))
    except BaseException:
        run.close()
        raise
    session.record_in(run)
    _say_where_it_stands(run)
    return _code_of_all(session.carry_out(), session.standing)


def _has_finished(run: Description) -> bool:
    """Every record has its final mark, and `Run.end` came after every letter."""
    ended = run.manifest.ended
    return ended is not None and ended.how == FINISHED and Standing.described(run).is_complete


def _code_of_all(code: int, standing: Standing | None) -> int:
    """What the whole run has earned, not its last part."""
    if standing is None:
        return code
    if code == ExitCode.UNREACHABLE and standing.counts.marked:
        return ExitCode.STOPPED_EARLY
    # Of standard input that was not read to its end, nobody knows how many records are missing.
    is_success = standing.is_delivered and standing.records is not None
    return ExitCode.NOT_ALL_DELIVERED if code == ExitCode.DELIVERED and not is_success else code


def _say_where_it_stands(run: Run) -> None:
    counts = run.states.counts()
    recovery = run.states.recovery
    parts = [f"{counts.delivered:,} delivered before"]
    if recovery.in_flight:
        parts.append(f"{recovery.in_flight:,} in flight when it ended")
    if recovery.unknown:
        parts.append(f"up to {recovery.unknown:,} in flight when the machine stopped")
    say(f"livepost: run {run.path}: {', '.join(parts)}")
    if run.spool is not None and run.manifest.records is None:
        say("livepost: the input could be read only once: what came after the run had ended is not in it")
