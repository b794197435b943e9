"""Structured fields, as much of them as quotas need: lists of items with parameters.

RFC 9651 sections 3.1 to 3.3 and 4.2.  As there, a field with one malformed member counts for nothing.
"""

from __future__ import annotations

import re

_STRING = rb'"(?:[ !#-\[\]-~]|\\["\\])*"'
_NUMBER = rb"-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
_TOKEN = rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
_BYTES = rb":[A-Za-z0-9+/=]*:"
_OTHER = rb"\?[01]|@-?[0-9]{1,15}"
_BARE = b"|".join((_STRING, _NUMBER, _TOKEN, _BYTES, _OTHER))
_ITEM = re.compile(rb"(" + _BARE + rb")")
_PARAMETER = re.compile(rb" *; *([a-z*][a-z0-9_\-.*]*)(?:=(" + _BARE + rb"))?")
_COMMA = re.compile(rb"[ \t]*,[ \t]*")

Parameters = dict[bytes, bytes]


def parse_list(value: bytes) -> list[tuple[bytes, Parameters]]:
    """The members of a list: each as written, with its parameters as written; empty for what is no list.

    A parameter without a value has `?1` (true).  Inner lists are not known here: such a field counts
    for nothing, too.
    """
    members: list[tuple[bytes, Parameters]] = []
    value = value.strip(b" ")
    position = 0
    while position < len(value):
        item = _ITEM.match(value, position)
        if item is None:
            return []
        position = item.end()
        parameters: Parameters = {}
        while parameter := _PARAMETER.match(value, position):
            parameters[parameter[1]] = parameter[2] or b"?1"
            position = parameter.end()
        members.append((item[1], parameters))
        if position == len(value):
            break
        comma = _COMMA.match(value, position)
        if comma is None or comma.end() == len(value):
            return []
        position = comma.end()
    return members
