"""Recognises input that is what a run wrote about records: these are sent, not the letters."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from livepost.config import InputOptions
from livepost.errors import ConfigurationError, InputError, RunError
from livepost.letter import is_letter
from livepost.model import Record
from livepost.records.source import FileSource
from livepost.runs.listing import Activity, describe, is_letter_file, outdated_letters

_AS_LETTERS = "add --input-format letters to send the records in it"


def with_letters_recognised(files: Sequence[str], options: InputOptions) -> InputOptions:
    """The options, with `input_format` letters where that is what the files hold.

    Such a file is recognised by its name and the run directory that it is in.  Others that look like one
    are refused, because only their owner can know what is meant; standard input and pipes are not
    looked at.  Call `FileSource.check` before.  Raises ConfigurationError.
    """
    if options.input_format not in ("auto", "letters"):
        return options
    of_runs = [file for file in files if is_letter_file(Path(file))]
    for file in of_runs:
        _check_current(Path(file))
    if options.input_format == "letters":
        return options
    for file in files:
        if file not in of_runs and _begins_with_letter(file):
            raise ConfigurationError(
                f"{file} looks like letters of a run, which hold records",
                f"{_AS_LETTERS}, or --input-format ndjson to send its lines as they are",
            )
    if not of_runs:
        return options
    if len(of_runs) < len(files):
        other = next(file for file in files if file not in of_runs)
        raise ConfigurationError(
            f"{of_runs[0]} holds letters of a run and {other} plain records", "send them one after the other"
        )
    return dataclasses.replace(options, input_format="letters")


def _check_current(file: Path) -> None:
    """Refuse what would send records that are delivered, or will be."""
    try:
        run = describe(file.parent)
        outdated = outdated_letters(run, file)
    except RunError as error:
        raise ConfigurationError(
            f"{file} belongs to a run that cannot be used: {error}",
            f"copy the file to another directory and {_AS_LETTERS}",
        ) from error
    if run.activity is Activity.RUNNING:
        raise ConfigurationError(f"the run that writes {file} goes on", "wait until it has ended")
    if run.activity is Activity.INTERRUPTED:
        raise ConfigurationError(
            f"the run that wrote {file} was interrupted", f"first go on with it: livepost resume {run.path}"
        )
    if outdated:
        flag = "--rejected" if file.name.startswith("rejected") else "--in-doubt"
        raise ConfigurationError(
            f"{outdated:,} of the records in {file} have been sent again since",
            f"to send those that are left: livepost retry {run.path} {flag}",
        )


def _begins_with_letter(file: str) -> bool:
    if not os.path.isfile(file):
        return False
    try:
        with closing(FileSource([file], InputOptions()).batches()) as batches:
            first = next(batches, [None])[0]
    except InputError:
        # Whoever reads it in earnest will tell.
        return False
    return isinstance(first, Record) and is_letter(first.body)
