"""Bytes of one connection in, whole requests out; no I/O, no clock.

llhttp (through httptools) knows the syntax and refuses what could be read in two ways: both
framings at once, two lengths, bare LF, folded lines.  What it leaves to us is kept here: sizes, the
Host field, versions, expectations, and the end of the connection.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools

from livepost.rehearsal.limits import MAX_BODY_BYTES, MAX_HEAD_BYTES
from livepost.rehearsal.reply import After, Reply, error_reply
from livepost.rehearsal.request import RequestSeen
from livepost.wire.message import Fields


class _Refused(Exception):
    """Stops the parser from inside one of its callbacks."""


class RequestReader:
    """Reads the requests of one connection.

    Memory is bounded by the two limits plus two feeds.  After a refusal, or a request that ends the
    connection, whatever arrives is ignored.
    """

    def __init__(
        self, connection: int, *, max_head_bytes: int = MAX_HEAD_BYTES, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self.refusal: Reply | None = None
        """The answer to a request that is malformed or too large; nothing follows it."""
        self._connection = connection
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._complete: list[RequestSeen] = []
        self._count = 0
        self._ended = False
        self._go_ahead_due = False
        self._feed_bytes = 0
        self._in_head = False
        self._head_feeds_bytes = 0
        """All of the earlier feeds that hold a part of the unfinished head."""
        self._first_feed_bytes = 0
        """The first of them, which may hold other requests too."""
        self._target = b""
        self._path = b""
        self._version = ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    def receive(self, data: bytes) -> list[RequestSeen]:
        """Take bytes that arrived and return the requests that they completed, in order.

        Look at `refusal` and `take_go_ahead` afterwards.
        """
        if self._ended:
            return []
        self._feed_bytes = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            if not self._ended:
                raise
        except httptools.HttpParserError as error:
            if not self._ended:
                self._refuse(400, f"malformed request: {error}")
        if self._in_head and not self._ended:
            self._head_feeds_bytes += len(data)
            if self._head_feeds_bytes - self._first_feed_bytes > self._max_head_bytes:
                self._refuse_head()
        complete = self._complete
        if complete:
            self._complete = []
        return complete

    def take_go_ahead(self) -> bool:
        """True once if the client holds its body back for `100 Continue` (RFC 9110 section 10.1.1)."""
        due, self._go_ahead_due = self._go_ahead_due, False
        return due

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_feeds_bytes = 0
        self._first_feed_bytes = self._feed_bytes
        self._target = b""
        self._headers = []
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        if self._head_feeds_bytes + self._feed_bytes > self._max_head_bytes:
            self._check_head_size()
        if parser.should_upgrade():
            raise self._refuse(501, "this server neither upgrades nor tunnels")
        self._version = parser.get_http_version()
        if self._version not in ("1.1", "1.0"):
            raise self._refuse(505, f"HTTP/{self._version} is not spoken here")
        self._path = self._target.partition(b"?")[0]
        if self._path[:1] != b"/" and self._path != b"*":
            self._path = self._path_of_absolute_form()
        self._check_headers()

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body_bytes:
            raise self._refuse_body()
        self._body.append(data)

    def on_message_complete(self) -> None:
        parser, body = self._parser, self._body
        self._count += 1
        self._go_ahead_due = False
        keep_alive = parser.should_keep_alive()
        self._complete.append(
            RequestSeen(
                self._connection,
                self._count,
                parser.get_method(),
                self._target,
                self._path,
                tuple(self._headers),
                body[0] if len(body) == 1 else b"".join(body),
                self._version,
                keep_alive,
            )
        )
        if not keep_alive:
            self._ended = True

    def _check_head_size(self) -> None:
        size = len(self._parser.get_method()) + len(self._target) + len("  HTTP/1.1\r\n\r\n")
        size += sum(len(name) + len(value) + len(": \r\n") for name, value in self._headers)
        if size > self._max_head_bytes:
            raise self._refuse_head()

    def _path_of_absolute_form(self) -> bytes:
        try:
            return httptools.parse_url(self._target).path or b"/"
        except httptools.HttpParserInvalidURLError:
            raise self._refuse(400, "the request target is malformed") from None

    def _check_headers(self) -> None:
        hosts = 0
        for name, value in self._headers:
            size = len(name)  # spares most names the lower()
            if size == 4 and name.lower() == b"host":
                hosts += 1
            elif size == 14 and name.lower() == b"content-length":
                if int(value) > self._max_body_bytes:
                    raise self._refuse_body()
            elif size == 6 and name.lower() == b"expect" and self._version == "1.1":
                if value.strip().lower() != b"100-continue":
                    raise self._refuse(417, "the only expectation met here is 100-continue")
                self._go_ahead_due = True
        if hosts > 1 or (hosts == 0 and self._version == "1.1"):  # RFC 9112 section 3.2
            raise self._refuse(400, f"there are {hosts} Host fields")

    def _refuse_head(self) -> _Refused:
        return self._refuse(431, f"the request head is larger than {self._max_head_bytes} bytes")

    def _refuse_body(self) -> _Refused:
        return self._refuse(413, f"the request body is larger than {self._max_body_bytes} bytes")

    def _refuse(self, status: int, reason: str) -> _Refused:
        """End the reading; raise what this returns to stop the parser at once."""
        self.refusal = error_reply(status, reason, After.CLOSE)
        self._ended = True
        self._go_ahead_due = False
        return _Refused(reason)


class HeadReader(RequestReader):
    """A RequestReader that shows each head before its body is read.

    `on_head` is called with method, target, path and fields; if it returns True, the reading ends
    there, as after a refusal.
    """

    def __init__(
        self,
        connection: int,
        on_head: Callable[[bytes, bytes, bytes, Fields], bool],
        *,
        max_head_bytes: int = MAX_HEAD_BYTES,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        super().__init__(connection, max_head_bytes=max_head_bytes, max_body_bytes=max_body_bytes)
        self._on_head = on_head

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._on_head(self._parser.get_method(), self._target, self._path, tuple(self._headers)):
            self._ended = True
            self._go_ahead_due = False
            raise _Refused("stopped at the head")
