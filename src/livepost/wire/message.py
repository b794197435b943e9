"""Requests and responses as both protocol engines see them.

The part of a request that is the same for every record is a `RequestHead`, made once per run and
compared by identity: an engine renders it once and then only fills in the length and the body.

What is made for each record is no part of a cycle and so kept from the garbage collector (gc=False).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """Everything of a request but its body.

    `fields` hold no framing or connection fields (Host, Content-Length, Transfer-Encoding,
    Connection): those belong to the engine.  All parts must already be free of CR, LF and NUL;
    engines refuse them otherwise (ValueError).
    """

    method: bytes
    target: bytes = field(repr=False)
    """Request target in the form the next hop expects: origin form, or absolute form for a proxy."""
    authority: bytes
    """The Host field, or `:authority`."""
    scheme: bytes
    fields: Fields = field(repr=False)
    expect_continue: bool = False
    """Hold the body back until the server says `100 Continue`."""
    close: bool = False
    """Ask the server to close after this one (keep-alive switched off)."""


class Exchange(msgspec.Struct, eq=False, gc=False):
    """One request on its way and what is known of it; lives as long as its record is unfinished.

    Mutable, and made once per record: each attempt overwrites the facts of the one before.
    """

    head: RequestHead
    body: bytes
    record: Any = None
    """What the request stands for; the engines never look at it."""
    attempts: int = 0
    """How often it was given to a connection."""
    sent_at: float = 0.0
    """When it was given to a connection last, by the run's clock."""
    connection: int = 0
    """Number of the connection that took it last."""
    request_on_connection: int = 0
    """Which request of that connection it was, from 1: above 1 means reused."""
    fields: Fields = ()
    """Header fields of this request alone, behind those of its head, and under the same rules."""
    written_at: float = 0.0
    """When the kernel had taken all of it, if that is after `sent_at` and anybody noted it."""
    first_sent_at: float = 0.0
    """When it was given to a connection first; known once an attempt has failed."""
    tries: int = 0
    """Failed attempts that count against it: those while its destination worked."""
    has_doubt: bool = False
    """An attempt may have been processed."""
    detour: Any = None
    """Where redirects have led it, if they have."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """A final answer, read to its end or as far as it came.

    The body is bounded: streaming bodies are out of scope, an answer larger than the engine's
    limit is cut and ends the connection (HTTP/1.1) or its stream (HTTP/2).  `fields` names are lower
    case; values are as received, without surrounding white space.
    """

    status: int
    fields: Fields
    body: bytes
    trailers: Fields = ()
    complete: bool = True
    """False when the connection failed, or a limit was exceeded, inside the body or trailers."""

    def field(self, name: bytes) -> bytes | None:
        """The first field of this (lower-case) name, or None."""
        for key, value in self.fields:
            if key == name:
                return value
        return None
