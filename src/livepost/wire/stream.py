"""One open stream of an HTTP/2 connection: an exchange, and how far it has come."""

from __future__ import annotations

import msgspec

from livepost.wire.message import Exchange
from livepost.wire.response_block import BlockHead

UNFINISHED = 1 << 62
"""The end of a request that has not been output wholly: behind everything."""


class Stream(msgspec.Struct, gc=False):
    """An open exchange, and how far it has come."""

    exchange: Exchange
    start: int
    """Where its request begins in everything ever output."""
    end: int
    """Where its request ends there, or UNFINISHED."""
    head: BlockHead | None = None
    body: bytearray | None = None
    """What has come of the body.  None while the stream is plain: nothing has come, the whole request
    was output, and a single DATA frame may be the whole body."""
    unsent: memoryview | None = None
    """What was not yet output of the request's body."""
    window: int = 0
    """How much of that the peer takes."""
    received: int = 0
    """How many bytes of the window that we gave the peer are used."""
    padding: int = 0
    """How many of these were padding, and may be used again."""
