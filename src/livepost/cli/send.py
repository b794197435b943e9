"""`livepost send`: deliver the records of files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from livepost.cli import asked
from livepost.cli.delivering import Session, run_path
from livepost.cli.letter_input import with_letters_recognised
from livepost.cli.options import EXIT_CODES, add_delivery_options, delivery_options
from livepost.cli.parser import Parser, add_options, collect
from livepost.cli.talk import say
from livepost.clock import utc_now
from livepost.config import InputOptions, RunOptions, ShowOptions
from livepost.errors import ConfigurationError
from livepost.recording import RecordedSource
from livepost.records.source import FileSource
from livepost.runs.fingerprint import Fingerprint
from livepost.runs.run import Run, new_directory

_DESCRIPTION = """\
Deliver every record of FILES to URL over connections that stay live, and say what
became of each.  .ndjson and .jsonl hold one record a line, .json an array or one
object; .gz is understood; - is standard input.  Of the rejected.ndjson or
in-doubt.ndjson of a run, the records are sent that it holds."""


def make_parser() -> Parser:
    """The options of `livepost send`, all but two from the dataclasses of `config`."""
    parser = Parser("livepost send", "livepost send FILE... --to URL", _DESCRIPTION, EXIT_CODES)
    parser.add_argument("files", metavar="FILE", nargs="*", help="records to send, or -")
    add_delivery_options(parser)
    for group in (InputOptions, RunOptions):
        add_options(parser, group)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Parse, deliver, show.  Raises ConfigurationError before anything is sent or written."""
    given = make_parser().parse(arguments)
    if given.to is None:
        raise ConfigurationError("it is not said where to send the records", "add --to URL")
    if not given.files:
        raise ConfigurationError("no input is named", "name one or more files, or - for standard input")
    options = delivery_options(given)
    show = collect(given, ShowOptions)
    source = FileSource(given.files, options.input)
    source.check()
    input_options = with_letters_recognised(given.files, options.input)
    if input_options != options.input:
        # Kept like this: what is beside the file may be another thing when the run is resumed.
        given.input_format = input_options.input_format
        options = replace(options, input=input_options)
        source = FileSource(given.files, input_options)
        source.check()
    run_id = uuid4()
    session = Session(source, options, show, run_id=run_id, inputs=given.files)
    run = _begin_run(given, collect(given, RunOptions), run_id)
    if run is not None:
        if show.progress != "none":
            say(f"livepost: run {run.path}")
        session.record_in(run, RecordedSource(source, run))
    return session.carry_out()


def _begin_run(given: argparse.Namespace, options: RunOptions, run_id: UUID) -> Run | None:
    if options.no_run:
        return None
    fingerprints = [Fingerprint.of(file) if file != "-" else None for file in given.files]
    keeps_input = None in fingerprints
    given.files = [file if keeps_input else str(Path(file).absolute()) for file in given.files]
    return Run.create(
        run_path(options.run) if options.run is not None else new_directory(given.files[0], utc_now()),
        asked.keep(given),
        run_id=run_id,
        inputs=[] if keeps_input else [fingerprint for fingerprint in fingerprints if fingerprint],
        keep_input=keeps_input,
    )
