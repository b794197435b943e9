"""A request head as HTTP/1.1 bytes, refusing whatever could change the shape of the message.

RFC 9112 sections 3 and 5.  The engine owns the fields that frame a message or manage the
connection; everything else comes from the user and is checked here once per run.
"""

from __future__ import annotations

import functools
import re

from livepost.wire.message import Fields, RequestHead

ENGINE_FIELDS = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"upgrade",
    )
)

# Methods whose missing body is said out loud (RFC 9110 section 8.6).
LENGTH_ALWAYS = frozenset((b"POST", b"PUT", b"PATCH"))

# Each about 300 bytes.
_SIZES_REMEMBERED = 1_024

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""What the value of a field may consist of (RFC 9110 section 5.5)."""
_NO_SPACES = re.compile(rb"[\x21-\x7e]+")


def check_field(name: bytes, value: bytes) -> None:
    """Raise ValueError unless this may stand in a request head as it is."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    if value.translate(None, VALUE_BYTES):
        # The value may be a secret: it is not shown.
        raise ValueError(f"the value of {name.decode()} holds a control character")


def check_request_line(method: bytes, target: bytes, authority: bytes) -> None:
    """Raise ValueError unless these may stand in a request line and a Host field as they are."""
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"not a request method: {method.decode(errors='replace')!r}")
    for what, part in (("the request target", target), ("the Host field", authority)):
        if not _NO_SPACES.fullmatch(part):
            # A query may hold a secret: the text is not shown.
            raise ValueError(f"{what} is empty, or holds a space, a control character or one beyond ASCII")


class RenderedHead:
    """A request head as bytes, for bodies of every size.

    Putting one together costs 0.3 µs, so they are remembered by size: `by_size` is there to look one
    up without a call, `for_size` makes and remembers it.
    """

    __slots__ = ("_beginning", "_head", "by_size")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._beginning = _render(head)
        self.by_size: dict[int, bytes] = {}

    def for_size(self, size: int) -> bytes:
        """The whole head, with the empty line."""
        if len(self.by_size) >= _SIZES_REMEMBERED:
            self.by_size.clear()
        rendered = self._beginning
        if size and self._head.expect_continue:
            rendered += b"Expect: 100-continue\r\n"
        if size or self._head.method in LENGTH_ALWAYS:
            rendered += b"Content-Length: %d\r\n" % size
        return self.by_size.setdefault(size, rendered + b"\r\n")


@functools.lru_cache(8)
def render_request_head(head: RequestHead) -> RenderedHead:
    """The head as bytes; one for all connections that send it.

    Sends `Connection: keep-alive` although HTTP/1.1 implies it: Apache and Tomcat answer with
    their `Keep-Alive:` limits only then.  Raises ValueError for parts that could inject a line.
    """
    return RenderedHead(head)


def with_fields(rendered: bytes, fields: Fields) -> bytes:
    """A rendered head with more fields at its end.  Raises ValueError for what could inject a line."""
    return b"%b%b\r\n\r\n" % (rendered[:-2], b"\r\n".join(_field_lines(fields)))


def _render(head: RequestHead) -> bytes:
    check_request_line(head.method, head.target, head.authority)
    lines = [b"%b %b HTTP/1.1" % (head.method, head.target), b"Host: " + head.authority]
    lines.append(b"Connection: close" if head.close else b"Connection: keep-alive")
    lines += _field_lines(head.fields)
    return b"\r\n".join(lines) + b"\r\n"


def _field_lines(fields: Fields) -> list[bytes]:
    lines = []
    for name, value in fields:
        check_field(name, value)
        if name.lower() in ENGINE_FIELDS:
            raise ValueError(f"{name.decode()} is set by livepost itself")
        lines.append(b"%b: %b" % (name, value))
    return lines
