"""`livepost runs` and `livepost show`: what runs there are, and how they stand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livepost.cli.delivering import columns_of, named_run, run_path
from livepost.cli.exit_code import ExitCode
from livepost.cli.parser import Parser
from livepost.cli.talk import print_data, say
from livepost.errors import ConfigurationError
from livepost.runs.listing import Activity, BrokenRun, Description, describe, list_runs
from livepost.runs.run import DEFAULT_PARENT
from livepost.text import printable

_LABEL_WIDTH = 12
_HEADS = ("run", "state", "records", "delivered", "rejected", "in doubt", "unsent")


def list_main(arguments: Sequence[str]) -> int:
    """A line for each run.  Exit code 1 if one is damaged."""
    parser = Parser(
        "livepost runs", "livepost runs [PARENT]", "List the runs in a directory, and how they stand."
    )
    parser.add_argument(
        "directory", metavar="PARENT", nargs="?", help=f"where they are (default: {DEFAULT_PARENT})"
    )
    given = _parse(parser, arguments)
    parent = DEFAULT_PARENT if given.directory is None else run_path(given.directory)
    runs = list_runs(parent)
    sound = [run for run in runs if isinstance(run, Description)]
    if given.json:
        for run in sound:
            print_data(json.dumps(_facts(run)))
    elif sound:
        _print_table([_row(run) for run in sound], columns_of(1))
    if not runs:
        say(f"livepost: there are no runs in {parent}")
    broken = [run for run in runs if isinstance(run, BrokenRun)]
    for damaged in broken:
        # Its hint would be to list the runs.
        say(f"livepost: {damaged.error}")
    return ExitCode.FAILED if broken else 0


def show_main(arguments: Sequence[str]) -> int:
    """How one run stands, also while it goes on."""
    parser = Parser("livepost show", "livepost show DIR", "Show how a run stands, also while it goes on.")
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", help="the run directory, or its name in .livepost"
    )
    given = _parse(parser, arguments)
    if given.directory is None:
        raise ConfigurationError("no run is named", "livepost runs lists them")
    run = describe(named_run(given.directory))
    if given.json:
        print_data(json.dumps(_facts(run)))
        return 0
    for label, text in _lines(run):
        print_data(printable(f"{label:<{_LABEL_WIDTH}}{text}"))
    return 0


def _parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    parser.add_argument("--json", action="store_true", help="one JSON object for each run")
    return parser.parse(arguments)


def _facts(run: Description) -> dict[str, Any]:
    """A run as data; the names are stable."""
    counts, manifest = run.counts, run.manifest
    return {
        "path": str(run.path),
        "id": str(manifest.id),
        "state": run.activity.value,
        "created": manifest.created.isoformat(),
        "to": manifest.asked.get("to"),
        "files": manifest.asked.get("files"),
        "records": manifest.records,
        "delivered": counts.delivered,
        "rejected": counts.rejected,
        "in_doubt": counts.in_doubt,
        "in_flight": counts.in_flight,
        "unsent": run.unsent,
        "ended": None if manifest.ended is None else manifest.ended.time.isoformat(),
        "how": None if manifest.ended is None else manifest.ended.how,
    }


def _row(run: Description) -> tuple[str, ...]:
    counts = run.counts
    # What nobody will hear of any more is in doubt.
    lost = counts.in_flight if run.activity is not Activity.RUNNING else 0
    return (
        printable(run.path.name),
        run.activity.value,
        _number(run.manifest.records),
        _number(counts.delivered),
        _number(counts.rejected),
        _number(counts.in_doubt + lost),
        _number(run.unsent),
    )


def _print_table(rows: list[tuple[str, ...]], width: int | None) -> None:
    """A table, or a paragraph for each run where the terminal has no room for it."""
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        for name, *cells in rows:
            print_data(name)
            for head, cell in zip(_HEADS[1:], cells, strict=True):
                print_data(f"  {head:<{_LABEL_WIDTH}}{cell}")
        return
    for row in (_HEADS, *rows):
        cells = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print_data("  ".join(cells).rstrip())


def _lines(run: Description) -> list[tuple[str, str]]:
    counts, manifest = run.counts, run.manifest
    files = manifest.asked.get("files")
    lines = [
        ("run", str(run.path)),
        ("state", run.activity.value + ("" if manifest.ended is None else f": {manifest.ended.how}")),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("to", str(manifest.asked.get("to", "?"))),
        ("input", ", ".join(map(str, files)) if isinstance(files, list) else "?"),
        ("records", _records(run)),
        ("delivered", _number(counts.delivered)),
        ("rejected", _number(counts.rejected) + _where(run.path / "rejected.ndjson", counts.rejected)),
        ("in doubt", _number(counts.in_doubt) + _where(run.path / "in-doubt.ndjson", counts.in_doubt)),
    ]
    if counts.in_flight:
        lines.append(("in flight", _number(counts.in_flight)))
    if run.unsent is not None:
        lines.append(("unsent", _number(run.unsent)))
    return lines


def _records(run: Description) -> str:
    if run.manifest.records is not None:
        return _number(run.manifest.records)
    if run.manifest.keeps_input and run.activity is not Activity.RUNNING:
        return "not known: the input could be read only once, and was not to its end"
    return "not known yet"


def _where(path: Path, count: int) -> str:
    return f"  ({path})" if count else ""


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
