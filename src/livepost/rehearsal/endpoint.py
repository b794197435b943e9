"""The server's side of one connection, whatever is spoken on it: its life, its limits, its end."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from typing import cast

from livepost.rehearsal.limits import IdleEnding, ServerLimits
from livepost.rehearsal.packet_filter import drop_incoming, dropped_segments
from livepost.rehearsal.reply import After
from livepost.rehearsal.stats import EndReason
from livepost.rehearsal.visit import Visit

LINGER_SECONDS = 1.0
FORGOTTEN_CHECK_SECONDS = 0.02
"""How soon a packet on a forgotten connection is answered with a RST."""
FORGOTTEN_SECONDS = 900.0
"""How long a connection is kept that nobody can end any more: a client's kernel gives up about then."""

_LINGER_ZERO = struct.pack("ii", 1, 0)


class State(enum.Enum):
    """Where a connection is in its life; it only ever moves down this list."""

    ACCEPTED = "accepted"
    """Over TLS, the handshake is under way."""
    OPEN = "open"
    HANDED_OVER = "handed over"
    """Another endpoint has the transport now."""
    SILENT = "silent"
    """Nothing is ever answered; what arrives is thrown away until the client closes."""
    FORGOTTEN = "forgotten"
    """As if something on the way had dropped it; whatever arrives is answered with a RST."""
    LINGERING = "lingering"
    """The last answer is written; what still arrives is thrown away until the client closes.

    To close at once would make the kernel answer those bytes with a RST, which can destroy the
    answer before the client has read it (RFC 9112 section 9.6).
    """
    CLOSING = "closing"
    CLOSED = "closed"


class Endpoint(asyncio.Protocol):
    """Serves one client, from the moment its connection was accepted."""

    ends_at_once = False
    """Nothing will be read, not even a TLS handshake: give it a transport without TLS."""
    _drops_with_fin = False
    """A close with bytes unread is a RST; with this, a FIN comes first, and they are thrown away."""

    def __init__(self, visit: Visit, limits: ServerLimits) -> None:
        self._visit = visit
        self._limits = limits
        self._idle_timeout = limits.idle_timeout
        self._loop = asyncio.get_running_loop()
        self._state = State.ACCEPTED
        self._transport: asyncio.Transport
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._age_timer: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> asyncio.Event:
        return self._visit.over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        if self._state is State.CLOSED:  # aborted between its accept and here
            self._transport.abort()
            return
        self._state = State.OPEN
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self._visit.handshake_done(ssl_object)
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
            self._timer = self._loop.call_later(self._idle_timeout, self._check_idle, self._idle_timeout)
        if self._limits.max_age is not None:
            self._begin_to_age(self._limits.max_age)

    def pause_writing(self) -> None:
        # A client that does not read its answers may not send further requests.
        if self._state is State.OPEN:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._state is not State.CLOSED:
            self._settle()
        self._visit.over.set()

    async def abort(self) -> None:
        """Close now, whatever is unwritten, and return when it is closed.

        Over TLS the client is still told that this is the end.
        """
        if self._state is not State.CLOSED:
            self._state = State.CLOSING
            self._transport.close()
            self._transport.abort()
            await self._visit.over.wait()

    def give_up(self) -> None:
        """It never came about, or its server stopped in that instant; the loop closes the socket.

        uvloop then does not tell that it did, even if it told that the connection was made.
        """
        if self._state is not State.CLOSED:
            self._settle()

    def crash(self) -> None:
        """End as if the server's process had died: with a RST."""
        if self._state is State.ACCEPTED:
            self._settle()
        elif self._state is not State.CLOSED:
            self._reset()

    def _is_busy(self) -> bool:
        """An answer is due."""
        return False

    def _say_goodbye(self) -> None:
        """Write what the protocol has for the end of an idle connection."""

    def _say_timeout(self) -> None:
        """Write an answer that nobody asked for, if the protocol can."""
        self._say_goodbye()

    def _settle(self) -> None:
        self._state = State.CLOSED
        self._cancel_timers()
        self._visit.leave()

    def _disregard(self) -> None:
        """Bytes came that are not read any more."""
        if self._state is State.FORGOTTEN:
            self._reset()

    def _end(self, how: After) -> None:
        if how is After.KEEP:
            return
        if how is After.RESET:
            self._reset()
        elif how is After.CLOSE or (self._drops_with_fin and self._transport.can_write_eof()):
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        self._state = State.LINGERING
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._cancel_timers()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        self._state = State.CLOSING
        self._transport.close()

    def _reset(self) -> None:
        self._state = State.CLOSING
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    def _fall_silent(self) -> None:
        self._state = State.SILENT
        self._transport.resume_reading()  # else it would not notice the client's close
        self._cancel_timers()

    def _check_idle(self, limit: float) -> None:
        left = limit if self._is_busy() else self._heard_at + limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle, limit)
        else:
            self._visit.ends_for(EndReason.IDLE)
            self._end_idle(self._limits.idle_ending)

    def _end_idle(self, ending: IdleEnding) -> None:
        self._cancel_timers()
        if ending is IdleEnding.CLOSE:
            self._say_goodbye()
            self._close()
        elif ending is IdleEnding.TIMEOUT_ANSWER:
            self._say_timeout()
            self._linger()
        elif ending is IdleEnding.RESET:
            self._reset()
        else:
            self._fall_deaf(forgotten=ending is IdleEnding.FORGET)

    def _fall_deaf(self, *, forgotten: bool) -> None:
        self._state = State.FORGOTTEN if forgotten else State.SILENT
        sock = self._transport.get_extra_info("socket")
        is_deaf = drop_incoming(sock)
        until = self._loop.time() + FORGOTTEN_SECONDS
        if forgotten and is_deaf:
            self._watch_forgotten(dropped_segments(sock), until)
        else:
            self._timer = self._loop.call_at(until, self._reset)

    def _watch_forgotten(self, dropped: int, until: float) -> None:
        sock = self._transport.get_extra_info("socket")
        if dropped_segments(sock) > dropped or self._loop.time() >= until:
            self._reset()
        else:
            self._timer = self._loop.call_later(
                FORGOTTEN_CHECK_SECONDS, self._watch_forgotten, dropped, until
            )

    def _begin_to_age(self, limit: float) -> None:
        if self._visit.opened_at is None:
            self._visit.opened_at = self._loop.time()
        if not self._limits.announces:
            self._age_timer = self._loop.call_at(self._visit.opened_at + limit, self._come_of_age)

    def _come_of_age(self) -> None:
        self._age_timer = None
        if self._state is State.OPEN and not self._is_busy():
            self._visit.ends_for(EndReason.AGE)
            self._close()

    def _is_too_old(self) -> bool:
        limit, opened_at = self._limits.max_age, self._visit.opened_at
        return limit is not None and opened_at is not None and self._loop.time() - opened_at >= limit

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._age_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._age_timer = None
