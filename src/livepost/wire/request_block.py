"""A request head as an HPACK block, refusing whatever could change the shape of the message.

RFC 9113 section 8.3.1.  What is the same for every record is encoded once: the first request of a
connection fills the table with it, and from the second on it is a constant of a few bytes.  What
differs goes behind it as literals that leave the table alone: the length, and the fields of one exchange.

Content-Length is sent although END_STREAM ends the body: gateways to WSGI, CGI and HTTP/1.1 servers
read the body by it, and it costs 4 to 6 bytes and no measurable time.
"""

from __future__ import annotations

import functools

from livepost.wire.hpack import Encoder, encode_length, encode_private, encode_value
from livepost.wire.message import Fields, RequestHead
from livepost.wire.request_head import (
    ENGINE_FIELDS,
    LENGTH_ALWAYS,
    VALUE_BYTES,
    check_field,
    check_request_line,
)

# It concerns HTTP/1.1 connections alone, and may not be sent (section 8.2.2).
_PROXY_CONNECTION = b"proxy-connection"
_NOT_TO_BE_SET = ENGINE_FIELDS | {_PROXY_CONNECTION}

_HEADS_KEPT = 64


class RequestBlocks:
    """The header blocks of one connection, each to be sent in the order in which it was asked for."""

    __slots__ = ("_encoder", "_kept")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._kept: dict[RequestHead, bytes] = {}

    def set_table_limit(self, size: int) -> None:
        """The peer set SETTINGS_HEADER_TABLE_SIZE: blocks given before are not to be used again."""
        self._encoder.set_limit(size)
        self._kept.clear()

    def constant(self, head: RequestHead) -> tuple[bytes, bool]:
        """The part of the block that is the same for all records, and whether it stays as it is.

        Raises ValueError for parts that HTTP cannot carry.
        """
        block = self._kept.get(head)
        if block is not None:
            return block, True
        changes = self._encoder.changes
        block = self._encoder.encode(_fields_of(head))
        if self._encoder.changes != changes:
            self._kept.clear()
            return block, False
        if len(self._kept) >= _HEADS_KEPT:
            self._kept.clear()
        self._kept[head] = block
        return block, True


def framing_part(head: RequestHead, size: int) -> bytes:
    """What goes behind the constant part for a body of this size."""
    block = b""
    if size and head.expect_continue:
        block += encode_private(b"expect") + encode_value(b"100-continue")
    if size or head.method in LENGTH_ALWAYS:
        block += encode_length(size)
    return block


def own_part(fields: Fields) -> bytes:
    """What goes behind that for one exchange.  Raises ValueError for fields that HTTP cannot carry."""
    block = b""
    for name, value in fields:
        block += _own_name(name)
        if value.translate(None, VALUE_BYTES):
            check_field(name, value)
        block += encode_value(value)
    return block


@functools.lru_cache(64)
def _own_name(name: bytes) -> bytes:
    check_field(name, b"")
    if name.lower() in _NOT_TO_BE_SET:
        raise ValueError(f"{name.decode()} is set by livepost itself")
    return encode_private(name.lower())


@functools.lru_cache(8)
def _fields_of(head: RequestHead) -> Fields:
    check_request_line(head.method, head.target, head.authority)
    fields = [
        (b":method", head.method),
        (b":scheme", head.scheme),
        (b":authority", head.authority),
        (b":path", head.target),
    ]
    for name, value in head.fields:
        check_field(name, value)
        key = name.lower()
        if key in ENGINE_FIELDS:
            raise ValueError(f"{name.decode()} is set by livepost itself")
        if key != _PROXY_CONNECTION:
            fields.append((key, value))
    return tuple(fields)
