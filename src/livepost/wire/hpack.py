"""Header compression for HTTP/2, as a client that says the same thing all day needs it (RFC 7541).

`Decoder` is complete.  `Encoder` is made for blocks that repeat: it fills its dynamic table with the
first fields it sees, never evicts, and adds nothing more once the table is full; after that a list of
fields encodes to the same few bytes every time, and the caller may keep them.  It has no need of the
Huffman code: a field is a literal once.

Both keep their table newest last, so that entry 62 of the RFC's numbering is `table[-1]`.

Own code rather than the `hpack` package (12 µs for an answer of six fields, one of them new; here 3 µs)
or the Rust codec inside `jh2` (1.1 µs, but a private name in a package of 2 MB).
"""

from __future__ import annotations

from livepost.wire.huffman import HuffmanError, decode_huffman
from livepost.wire.message import Fields

TABLE_BYTES = 4_096
"""The size of a dynamic table until something else is agreed on, and the most we use."""

ENTRY_OVERHEAD_BYTES = 32
"""What an entry counts beside its name and value (RFC 7541 section 4.1)."""

# No length or index that can occur needs more (RFC 7541 section 5.1 asks for a limit).
_INTEGER_LIMIT = 1 << 28

_STATIC_TEXT = """
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""


def _static_field(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(" ")
    return name.encode(), value.encode()


STATIC_TABLE: Fields = tuple(_static_field(line) for line in _STATIC_TEXT.split("\n")[1:-1])
"""RFC 7541 appendix A, numbered from 1 there."""

_STATIC_SIZE = len(STATIC_TABLE)
_STATIC_INDEX = {field: index for index, field in enumerate(STATIC_TABLE, 1)}
_STATIC_NAME_INDEX = {name: index for index, (name, _) in reversed(list(enumerate(STATIC_TABLE, 1)))}

_SHORT_LENGTHS = [bytes((size,)) for size in range(0x7F)]


class HpackError(ValueError):
    """A header block that cannot be decoded: nothing that follows on the connection can be, either."""


class Decoder:
    """Header blocks to fields, in the order in which they were received.

    A list whose size (RFC 9113 section 6.5.2) exceeds `max_list_bytes` is cut there, and the table
    kept right; so a block of a few kilobytes cannot claim megabytes.
    """

    __slots__ = ("_limit", "_max_list_bytes", "_size", "_table", "changes")

    def __init__(self, max_list_bytes: int) -> None:
        self._max_list_bytes = max_list_bytes
        self._limit = TABLE_BYTES
        self._table: list[tuple[bytes, bytes]] = []
        self._size = 0
        self.changes = 0
        """How often the table has changed, or how large it may be: between two changes a block always means
        the same, and need not be decoded again."""

    def decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The fields, and whether that is all of them.  Raises HpackError."""
        try:
            return self._decode(block)
        except IndexError:
            raise HpackError("a header block ends early, or names an entry that does not exist") from None
        except HuffmanError as error:
            raise HpackError(str(error)) from None

    def _decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        # Numbers that fit into the first byte, as almost all do, are read without a call (2 µs a block).
        fields: list[tuple[bytes, bytes]] = []
        left = self._max_list_bytes
        position, end = 0, len(block)
        while position < end:
            first = block[position]
            position += 1
            if first & 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, position = _read_rest(block, position, 0x7F)
                field = self._entry(index)
            elif first & 0xE0 == 0x20:
                if fields or left < 0:
                    raise HpackError("a header block changes the table's size after its first field")
                position = self._resize(block, first, position)
                continue
            else:
                mask = 0x3F if first & 0x40 else 0x0F
                index = first & mask
                if index == mask:
                    index, position = _read_rest(block, position, mask)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = _read_string(block, position)
                value, position = _read_string(block, position)
                field = name, value
                if mask == 0x3F:
                    self._add(field)
            left -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
            if left >= 0:
                fields.append(field)
        return fields, left >= 0

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if index > _STATIC_SIZE:
            return self._table[_STATIC_SIZE - index]
        if index == 0:
            raise HpackError("a header block names entry 0")
        return STATIC_TABLE[index - 1]

    def _resize(self, block: bytes, first: int, position: int) -> int:
        size = first & 0x1F
        if size == 0x1F:
            size, position = _read_rest(block, position, 0x1F)
        if size > TABLE_BYTES:
            raise HpackError("a header block makes the table larger than agreed")
        if size != self._limit:
            self._limit = size
            self.changes += 1
            self._evict()
        return position

    def _add(self, field: tuple[bytes, bytes]) -> None:
        size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
        if size > self._limit:
            # Larger than the table: empties it and is not added (RFC 7541 section 4.4).
            if self._table:
                self._table.clear()
                self._size = 0
                self.changes += 1
            return
        self._table.append(field)
        self._size += size
        self.changes += 1
        if self._size > self._limit:
            self._evict()

    def _evict(self) -> None:
        evicted = 0
        while self._size > self._limit:
            name, value = self._table[evicted]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD_BYTES
            evicted += 1
        if evicted:
            del self._table[:evicted]
            self.changes += 1


def _read_rest(block: bytes, position: int, value: int) -> tuple[int, int]:
    """The number whose first byte was full, with `value`, and where it ends (RFC 7541 section 5.1)."""
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if value > _INTEGER_LIMIT or shift > 28:
            raise HpackError("a header block holds a number that is too large")
        if byte < 0x80:
            return value, position
        shift += 7


def _read_string(block: bytes, position: int) -> tuple[bytes, int]:
    first = block[position]
    length = first & 0x7F
    position += 1
    if length == 0x7F:
        length, position = _read_rest(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HpackError("a header block ends inside a string")
    text = block[position:end]
    return (decode_huffman(text) if first & 0x80 else text), end


class Encoder:
    """Fields to header blocks.  `changes` tells whether a block that was kept is still right."""

    __slots__ = ("_added", "_free", "_limit", "_resized", "changes")

    def __init__(self) -> None:
        self._limit = TABLE_BYTES
        self._free = TABLE_BYTES
        self._added: dict[tuple[bytes, bytes], int] = {}
        """The fields in the table, and their place in it from 1, the oldest first."""
        self._resized = False
        self.changes = 0
        """How often a field was added or the table emptied."""

    def set_limit(self, size: int) -> None:
        """The peer's decoder now keeps a table of at most `size` bytes (SETTINGS_HEADER_TABLE_SIZE)."""
        size = min(size, TABLE_BYTES)
        if size != self._limit:
            self._limit = self._free = size
            self._added.clear()
            self._resized = True
            self.changes += 1

    def encode(self, fields: Fields) -> bytes:
        """A block of these fields.

        Encoding the same fields again gives other bytes only if this call has raised `changes`.
        """
        parts: list[bytes] = []
        if self._resized:
            # To 0 first: that empties the peer's table, too, and is below whatever size it had.
            parts.append(_integer(0, 0x1F, 0x20))
            if self._limit:
                parts.append(_integer(self._limit, 0x1F, 0x20))
            self._resized = False
            self.changes += 1
        for field in fields:
            place = self._added.get(field)
            if place is not None:
                parts.append(_integer(_STATIC_SIZE + 1 + len(self._added) - place, 0x7F, 0x80))
                continue
            index = _STATIC_INDEX.get(field)
            if index is not None:
                parts.append(_integer(index, 0x7F, 0x80))
                continue
            size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
            if size <= self._free:
                parts.append(_literal(field, 0x3F, 0x40))
                self._free -= size
                self._added[field] = len(self._added) + 1
                self.changes += 1
            else:
                parts.append(_literal(field, 0x0F, 0x00))
        return b"".join(parts)


def encode_private(name: bytes) -> bytes:
    """The beginning of a field of one request alone, to go behind any block; then comes `encode_value`.

    A literal that is never indexed (RFC 7541 section 6.2.3): it touches no table, here or further on.
    """
    return _literal_name(name, 0x0F, 0x10)


def encode_value(value: bytes) -> bytes:
    """The value behind a literal's name."""
    size = len(value)
    return (_SHORT_LENGTHS[size] if size < 0x7F else _integer(size, 0x7F, 0)) + value


def encode_length(size: int) -> bytes:
    """A Content-Length, to go behind any block.  A literal that is not indexed: 4 to 9 bytes."""
    return _literal((b"content-length", b"%d" % size), 0x0F, 0x00)


def _literal(field: tuple[bytes, bytes], mask: int, pattern: int) -> bytes:
    return _literal_name(field[0], mask, pattern) + encode_value(field[1])


def _literal_name(name: bytes, mask: int, pattern: int) -> bytes:
    index = _STATIC_NAME_INDEX.get(name)
    if index is not None:
        return _integer(index, mask, pattern)
    return _integer(0, mask, pattern) + encode_value(name)


def _integer(value: int, mask: int, pattern: int) -> bytes:
    """RFC 7541 section 5.1: `mask` covers the bits of the first byte that are free beside `pattern`."""
    if value < mask:
        return bytes((pattern | value,))
    encoded = bytearray((pattern | mask,))
    value -= mask
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
