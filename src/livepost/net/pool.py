"""The connections to one target: which one gets work next, and when another is dialled.

Connections that have work look after themselves (they pull).  The pool wakes idle ones when work
arrives, the most recently used first, so that few stay hot and the rest may age out; and it dials
more while exchanges wait and the limit allows.  A connection that becomes free before a dial
completes simply takes the exchange first.

The first dial is made alone: it finds out whether the target can be reached, and by which address.
After that there are never more dials in progress than connections alive, so the pool doubles at
most once a round trip and a short job does not open connections it has no use for.

A connection that ends without a whole answer is as good as a dial that failed: otherwise a server
that closes whatever it accepts, or speaks another protocol, would have every exchange spent on it,
as fast as connections can be made.

After a failure there is a pause, and then one dial at a time, each connection being left alone for a
moment, until one that was made after the last failure has answered.  What older connections do says
nothing: a server may serve those it has and refuse more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from livepost.config import Limits
from livepost.errors import DialError
from livepost.events import CloseReason, ConnectionOpened
from livepost.net.connection import Connection, Surroundings
from livepost.net.deadlines import TimerHandle
from livepost.net.dial import Dialed
from livepost.wire.machine import Machine

_OUR_DOING = frozenset(
    (CloseReason.FINISHED, CloseReason.STOPPED, CloseReason.IDLE_TIMEOUT, CloseReason.IDLE_LIMIT)
)

_PROVING_SECONDS = 0.1

_LONGEST_PAUSE_SECONDS = 5.0


class Dialing(Protocol):
    """What makes connections (`net.dial.Dialer`)."""

    async def dial(self) -> Dialed:
        """Make one connection, or raise DialError."""


class Pool:
    """Keeps connections live between one target and `shared.work`.

    Call `wake` whenever work may have arrived; call `close` at the end and await `wait_closed`.
    `redial_delay(error, failures_in_a_row)` says how many seconds to wait after a failed dial, or
    None to give up; then `on_unreachable(error)` is called.  Nobody gives up while a connection
    is alive: None then means to dial again after 5 s.  `on_crash(error)` is called with whatever
    else a dial raises.
    """

    def __init__(
        self,
        dialer: Dialing,
        make_machine: Callable[[], Machine],
        limits: Limits,
        shared: Surroundings,
        loop: asyncio.AbstractEventLoop,
        *,
        redial_delay: Callable[[DialError, int], float | None],
        on_unreachable: Callable[[DialError], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._dialer = dialer
        self._make_machine = make_machine
        self._limits = limits
        self._shared = shared
        self._loop = loop
        self._redial_delay = redial_delay
        self._on_unreachable = on_unreachable
        self._on_crash = on_crash
        self._alive: dict[int, Connection] = {}
        self._idle: dict[int, Connection] = {}
        """Idle connections by number, in order, the most recently used last."""
        self._idle_limit = limits.idle_per_host
        if limits.max_idle_conns is not None:
            self._idle_limit = min(self._idle_limit, limits.max_idle_conns)
        self._dials: set[asyncio.Task[Dialed]] = set()
        self._opened = 0
        self._failures_in_a_row = 0
        self._opened_before_failure = 0
        """The number of the last connection made before the last failure."""
        self._redial_timer: TimerHandle | None = None
        """Until it goes off, nothing is dialled."""
        self._is_proving = False
        """That timer is not for a failure, but to see how a connection does after one."""
        self._is_offering = False
        """Only when all idle connections have been offered the work is it known how many are missing."""
        self._is_closed = False

    @property
    def opened(self) -> int:
        """How many connections were ever made."""
        return self._opened

    @property
    def alive(self) -> int:
        return len(self._alive)

    def wake(self) -> None:
        """Work may have arrived: let idle connections take it, and dial more if they are too few."""
        self._is_offering = True
        numbers = list(self._idle)
        while numbers and (waiting := self._shared.work.waiting):
            self._offer(
                [self._idle.pop(number) for number in numbers[: -waiting - 1 : -1] if number in self._idle]
            )
            del numbers[-waiting:]
        self._is_offering = False
        self._dial_if_needed()

    def _offer(self, connections: list[Connection]) -> None:
        for connection in connections:
            connection.wake()
        self._shared.poller.offer(connections)

    def close(self, reason: CloseReason) -> None:
        """Close every connection; open exchanges fail with what was sent of them."""
        self._is_closed = True
        self._end_pause()
        for task in self._dials:
            task.cancel()
        for connection in list(self._alive.values()):
            connection.close(reason)

    async def wait_closed(self) -> None:
        """Until the dials that `close` cancelled have cleaned up; then nothing is left open."""
        await asyncio.gather(*self._dials, return_exceptions=True)
        self._shared.poller.close()

    def _dial_if_needed(self) -> None:
        if self._is_closed or self._is_offering or self._redial_timer is not None:
            return
        if self._failures_in_a_row and any(map(self._is_recovery, self._alive.values())):
            self._failures_in_a_row = 0
        dialing = len(self._dials)
        alive = len(self._alive)
        wanted = min(
            self._shared.work.waiting - len(self._idle) - dialing,
            self._limits.max_conns_per_host - alive - dialing,
            (1 if self._failures_in_a_row else max(1, alive)) - dialing,
        )
        for _ in range(wanted):
            task = self._loop.create_task(self._dialer.dial())
            self._dials.add(task)
            task.add_done_callback(self._dial_ended)

    def _dial_ended(self, task: asyncio.Task[Dialed]) -> None:
        self._dials.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._begin(task.result())
        elif isinstance(error, DialError):
            self._dial_failed(error)
        elif isinstance(error, Exception):
            # What is left, such as KeyboardInterrupt, comes out of the event loop itself.
            self._on_crash(error)

    def _begin(self, dialed: Dialed) -> None:
        if self._is_closed:
            dialed.socket.close()
            return
        self._opened += 1
        self._shared.observer.connection_opened(
            ConnectionOpened(
                self._opened, dialed.address, dialed.seconds, dialed.tls_version, dialed.tls_resumed
            )
        )
        connection = Connection(
            self._opened,
            dialed.socket,
            self._make_machine(),
            self._shared,
            on_idle=self._connection_idle,
            on_closed=self._connection_closed,
        )
        self._alive[connection.number] = connection
        self._offer([connection])
        if self._failures_in_a_row and connection.number in self._alive:
            self._let_it_prove_itself()
        else:
            self._dial_if_needed()

    def _let_it_prove_itself(self) -> None:
        if self._redial_timer is None:
            self._is_proving = True
            self._pause(_PROVING_SECONDS)

    def _dial_failed(self, error: DialError) -> None:
        if self._is_closed:
            return
        self._shared.observer.dial_failed(str(error))
        self._opened_before_failure = self._opened
        if self._redial_timer is not None:
            if not self._is_proving:
                # Failures that come together, as when the server goes away, count once.
                return
            self._end_pause()
        self._failures_in_a_row += 1
        delay = self._redial_delay(error, self._failures_in_a_row)
        if delay is None and (self._alive or self._dials):
            delay = _LONGEST_PAUSE_SECONDS
        if delay is None:
            self._on_unreachable(error)
        else:
            self._pause(delay)

    def _is_recovery(self, connection: Connection) -> bool:
        return connection.has_answered and connection.number > self._opened_before_failure

    def _pause(self, seconds: float) -> None:
        self._redial_timer = self._loop.call_later(seconds, self._redial)

    def _end_pause(self) -> None:
        if self._redial_timer is not None:
            self._redial_timer.cancel()
        self._redial_timer = None
        self._is_proving = False

    def _redial(self) -> None:
        self._end_pause()
        self._dial_if_needed()

    def _connection_idle(self, connection: Connection) -> None:
        if len(self._idle) >= self._idle_limit:
            connection.close(CloseReason.IDLE_LIMIT)
        else:
            self._idle[connection.number] = connection

    def _connection_closed(self, connection: Connection, reason: CloseReason) -> None:
        del self._alive[connection.number]
        self._idle.pop(connection.number, None)
        if self._is_closed:
            return
        if connection.has_answered:
            # With the last one that was of use a new reckoning begins: a server that refused more
            # connections for an hour and then starts again is waited for as any other.
            if not self._alive or self._is_recovery(connection):
                self._failures_in_a_row = 0
        elif reason not in _OUR_DOING and (connection.requests or self._shared.work.waiting):
            # As good as a dial that failed: without a pause, every exchange would end like this one.
            self._dial_failed(
                DialError(
                    f"connections to the server end without an answer ({reason.value.replace('_', ' ')})",
                    "is it an HTTP server, and does it want TLS or a client certificate?",
                )
            )
            return
        self._dial_if_needed()
