"""One connection of the practice server: carries replies out, and ends as they say."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from livepost.rehearsal.api import STATS_PATH
from livepost.rehearsal.reader import MAX_BODY_BYTES, MAX_HEAD_BYTES, RequestReader
from livepost.rehearsal.reply import After, Reply, render
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import Tally

LINGER_SECONDS = 1.0

_GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_ZERO = struct.pack("ii", 1, 0)


class State(enum.Enum):
    """Where a connection is in its life; it only ever moves down this list."""

    ACCEPTED = "accepted"
    """Over TLS, the handshake is under way."""
    OPEN = "open"
    SILENT = "silent"
    """Nothing is ever answered; what arrives is thrown away until the client closes."""
    LINGERING = "lingering"
    """The last answer is written; what still arrives is thrown away until the client closes.

    To close at once would make the kernel answer those bytes with a RST, which can destroy the
    answer before the client has read it (RFC 9112 section 9.6).
    """
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the practice server puts up with from one client; `None` is no limit."""

    max_head_bytes: int = MAX_HEAD_BYTES
    max_body_bytes: int = MAX_BODY_BYTES
    idle_timeout: float | None = None
    """Seconds without a byte from the client after which its connection is closed."""


class Connection(asyncio.Protocol):
    """Serves one client, from the moment its connection was accepted; asyncio sets TCP_NODELAY."""

    def __init__(
        self, number: int, answer: Callable[[RequestSeen], Reply], tally: Tally, limits: ServerLimits
    ) -> None:
        self._answer = answer
        self._tally = tally
        self._idle_timeout = limits.idle_timeout
        self._reader = RequestReader(
            number, max_head_bytes=limits.max_head_bytes, max_body_bytes=limits.max_body_bytes
        )
        self._loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        self._state = State.ACCEPTED
        self._transport: asyncio.Transport
        self._secured = False
        self._only_looked = False
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        tally.connections += 1
        tally.open += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        if self._state is State.CLOSED:  # aborted between its accept and here
            self._transport.abort()
            return
        self._state = State.OPEN
        self._secured = transport.get_extra_info("ssl_object") is not None
        self._tally.handshakes += self._secured
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
            self._timer = self._loop.call_later(self._idle_timeout, self._check_idle, self._idle_timeout)

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        for request in self._reader.receive(data):
            if not self._serve(request):
                return
        self._answer_reader()

    def pause_writing(self) -> None:
        # A client that does not read its answers may not send further requests.
        if self._state is State.OPEN:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._state is not State.CLOSED:
            self._settle()
        self.closed.set()

    async def abort(self) -> None:
        """Close now, whatever is unwritten, and return when it is closed.

        Over TLS the client is still told that this is the end.
        """
        if self._state is not State.CLOSED:
            self._state = State.CLOSING
            self._transport.close()
            self._transport.abort()
            await self.closed.wait()

    def give_up(self) -> None:
        """It never came about, or its server stopped in that instant; the loop closes the socket.

        uvloop then does not tell that it did, even if it told that the connection was made.
        """
        if self._state is not State.CLOSED:
            self._settle()

    def _settle(self) -> None:
        self._state = State.CLOSED
        self._cancel_timer()
        if not self._only_looked:
            self._tally.open -= 1

    def _serve(self, request: RequestSeen) -> bool:
        """Answer one request; False if the connection takes no more."""
        looks = request.path == STATS_PATH
        if looks is not self._only_looked:
            self._note_look(request.request_on_connection, looks)
        return self._send(request, self._answer(request))

    def _send(self, request: RequestSeen, reply: Reply) -> bool:
        """Write the answer to a request; False if the connection takes no more."""
        client_closes = not request.keep_alive and reply.raw is None
        if client_closes or reply.after is After.CLOSE:
            announced = b"close"
        else:
            announced = b"keep-alive" if request.version == "1.0" else b""
        answer = render(reply, to_head=request.method == b"HEAD", connection=announced)
        if answer:
            self._transport.write(answer)
        if reply.after is After.KEEP and not client_closes:
            return True
        if client_closes and reply.after is not After.RESET:
            self._end(After.DROP)
        else:
            self._end(reply.after)
        return False

    def _answer_reader(self) -> None:
        """Say what has to be said about a request that is not complete."""
        refusal = self._reader.refusal
        if refusal is not None:
            self._transport.write(render(refusal, connection=b"close"))
            self._linger()
        elif self._reader.take_go_ahead():
            self._transport.write(_GO_AHEAD)

    def _end(self, how: After) -> None:
        if how is After.RESET:
            self._reset()
        elif how is After.DROP:
            self._close()
        elif how is After.CLOSE:
            self._linger()

    def _note_look(self, request_on_connection: int, looks: bool) -> None:
        """Keep a connection out of the counts for as long as all it did was to look at them."""
        if looks and request_on_connection > 1:
            return
        self._only_looked = looks
        change = -1 if looks else 1
        self._tally.connections += change
        self._tally.open += change
        self._tally.handshakes += change * self._secured

    def _linger(self) -> None:
        self._state = State.LINGERING
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._cancel_timer()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        self._state = State.CLOSING
        self._transport.close()

    def _reset(self) -> None:
        self._state = State.CLOSING
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    def _check_idle(self, limit: float) -> None:
        left = self._heard_at + limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle, limit)
        else:
            self._close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
