"""Times and sizes as people write them."""

from __future__ import annotations

import re

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# As GNU programs read them: M and MiB are powers of 1024, MB is one of 1000.
_BYTES = {
    "": 1,
    "b": 1,
    "k": 1024,
    "kib": 1024,
    "kb": 1000,
    "m": 1024**2,
    "mib": 1024**2,
    "mb": 1000**2,
    "g": 1024**3,
    "gib": 1024**3,
    "gb": 1000**3,
}


def seconds(text: str) -> float:
    """`90`, `1.5s`, `500ms`, `2m` or `1h`.  Raises ValueError with a sentence for the user."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(ms|[smh]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write 90, 1.5s, 500ms, 2m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Bytes: `1048576`, `16MiB`, `1M`, `1MB`.  Raises ValueError with a sentence for the user."""
    match = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]*)", text)
    unit = _BYTES.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size; write 1048576, 512K, 16MiB or 1M")
    return int(match[1]) * unit
