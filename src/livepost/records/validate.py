r"""Tells whether some bytes are one JSON value, without building the value.

msgspec scans JSON without keeping anything of it (0.25 µs for 200 bytes), so it has the first word.
It differs from RFC 8259 in two ways that matter here: it lets through bytes that are not UTF-8, and
it refuses escaped surrogates that stand alone ("\ud800"), which are valid JSON.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

import msgspec

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder(msgspec.Raw).decode
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89A-Fa-f]")
_EXPLAINED_BYTES = 64 * 1024
_TOO_DEEP = "nested too deeply"


def defect(text: bytes) -> str | None:
    """Say in a short phrase why `text` is not one JSON value in UTF-8; None if it is.

    White space around the value is allowed.  A value nested deeper than the interpreter's recursion
    limit counts as defective.
    """
    try:
        _decode(text)
    except RecursionError:
        return _TOO_DEEP
    except msgspec.DecodeError:
        return _not_utf8(text) or _second_opinion(text)
    return None if text.isascii() else _not_utf8(text)


def have_none(texts: Sequence[bytes]) -> bool:
    """Whether `defect` says of none of these that it has one; False also if that is not certain.

    A quarter cheaper than to ask of each: no line of Python runs in between.
    """
    try:
        deque(map(_decode, texts), maxlen=0)
        if not all(map(bytes.isascii, texts)):
            deque(map(bytes.decode, texts), maxlen=0)
    except (RecursionError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def too_long(max_record_bytes: int) -> str:
    """The reason given for a record above the limit."""
    return f"longer than {max_record_bytes} bytes (--max-record-bytes)"


def _not_utf8(text: bytes) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {error.start + 1} is 0x{text[error.start]:02x}"
    return None


def _second_opinion(text: bytes) -> str | None:
    # Another digit pair in place of the surrogate's keeps every position and, whether it stands in an
    # escape or behind an escaped backslash, the validity of everything else.
    try:
        _decode(_SURROGATE_ESCAPE.sub(rb"\\u00", text))
    except RecursionError:
        # Behind the surrogate, where the first look did not come.
        return _TOO_DEEP
    except msgspec.DecodeError as error:
        return f"invalid JSON: {_explanation(text) or str(error).removeprefix('JSON is malformed: ')}"
    return None


def _explanation(text: bytes) -> str | None:
    """What the standard library has against `text`: clearer words than msgspec's.

    It builds the value, up to 25 times the size of its text, so it is not asked about large ones.
    """
    if len(text) > _EXPLAINED_BYTES:
        return None
    try:
        _explain(text.decode())
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        return f"{error.msg.removesuffix(' at')} at {line}column {error.colno}"
    except RecursionError:
        return None
    except ValueError as error:
        return str(error)
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


# Numbers stay text: Python refuses to convert very long ones.
_explain = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str).decode
