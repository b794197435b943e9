"""Answers a repeated request with its first answer instead of processing it again.

As draft-ietf-httpapi-idempotency-key-header-07 wants it of a server, with keys in quotes (a
structured field) or bare.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict

from livepost.rehearsal.reply import Reply, error_reply
from livepost.rehearsal.request import RequestSeen
from livepost.wire.message import Fields

KEYS_KEPT = 100_000
"""About 45 MB."""

_FIELD = b"idempotency-key"
_QUOTED = re.compile(rb'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(rb'\\(["\\])')


def idempotency_key(headers: Fields) -> bytes | None:
    """The key without its quotes; None if the request has none."""
    for name, value in headers:
        if len(name) == len(_FIELD) and name.lower() == _FIELD:
            text = value.strip()
            quoted = _QUOTED.fullmatch(text)
            return text if quoted is None else _ESCAPED.sub(rb"\1", quoted[1])
    return None


class FirstAnswers:
    """The first answer for each of the last `keys_kept` keys that were used."""

    def __init__(self, keys_kept: int = KEYS_KEPT) -> None:
        self._keys_kept = keys_kept
        self._kept: OrderedDict[bytes, tuple[bytes, Reply]] = OrderedDict()

    def find(self, key: bytes, request: RequestSeen) -> Reply | None:
        """The first answer, or 422 if the key came with another request; None for a new key."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        digest, reply = kept
        if digest != _digest(request):
            return error_reply(422, "this Idempotency-Key was used for another request")
        return reply

    def keep(self, key: bytes, request: RequestSeen, reply: Reply) -> None:
        self._kept[key] = (_digest(request), reply)
        if len(self._kept) > self._keys_kept:
            self._kept.popitem(last=False)


def _digest(request: RequestSeen) -> bytes:
    content = hashlib.blake2b(digest_size=16)
    for part in (request.method, b" ", request.target, b"\n", request.body):
        content.update(part)
    return content.digest()
