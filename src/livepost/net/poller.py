"""All sockets of a run under one epoll, and the rounds in which they are served.

A round reads what has come on every connection, settles it, *looks at the kernel once more*, and only
then hands out new work, to those connections of which the kernel had no further news.  So nothing is
ever written to a connection whose FIN has arrived, one system call answers that question for all
of them, and what the delivery does is done for many records at a time: a fifth less CPU per record than
a callback of the event loop and a `poll` for each.  A connection that carries many exchanges always has
news while it is busy: that its peer has not finished is enough once it runs dry.

All that is under way passes here twice, when it is handed out and when it is settled, so here it is bounded.

The event loop watches only the epoll itself.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from livepost.clock import Clock
from livepost.events import CloseReason
from livepost.model import Sent
from livepost.net.work import Work
from livepost.wire.machine import Event, Failed
from livepost.wire.message import Exchange

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
LEAVING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""The peer has finished sending, or the connection is broken."""

# Then whatever else waits in the event loop has its turn.
_ROUNDS_IN_A_ROW = 16

_NO_LIMIT = 2**31


class Polled(Protocol):
    """What the poller knows of a connection (`net.connection.Connection`)."""

    @property
    def descriptor(self) -> int: ...

    @property
    def room(self) -> int:
        """How many exchanges it can take now; 0 once it is closed."""

    @property
    def runs_dry(self) -> bool:
        """It is to be given work although there is more to read."""

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        """Read and write what the kernel allows, add what was completed to `settled`.

        True if the connection may be given work in this round.
        """

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        """Send as many as there is room for, taken off the end of the list; without any, become idle.

        It may have ended, or be about to, since it said how much room it has: then it does nothing.
        """


class Poller:
    """Serves connections from `watch` to `forget`.

    `close` it at the end, when it watches nothing any more.
    """

    def __init__(self, work: Work, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._clock = clock
        self._loop = loop
        self._epoll = select.epoll()
        self._connections: dict[int, Polled] = {}
        self._most_at_a_time = _NO_LIMIT
        self._at_a_time = 0
        """How many exchanges were pulled and not settled."""
        self._on_freed: Callable[[], None] = lambda: None
        self._somebody_waits = False
        """A connection with room was given less, or was not offered anything, because of the limit."""
        self._is_telling = False
        loop.add_reader(self._epoll.fileno(), self._turn)

    def limit(self, most_at_a_time: int, on_freed: Callable[[], None]) -> None:
        """Have at most so many exchanges under way at a time, whatever room there is.

        There may be more where several connections have many streams, or one and its replacement are both
        there.  Counted are those that were pulled and have not been settled, over all connections: also over
        those that are worn, drain, or wait for the proof of an end, as the server may be at work on them.  A
        probe, which carries no record, does not count, nor does a stream for which nobody waits any more.

        `on_freed()` is called soon after some have ended, if connections were given less before: whoever has
        room is to be offered.
        """
        self._most_at_a_time = most_at_a_time
        self._on_freed = on_freed

    @property
    def free(self) -> int:
        """How many more exchanges may be under way."""
        return self._most_at_a_time - self._at_a_time

    def free_for(self, wanted: int) -> int:
        """How many of so many more, for which there is room, may be under way."""
        if wanted > self.free:
            self._somebody_waits = True
        return min(wanted, self.free)

    def settle(self, events: Sequence[Event], now: float, cause: CloseReason | None = None) -> None:
        """What became of exchanges that were handed out; `cause` if it is the end of their connection."""
        self._at_a_time -= len(events)
        if self._somebody_waits and not self._is_telling:
            self._is_telling = True
            self._loop.call_soon(self._tell_freed)
        self._work.settle(events, now, cause)

    def _tell_freed(self) -> None:
        self._is_telling = False
        # Whoever brought the events may have taken their places at once.
        if self.free > 0:
            self._somebody_waits = False
            self._on_freed()

    def watch(self, connection: Polled) -> None:
        """Serve this connection from now on."""
        self._epoll.register(connection.descriptor, READABLE | select.EPOLLRDHUP)
        self._connections[connection.descriptor] = connection

    def forget(self, connection: Polled) -> None:
        """Look at it no longer; to be called before its socket is closed."""
        del self._connections[connection.descriptor]
        self._epoll.unregister(connection.descriptor)

    def want_writable(self, connection: Polled, wanted: bool) -> None:
        """Whether to call `take_in` when the connection can be written to, too."""
        mask = READABLE | select.EPOLLRDHUP | (WRITABLE if wanted else 0)
        self._epoll.modify(connection.descriptor, mask)

    def offer(self, connections: Iterable[Polled]) -> None:
        """Give work to connections that have room and waited without any."""
        self._round(self._poll(), {connection.descriptor: connection for connection in connections})

    def close(self) -> None:
        """Let go of the event loop and the descriptor.  Closing twice does nothing."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _poll(self) -> list[tuple[int, int]]:
        # Of all of them: by itself it tells of 1 023 at most.
        return self._epoll.poll(0, len(self._connections) or 1)

    def _turn(self) -> None:
        """The event loop says that something has come."""
        events = self._poll()
        for _ in range(_ROUNDS_IN_A_ROW):
            if not events:
                break
            events = self._round(events, {})

    def _round(self, events: list[tuple[int, int]], ready: dict[int, Polled]) -> list[tuple[int, int]]:
        """Serve `events`; give work to what is in `ready` or becomes so.  Returns the next events."""
        now = self._clock()
        connections = self._connections
        settled: list[Event] = []
        try:
            for descriptor, mask in events:
                # One that another's end has closed is there no longer.
                connection = connections.get(descriptor)
                if connection is None:
                    continue
                if connection.take_in(mask, settled, now):
                    ready[descriptor] = connection
        finally:
            # Whatever goes wrong with one, the others have their answers.
            if settled:
                self.settle(settled, now)
        events = self._poll()
        if ready:
            for descriptor, mask in events:
                connection = ready.get(descriptor)
                if connection is not None and (mask & LEAVING or not connection.runs_dry):
                    # It comes first thing in the next round.
                    del ready[descriptor]
            if ready:
                self._hand_out(ready)
        return events

    def _hand_out(self, ready: dict[int, Polled]) -> None:
        now = self._clock()
        room = 0
        for connection in ready.values():
            room += connection.room
        room = self.free_for(room)
        exchanges = self._work.pull(room, now) if room > 0 else []
        self._at_a_time += len(exchanges)
        exchanges.reverse()
        try:
            for connection in ready.values():
                connection.carry(exchanges, now)
        finally:
            if exchanges:
                # A connection ended that had been counted on.
                left = [Failed(exchange, Sent.NOTHING, "the connection was closed") for exchange in exchanges]
                self.settle(left, now)
