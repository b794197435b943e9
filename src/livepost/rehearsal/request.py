"""One request as the practice server received it."""

from __future__ import annotations

import msgspec

from livepost.wire.message import Fields


class RequestSeen(msgspec.Struct, frozen=True, gc=False):
    """A request that was read to its end, so the server could act on it."""

    connection: int
    """Which connection of this server, from 1 in the order of acceptance."""
    request_on_connection: int
    """Which request of that connection, from 1: above 1 means that the connection was reused."""
    method: bytes
    target: bytes
    """As received, with its query."""
    path: bytes
    """The path of the target, without query; `*` for `OPTIONS *`."""
    headers: Fields
    """As received, in order, white space after a value included; trailers are left out."""
    body: bytes
    """Free of any chunked coding."""
    version: str
    """`1.1` or `1.0`."""
    keep_alive: bool
    """The client lets the connection live on (RFC 9112 section 9.3)."""
