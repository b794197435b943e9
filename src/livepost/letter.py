"""A letter read back: a line that says why a record was not delivered, with the record.

Also takes what a person made of it with an editor or `jq`: other spacing, and a changed record.
"""

from __future__ import annotations

import json
import re
from typing import Annotated

import msgspec

# A quotation mark inside a string is escaped, so in front of the record's own text this is found nowhere
# but at the name.  What follows may be nested deeper than a parser takes, and is not parsed.
_RECORD = re.compile(rb',\s*"record"\s*:\s*')
_LETTER = re.compile(rb'\{\s*"n"\s*:\s*[0-9]+\s*,\s*"source"\s*:')


class StoredLetter(msgspec.Struct, frozen=True, gc=False):
    """What sending a record again needs of its letter."""

    number: int
    source: str
    line: int
    body: bytes | None
    """None for what was never fit to be sent."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    n: Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
    source: str
    line: int
    reason: str


_decode_head = msgspec.json.Decoder(_Head).decode


def is_letter(line: bytes) -> bool:
    """Whether a line of some NDJSON file is a letter, and not simply a record."""
    return parse_letter(line) is not None


def parse_letter(line: bytes) -> StoredLetter | None:
    """Read one line; None if it is no letter."""
    if not _LETTER.match(line):
        return None
    text = line.strip()
    found = _RECORD.search(text)
    body = None
    if found is not None:
        if not text.endswith(b"}"):
            return None
        body = text[found.end() : -1].rstrip()
        text = text[: found.start()] + b"}"
    try:
        head = _decode_head(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if body == b"" else StoredLetter(head.n, head.source, head.line, body)


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is a letter to its last character, not the torn beginning of one."""
    letter = parse_letter(line)
    if letter is None or letter.body is None:
        return letter is not None
    # Where a record is torn, what is left of it has a bracket open: it never is a value of its own.
    try:
        json.loads(letter.body)
    except (ValueError, RecursionError):
        return False
    return True
