from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from livepost.cli import probe, resume, retry, send
from livepost.cli.exit_code import ExitCode, code_of
from livepost.cli.options import EXIT_CODES
from livepost.cli.parser import Parser
from livepost.errors import (
    ConfigurationError,
    InputChangedError,
    InputError,
    LivepostError,
    OutputError,
    RunError,
)

READMES = Path(__file__).parents[2]
CODES = sorted(map(int, ExitCode))

# A number at the beginning of what is said of it.
_TOLD = re.compile(r"(?<![a-z\d])(\d+) (?=[a-z])")
_ROW = re.compile(r"^\| ([\d, 、]+) \|")


def told_in(parser: Parser) -> list[int]:
    return list(map(int, _TOLD.findall(" ".join(str(parser.epilog).split()))))


def told_in_readme(text: str) -> list[int]:
    """The codes of the table whose first row is that of 0."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| 0 |"))
    found: list[int] = []
    for line in lines[first:]:
        row = _ROW.match(line)
        if row is None:
            break
        found += map(int, re.findall(r"\d+", row[1]))
    return found


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_tells_every_code_and_no_other(name: str) -> None:
    assert told_in_readme((READMES / name).read_text("utf-8")) == CODES


@pytest.mark.parametrize("make", [send.make_parser, resume.make_parser, retry.make_parser])
def test_the_help_of_what_delivers_tells_every_code_and_no_other(make: Callable[[], Parser]) -> None:
    parser = make()
    assert parser.epilog == EXIT_CODES
    assert told_in(parser) == CODES


def test_the_help_of_probe_tells_only_codes_that_there_are() -> None:
    assert set(told_in(probe.make_parser())) == {
        ExitCode.DELIVERED,
        ExitCode.USAGE,
        ExitCode.UNREACHABLE,
        ExitCode.INTERRUPTED,
        ExitCode.TERMINATED,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("wrong"), ExitCode.USAGE),
        (RunError("damaged"), ExitCode.USAGE),
        (InputChangedError("another"), ExitCode.INPUT_CHANGED),
        (InputError("unreadable"), ExitCode.STOPPED_EARLY),
        (OutputError("full"), ExitCode.STOPPED_EARLY),
        (LivepostError("something"), ExitCode.FAILED),
    ],
)
def test_each_error_has_its_code(error: LivepostError, code: ExitCode) -> None:
    assert code_of(error) is code
