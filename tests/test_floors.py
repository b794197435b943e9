"""The floors: which room of the source may import what.

`FLOORS` is the rule.  A module may import its own room and rooms on lower floors, nothing else of
livepost, and nothing named in the last column.  Every import counts, wherever it stands: in a
function, in a `try`, under TYPE_CHECKING, relative or not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "livepost"

FLOORS = """
floor | room     | its modules and packages                          | may not import
------|----------|---------------------------------------------------|---------------------------------------
0     | values   | __init__ clock config errors events letter mark   | asyncio socket ssl
      |          | model option policy target text                   |
1     | wire     | wire                                              | asyncio socket ssl time random logging
2     | net      | net                                               | records delivery runs report
2     | records  | records                                           | net wire delivery runs
2     | delivery | delivery                                          | net runs report socket ssl
2     | runs     | runs                                              | net wire delivery report
2     | report   | report                                            | net delivery runs
3     | whole    | deliver client headway probe probing recording    | cli
      |          | rehearsal adapters                                |
4     | cli      | cli __main__                                      | wire net delivery
"""


@dataclass(frozen=True, slots=True)
class Room:
    floor: int
    name: str
    members: frozenset[str]
    forbidden: frozenset[str]


def _rooms(rows: list[str]) -> list[Room]:
    """A row without a floor goes on with the members of the one above it."""
    rooms: list[Room] = []
    for row in rows:
        floor, name, members, forbidden = (cell.strip() for cell in row.split("|"))
        if floor:
            rooms.append(Room(int(floor), name, frozenset(members.split()), frozenset(forbidden.split())))
        else:
            rooms[-1] = replace(rooms[-1], members=rooms[-1].members | set(members.split()))
    return rooms


ROOMS = _rooms(FLOORS.strip().splitlines()[2:])
ROOM_OF = {member: room for room in ROOMS for member in room.members}


def violations(sources: Mapping[str, str]) -> list[str]:
    """What breaks the rule in these sources, by path below the package, one sentence each."""
    return [found for path, source in sources.items() for found in _violations_of(path, source)]


def _violations_of(path: str, source: str) -> Iterator[str]:
    room = ROOM_OF.get(Path(path).parts[0].removesuffix(".py"))
    if room is None:
        yield f"{path} belongs to no room of the table"
        return
    for line, module in _imports(path, ast.parse(source)):
        reason = _objection(room, module)
        if reason:
            yield f"{path}:{line} imports {module}: {reason}"


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that is imported, with the names after `import`."""
    package = ("livepost", *Path(path).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join((*base, node.module) if node.module else base)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def _objection(room: Room, module: str) -> str | None:
    top, _, below = module.partition(".")
    if top != "livepost":
        return f"{room.name} may not" if top in room.forbidden else None
    # `from livepost import __version__`: a name that is no room is one that __init__ defines.
    other = ROOM_OF.get(below.partition(".")[0], ROOM_OF["__init__"])
    if other.name in room.forbidden:
        return f"{room.name} may not"
    if other is not room and other.floor >= room.floor:
        return f"{other.name} is not below {room.name}"
    return None


def test_the_source_keeps_to_the_floors() -> None:
    sources = {
        str(file.relative_to(SOURCE)): file.read_text("utf-8") for file in sorted(SOURCE.rglob("*.py"))
    }
    assert {"__init__.py", "wire/machine.py", "cli/main.py"} <= sources.keys()
    assert violations(sources) == []


def test_the_table_names_only_rooms_and_standard_modules() -> None:
    assert len(ROOM_OF) == sum(len(room.members) for room in ROOMS)
    names = {name for room in ROOMS for name in room.forbidden}
    assert names - {room.name for room in ROOMS} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("model.py", "import ssl", ":1 imports ssl: values may not"),
        ("__init__.py", "import asyncio", ":1 imports asyncio: values may not"),
        ("clock.py", "import livepost.wire", ":1 imports livepost.wire: wire is not below values"),
        ("wire/a.py", "import time", ":1 imports time: wire may not"),
        ("wire/a.py", "import re, logging.handlers", ":1 imports logging.handlers: wire may not"),
        ("wire/a.py", "from asyncio import sleep", ":1 imports asyncio.sleep: wire may not"),
        ("wire/a.py", "def f():\n    import random", ":2 imports random: wire may not"),
        ("wire/deep/a.py", "from ...net import b", ":1 imports livepost.net.b: net is not below wire"),
        ("wire/__init__.py", "from .. import net", ":1 imports livepost.net: net is not below wire"),
        ("net/a.py", "from livepost import records", ":1 imports livepost.records: net may not"),
        ("net/a.py", "import livepost.runs.b as b", ":1 imports livepost.runs.b: net may not"),
        ("records/a.py", "from livepost.wire import b", ":1 imports livepost.wire.b: records may not"),
        ("records/a.py", "import livepost.report", ":1 imports livepost.report: report is not below records"),
        ("delivery/a.py", "import socket", ":1 imports socket: delivery may not"),
        ("delivery/a.py", "from ..net import b", ":1 imports livepost.net.b: delivery may not"),
        ("delivery/a.py", "if TYPE_CHECKING:\n    import ssl", ":2 imports ssl: delivery may not"),
        ("runs/a.py", "from livepost.wire import b", ":1 imports livepost.wire.b: runs may not"),
        ("report/a.py", "from .. import deliver", ":1 imports livepost.deliver: whole is not below report"),
        (
            "report/a.py",
            "try:\n    import livepost.runs\nfinally: 0",
            ":2 imports livepost.runs: report may not",
        ),
        ("deliver.py", "from .cli import main", ":1 imports livepost.cli.main: whole may not"),
        ("rehearsal/a.py", "from ..cli.b import c", ":1 imports livepost.cli.b.c: whole may not"),
        ("cli/a.py", "from livepost.wire.b import c", ":1 imports livepost.wire.b.c: cli may not"),
        ("__main__.py", "from livepost.net import b", ":1 imports livepost.net.b: cli may not"),
        ("shed/a.py", "", " belongs to no room of the table"),
        ("shed.py", "", " belongs to no room of the table"),
    ],
)
def test_a_breach_is_found(path: str, source: str, found: str) -> None:
    assert violations({path: source}) == [path + found]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("clock.py", "import time"),
        ("model.py", "from livepost.errors import LivepostError"),
        ("wire/http1.py", "from . import machine\nfrom .message import Response\nfrom ..model import Sent"),
        ("wire/http1.py", "import timeit, sslight, httptools"),
        ("net/pool.py", "import asyncio, socket, ssl, time\nfrom livepost.wire.machine import Machine"),
        ("records/a.py", "from livepost import __version__\nimport livepost"),
        ("deliver.py", "from livepost import net, records, delivery, report, rehearsal"),
        ("cli/send.py", "from livepost import deliver, report, records, config"),
        ("__main__.py", "from livepost.cli.main import main"),
    ],
)
def test_what_is_allowed_is_left_alone(path: str, source: str) -> None:
    assert violations({path: source}) == []


def test_every_breach_of_a_file_is_told() -> None:
    found = violations({"wire/a.py": "import time\nimport ssl", "records/b.py": "import livepost.net"})
    assert found == [
        "wire/a.py:1 imports time: wire may not",
        "wire/a.py:2 imports ssl: wire may not",
        "records/b.py:1 imports livepost.net: records may not",
    ]
