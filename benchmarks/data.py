"""The records that are sent: made-up users as NDJSON, about 200 bytes each.

The same number always gives the same bytes, so that runs on different days can be compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

_NAMES = ("John", "Lucy", "Mike", "Ines", "Omar", "Yuki", "Anna", "Ravi", "Chen", "Zoe", "Paul")
_CITIES = ("Lisbon", "Osaka", "Bergen", "Quito", "Nairobi", "Toronto", "Pune")
_PLANS = ("free", "team", "business")


def record(number: int) -> bytes:
    """The user with this number, as one line with its newline."""
    name = _NAMES[number % len(_NAMES)]
    city = _CITIES[number % len(_CITIES)]
    plan = _PLANS[number % len(_PLANS)]
    token = number * 2654435761 % 2**32
    return (
        f'{{"id": {number}, "name": "{name} {token:08x}", "age": {18 + number % 70}, '
        f'"email": "{name.lower()}.{token:08x}@example.com", "city": "{city}", "plan": "{plan}", '
        f'"active": {"true" if number % 5 else "false"}, "tags": ["import", "batch-{number % 97:02d}"], '
        f'"visits": {100 + token % 900}, "seen": "mon"}}\n'
    ).encode("ascii")


def records(count: int) -> Iterator[bytes]:
    """Users 1 to `count`."""
    return map(record, range(1, count + 1))


def write(path: Path, count: int) -> Path:
    """Write `count` records to `path` and give it back."""
    with path.open("wb") as file:
        file.writelines(records(count))
    return path


def repeat(path: Path, source: Path, times: int) -> Path:
    """Write the content of `source` so many times to `path` and give it back."""
    with path.open("wb") as file:
        for _ in range(times):
            with source.open("rb") as records:
                shutil.copyfileobj(records, file)
    return path
