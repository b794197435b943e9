"""Numbers and lists as people read them: plain ASCII, one spelling everywhere."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

_SIZES = ("B", "kB", "MB", "GB", "TB")

_WITHIN_QUANTITY = re.compile("(?<=[0-9]) (?=[a-zA-Z])|(?<= min) (?=[0-9]+ s)|(?<= h) (?=[0-9]+ min)")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def counted(number: float, noun: str) -> str:
    """`1 connection`, `64 connections`, `4.5 requests`, `1,234,567 records`."""
    text = decimal(number)
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def decimal(value: float) -> str:
    """Three significant digits, no exponent, no trailing zeros: `0.213`, `1.5`, `142,857`."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """`0.41 ms`, `2.1 s`, `3 min 20 s`, `2 h 5 min`."""
    if 0 < seconds < 0.9995:
        return f"{decimal(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{decimal(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def size(number_of_bytes: float) -> str:
    """`512 B`, `68.1 MB`: powers of 1000."""
    unit = 0
    while number_of_bytes >= 999.5 and unit < len(_SIZES) - 1:
        number_of_bytes /= 1000
        unit += 1
    return f"{decimal(number_of_bytes)} {_SIZES[unit]}"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of a text, broken between words but not between a number and its unit."""
    bound = _WITHIN_QUANTITY.sub(_NO_BREAK, text)
    return [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(bound, width, break_on_hyphens=False)]


def packed(items: Sequence[str], width: int) -> list[str]:
    """Lines of comma-separated items, broken between items and only if need be within one."""
    lines: list[str] = []
    for item in [*(f"{item}," for item in items[:-1]), *items[-1:]]:
        if lines and len(lines[-1]) + 1 + len(item) <= width:
            lines[-1] += " " + item
        else:
            lines += wrapped(item, width)
    return lines
