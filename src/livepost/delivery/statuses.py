"""Lists of status codes as people write them: `429,500-504,5xx`."""

from __future__ import annotations

import re

from livepost.errors import ConfigurationError

_PART = re.compile(r"([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?|([1-9])xx", re.IGNORECASE)
_SMALLEST = 200
_LARGEST = 999


def parse_statuses(text: str, option: str) -> frozenset[int]:
    """The codes of a list of numbers, ranges and classes; none for an empty text.

    Raises ConfigurationError, which names `option`, for anything else and for codes below 200: those
    are no final answers.
    """
    codes: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ConfigurationError(
                f"{option}: {part.strip()!r} is not a status code", "write a list such as 429,500-504,5xx"
            )
        if match[3]:
            first, last = int(match[3]) * 100, int(match[3]) * 100 + 99
        else:
            first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ConfigurationError(f"{option}: {part.strip()} ends before it begins", "write 500-504")
        if first < _SMALLEST:
            raise ConfigurationError(
                f"{option}: {part.strip()} is no final answer",
                f"statuses go from {_SMALLEST} to {_LARGEST}",
            )
        codes.update(range(first, last + 1))
    return frozenset(codes)
