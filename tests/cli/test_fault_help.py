from __future__ import annotations

import pytest

from livepost.cli.fault_grammar import _FIELD_OF_OPTION, _WHEN_OPTIONS, parse_rule
from livepost.cli.fault_help import EXAMPLES, table_of_faults
from livepost.rehearsal.fault_over_http2 import AS_EVER, OVER_HTTP2
from livepost.rehearsal.faults import TRAITS, FaultKind

TABLE = table_of_faults()
ROWS = [line.split(maxsplit=2) for line in TABLE.splitlines() if line.startswith("  ")]


def test_every_kind_is_explained_with_whether_it_processes() -> None:
    for kind, traits in TRAITS.items():
        if kind is not FaultKind.STATUS:
            assert [kind.value, "yes" if traits.processed else "no", traits.does] in ROWS


def test_what_is_otherwise_over_http2_is_explained() -> None:
    words = " ".join(TABLE.partition("over HTTP/2")[2].split())
    for kind in FaultKind:
        does = OVER_HTTP2.get(kind, "refused: a head is a whole frame")
        if does != AS_EVER:
            name = "NNN, as 503" if kind is FaultKind.STATUS else kind.value
            assert f"{name} {does}" in words


def test_every_option_is_explained() -> None:
    when_and_how = TABLE.partition("when and how:")[2]
    words = when_and_how.replace("=", " ").split()
    assert [option for option in (*_WHEN_OPTIONS, *_FIELD_OF_OPTION) if option not in words] == []


def test_the_examples_can_be_used() -> None:
    for example in EXAMPLES:
        parse_rule(example)
        assert f"--fail {example}" in TABLE


@pytest.mark.parametrize("width", [30, 40, 59, 60, 72, 80])
def test_it_fits_on_a_terminal(width: int) -> None:
    table = table_of_faults(width)
    examples = {f"  --fail {example}" for example in EXAMPLES}
    lines = table.splitlines()
    assert examples <= set(lines)
    assert max(len(line) for line in lines if line not in examples) <= width
    # Whatever the width, the same is said.
    assert table.split() == TABLE.split()
