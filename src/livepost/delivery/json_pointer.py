r"""What a JSON pointer (RFC 6901) finds in a record, in one spelling.

The record's bytes stay as they are; only what the pointer passes is decoded.  Two values are the same if
they are as JSON: "A" and "A", {"a":1,"b":2} whatever the order and spacing, and 1, 1.0 and 10e-1,
for JSON knows only numbers.  They are compared digit by digit, so 9007199254740993 and 9007199254740992
differ.  1 and "1" differ, and so do null and a value that is missing.
"""

from __future__ import annotations

import re

import msgspec

from livepost.errors import ConfigurationError
from livepost.text import without_credentials

_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBER = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_LONGEST_EXPONENT = 18

_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_string = msgspec.json.Decoder(str).decode
_write = msgspec.json.Encoder().encode


class JsonPointer:
    """A pointer such as /user/id; the empty one is the whole record.

    Raises ConfigurationError for what is none.
    """

    __slots__ = ("_tokens",)

    def __init__(self, text: str) -> None:
        if text and not text.startswith("/"):
            pointer = without_credentials("/" + text.replace(".", "/"))
            raise ConfigurationError(f"{text!r} is no JSON pointer", f"begin it with a slash: {pointer}")
        if _ESCAPE.search(text):
            raise ConfigurationError(
                f"{text!r} is no JSON pointer", "write ~ within a name as ~0, and / as ~1"
            )
        self._tokens = [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]

    def find(self, document: bytes) -> bytes | None:
        """The value it points to, in its one spelling; None if there is none, or no JSON."""
        value: bytes | msgspec.Raw = document
        try:
            for token in self._tokens:
                step = _step(value, token)
                if step is None:
                    return None
                value = step
            return canonical(bytes(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _step(value: bytes | msgspec.Raw, token: str) -> msgspec.Raw | None:
    first = bytes(value).lstrip()[:1]
    if first == b"{":
        return _read_object(value).get(token)
    if first == b"[" and _INDEX.fullmatch(token):
        items = _read_array(value)
        return items[int(token)] if int(token) < len(items) else None
    return None


def canonical(value: bytes) -> bytes:
    """The one spelling of a JSON value.  Raises msgspec.DecodeError for what is none."""
    value = value.strip()
    first = value[:1]
    if first == b'"':
        return _write(_read_string(value))
    if first == b"{":
        members = sorted(_read_object(value).items())
        return b"{" + b",".join(_write(name) + b":" + canonical(bytes(raw)) for name, raw in members) + b"}"
    if first == b"[":
        return b"[" + b",".join(canonical(bytes(raw)) for raw in _read_array(value)) + b"]"
    number = _NUMBER.fullmatch(value)
    return value if number is None else _canonical_number(value, number)


def _canonical_number(value: bytes, number: re.Match[bytes]) -> bytes:
    """Its digits without zeros at either end, and the power of ten to multiply them by."""
    sign, whole, fraction, exponent = number[1], number[2], number[3] or b"", number[4] or b"0"
    if len(exponent) > _LONGEST_EXPONENT:
        return value
    digits = (whole + fraction).lstrip(b"0")
    if not digits:
        return b"0"
    significant = digits.rstrip(b"0")
    power = int(exponent) - len(fraction) + len(digits) - len(significant)
    return b"%b%be%d" % (sign, significant, power)
