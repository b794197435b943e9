from __future__ import annotations

import os
from pathlib import Path

import pytest
from terminal import Terminal

from livepost.cli.delivering import _say_troubles, columns_of
from livepost.cli.standing import Standing
from livepost.deliver import Result
from livepost.report.summary import summarize
from livepost.report.tally import Tally
from livepost.runs.marks import Counts


@pytest.mark.parametrize(("columns", "known"), [(50, 50), (0, None)])
def test_a_terminal_may_not_know_how_wide_it_is(columns: int, known: int | None) -> None:
    with Terminal(columns) as terminal:
        assert columns_of(terminal.descriptor) == known


def test_a_pipe_has_no_columns() -> None:
    read, write = os.pipe()
    try:
        assert columns_of(write) is None
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("standing", "is_said"),
    [
        (None, True),
        (Standing(Path("run"), None, Counts(delivered=1)), True),
        (Standing(Path("run"), 5, Counts(delivered=1)), False),
    ],
)
def test_an_input_whose_records_are_counted_is_not_said_to_be_unread(
    capsys: pytest.CaptureFixture[str], standing: Standing | None, is_said: bool
) -> None:
    result = Result(
        summarize(Tally(), read=0, seconds=1.0),
        None,
        was_stopped=True,
        was_reached=True,
        read_to_end=False,
        troubles=(),
    )
    _say_troubles(result, standing)
    assert capsys.readouterr().err == "livepost: the input was not read to its end\n" * is_said
