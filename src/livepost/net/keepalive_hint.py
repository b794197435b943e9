"""The `Keep-Alive: timeout=5, max=99` of an answer.

The server will close the connection when it was idle for so many seconds, and takes so many more requests on
it.  RFC 2068 section 19.7.1 has the field, draft-thomson-hybi-http-timeout-03 the parameters.  Apache sends
both, Node and Tomcat the timeout, all of them only to clients that ask by `Connection: keep-alive`.

Read strictly, as whole numbers in decimal digits: what cannot be understood is ignored, and of what is said
twice the smaller counts.  `max=0` is ignored, too: a server that takes no more says `Connection: close`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from livepost.wire.message import Fields

LONGEST_TIMEOUT_SECONDS = 3600.0
"""No server in use is more patient (Envoy's default), and what lies between often is not."""

_NAME = b"keep-alive"
_PARAMETER = re.compile(rb"[ \t]*(timeout|max)[ \t]*=[ \t]*(\"?)([0-9]{1,9})\2[ \t]*", re.IGNORECASE)
_LONGEST_VALUE_BYTES = 256
_REMEMBERED_VALUES = 256


@dataclass(frozen=True, slots=True)
class KeepAliveHint:
    """What a server says of a connection; None: not said."""

    timeout_seconds: float | None = None
    requests_left: int | None = None
    """After the one that this answers."""


_NOTHING = KeepAliveHint()


def read_keepalive_hint(fields: Fields) -> KeepAliveHint:
    """What these fields of an answer (lower-case names) say.  Takes about 1 µs."""
    values = [value for name, value in fields if name == _NAME]
    return _read(b",".join(values)) if values else _NOTHING


# A server that counts down says the same things again on the next connection.
@functools.lru_cache(_REMEMBERED_VALUES)
def _read(value: bytes) -> KeepAliveHint:
    if len(value) > _LONGEST_VALUE_BYTES:
        return _NOTHING
    timeouts: list[int] = []
    requests: list[int] = []
    for parameter in value.split(b","):
        match = _PARAMETER.fullmatch(parameter)
        if match is not None:
            (timeouts if match[1].lower() == b"timeout" else requests).append(int(match[3]))
    return KeepAliveHint(
        min(float(min(timeouts)), LONGEST_TIMEOUT_SECONDS) if timeouts else None,
        min(filter(None, requests), default=None),
    )
