"""What a request is answered with: one value.

Whatever chooses an answer, the usual behaviour of the server or a test's script, returns a
`Reply`, and the connection carries it out without knowing why.
"""

from __future__ import annotations

import enum
import functools
from http import HTTPStatus

import msgspec

from livepost.wire.message import Fields

JSON_FIELDS: Fields = ((b"Content-Type", b"application/json"),)

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


class After(enum.Enum):
    """What becomes of the connection once the reply is written."""

    KEEP = "keep"
    """It lives on, if the client wishes so too."""
    CLOSE = "close"
    """It is announced to close (`Connection: close`), then closed."""
    DROP = "drop"
    """It is closed without a word, as by a server whose idle limit has passed."""
    RESET = "reset"
    """It is closed with a TCP RST.  On a unix socket, which has none, this is DROP."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer, and what becomes of the connection after it.

    `Content-Length` and `Connection` are added to `headers` and must not be among them; a server that
    has a clock adds `Date` if it is not.  With `raw` exactly these bytes are sent instead, which may be half
    an answer, junk, or nothing; then `after` alone decides about the connection, whatever the client wished.
    """

    status: int = 200
    headers: Fields = ()
    body: bytes = b""
    after: After = After.KEEP
    raw: bytes | None = None


SILENCE = Reply(raw=b"")
"""No answer, ever."""
HANG_UP = Reply(raw=b"", after=After.DROP)
"""No answer but a close."""
RESET = Reply(raw=b"", after=After.RESET)
"""No answer but a TCP RST."""


def json_reply(status: int, body: bytes) -> Reply:
    """`body` is JSON already."""
    return Reply(status, JSON_FIELDS, body)


def error_reply(status: int, reason: str, after: After = After.KEEP) -> Reply:
    """`{"error": reason}`, as every refusal here says what was wrong."""
    return Reply(status, JSON_FIELDS, msgspec.json.encode({"error": reason}), after)


def render(reply: Reply, *, to_head: bool = False, connection: bytes = b"", date: bytes = b"") -> bytes:
    """The bytes of a reply.

    `to_head`: it answers a HEAD request, so the body is only announced (RFC 9110 section 9.3.2).
    `connection`, `date`: the values of these fields, if they are to be sent.
    """
    if reply.raw is not None:
        return reply.raw
    head, body = _head(reply.status, reply.headers, connection), reply.body
    if date and not has_date(reply.headers):
        head = b"%sDate: %s\r\n" % (head, date)
    if reply.status < 200 or reply.status in (204, 304):  # RFC 9112 section 6.3: these never have a body
        return head + b"\r\n"
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), b"" if to_head else body)


@functools.lru_cache(maxsize=64)
def has_date(headers: Fields) -> bool:
    """An answer with these fields has a Date of its own, which is left as it is."""
    return any(name.lower() == b"date" for name, _ in headers)


@functools.lru_cache(maxsize=64)
def _head(status: int, headers: Fields, connection: bytes) -> bytes:
    """Status line and fields but Content-Length: mostly the same for every answer."""
    head = b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b""))
    for field in headers:
        head += b"%s: %s\r\n" % field
    if connection:
        head += b"Connection: %s\r\n" % connection
    return head
