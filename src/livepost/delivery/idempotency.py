"""The key by which a server knows a record again, however often it is sent.

draft-ietf-httpapi-idempotency-key-header-07: a string of structured fields, so in quotes; many servers
want it bare.  The key is the UUID version 5 (RFC 9562 section 5.5) of the run and the record's number in
it: the same for every attempt, and after a restart, without being stored.
"""

from __future__ import annotations

import hashlib
import uuid

from livepost.errors import ConfigurationError
from livepost.policy import RetryOptions
from livepost.wire.message import Fields
from livepost.wire.request_head import ENGINE_FIELDS, check_field


class IdempotencyKeys:
    """The keys of one run, as header fields.

    `fields` are those that every request carries anyway.  Raises ConfigurationError if the header's name
    is none, or belongs to the engine, or every request carries it with one and the same value.
    """

    __slots__ = ("_begun", "_name", "_quote")

    def __init__(self, run: uuid.UUID, header: str, *, quoted: bool, fields: Fields = ()) -> None:
        self._name = header.encode("utf-8", "surrogateescape")
        self._quote = b'"' if quoted else b""
        self._begun = hashlib.sha1(run.bytes, usedforsecurity=False)
        lower = self._name.lower()
        try:
            check_field(self._name, b"")
        except ValueError:
            raise ConfigurationError(
                f"--idempotency-key: {header!r} is no header name", "write --idempotency-key=Idempotency-Key"
            ) from None
        if lower in ENGINE_FIELDS:
            raise ConfigurationError(
                f"--idempotency-key={header}: livepost sets this header itself", "name another"
            )
        if any(name.lower() == lower for name, _ in fields):
            raise ConfigurationError(
                f"both -H and --idempotency-key set {header}: every record would have the same key",
                "leave that -H out",
            )

    @classmethod
    def of(cls, run: uuid.UUID, options: RetryOptions, fields: Fields) -> IdempotencyKeys | None:
        """As the user asked; None if for none."""
        if options.idempotency_key is None:
            return None
        is_quoted = options.idempotency_key_format == "quoted"
        return cls(run, options.idempotency_key, quoted=is_quoted, fields=fields)

    def key(self, number: int) -> bytes:
        """The key of the record with this number, 36 characters: as `uuid.uuid5(run, str(number))`."""
        # A quarter of what the uuid module takes.
        digest = self._begun.copy()
        digest.update(b"%d" % number)
        text = digest.hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}".encode("ascii")

    def field(self, number: int) -> tuple[bytes, bytes]:
        """The header field for this record, ready to be sent."""
        return self._name, self._quote + self.key(number) + self._quote

    def line(self, number: int) -> bytes:
        """The same as a line of HTTP/1.1, with its end."""
        return b"%b: %b%b%b\r\n" % (self._name, self._quote, self.key(number), self._quote)
