"""The connections to one target: which one gets work next, and when another is dialled.

Connections that have work look after themselves (they pull).  The pool wakes idle ones when work
arrives, the most recently used first, so that few stay hot and the rest may age out; and it dials
more while exchanges wait and the limit allows.  A connection that becomes free before a dial
completes simply takes the exchange first.

The first dial is made alone: it finds out whether the target can be reached, and by which address.
After that there are never more dials in progress than connections alive, so the pool doubles at
most once a round trip and a short job does not open connections it has no use for.

Over HTTP/2 one connection carries many exchanges, so what is limited is how many can be carried at a
time: another connection is dialled only when the streams of those alive are too few.  Until the server
has said how many it takes, they are taken to be enough.  The poller bounds what they carry together.

What a server allows its connections, how long a pause, how many requests and what age, is learned and kept to
(`keeper`).  The replacement of a connection is dialled before it has to go; meanwhile the old one goes on,
and is not counted.  Near the end of the work none is replaced (`frugality`).

A connection that ends without a whole answer is as good as a dial that failed: otherwise a server
that closes whatever it accepts, or speaks another protocol, would have every exchange spent on it,
as fast as connections can be made.

After a failure there is a pause, and then one dial at a time, each connection being left alone for a
moment, until one that was made after the last failure has answered.  What older connections do says
nothing: a server may serve those it has and refuse more.

A server that asks for calm (HTTP/2's ENHANCE_YOUR_CALM) is left alone as after a failure, longer each
time.  One that wants HTTP/1.1 is offered nothing else from then on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from livepost.config import Limits
from livepost.errors import DialError
from livepost.events import CloseReason, ConnectionOpened, HttpVersion
from livepost.net.connection import Connection
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import TimerHandle
from livepost.net.dial import Dialed
from livepost.net.dial_need import Need, dials_wanted
from livepost.net.dialing import Dialing, ended_unanswered
from livepost.net.frugality import Frugality
from livepost.net.idle_places import IdlePlaces
from livepost.net.keeper import Keeper
from livepost.net.knowledge import Knowledge
from livepost.net.multiplexed import MultiplexedConnection
from livepost.net.surroundings import Surroundings
from livepost.net.tcp_info import read_round_trip
from livepost.wire.machine import Machine
from livepost.wire.message import Response

# Nothing is wrong with a server whose connection ends so, or that was seen to elsewhere.
_SAYS_NOTHING = frozenset(
    (
        *(CloseReason.FINISHED, CloseReason.STOPPED, CloseReason.IDLE_TIMEOUT, CloseReason.IDLE_LIMIT),
        *(CloseReason.EXPIRED, CloseReason.TOO_OLD, CloseReason.SUSPENDED, CloseReason.ADDRESS_GONE),
        *(CloseReason.HTTP_1_1_REQUIRED, CloseReason.ENHANCE_YOUR_CALM, CloseReason.LIMIT_REACHED),
    )
)

_CALM = DialError("the server asks for calm", "lower --connections or --rate")

_IDLE = ConnectionState.IDLE
_TESTING = ConnectionState.TESTING

_PROVING_SECONDS = 0.1

_LONGEST_PAUSE_SECONDS = 5.0


class Pool:
    """Keeps connections live between one target and `shared.work`.

    Call `wake` whenever work may have arrived; call `close` at the end and await `wait_closed`.
    `to_come()` says about how many exchanges will come beside those that `shared.work` has now: 0 only if
    none will, infinity if nobody knows.
    `redial_delay(error, failures_in_a_row)` says how many seconds to wait after a failed dial, or
    None to give up; then `on_unreachable(error)` is called.  Nobody gives up while a connection
    is alive: None then means to dial again after 5 s.  `on_crash(error)` is called with whatever
    else a dial raises.  `knowledge` is what is known of the server; by default nothing.
    `idle_places` is what pools of one run share; by default this one is alone.
    """

    def __init__(
        self,
        dialer: Dialing,
        make_machine: Callable[[HttpVersion], Machine],
        limits: Limits,
        shared: Surroundings,
        loop: asyncio.AbstractEventLoop,
        *,
        to_come: Callable[[], float],
        redial_delay: Callable[[DialError, int], float | None],
        on_unreachable: Callable[[DialError], None],
        on_crash: Callable[[Exception], None],
        knowledge: Knowledge | None = None,
        idle_places: IdlePlaces | None = None,
    ) -> None:
        self._dialer = dialer
        self._make_machine = make_machine
        self._limits = limits
        self._shared = shared
        self._loop = loop
        self._to_come = to_come
        self._redial_delay = redial_delay
        self._on_unreachable = on_unreachable
        self._on_crash = on_crash
        self._alive: dict[int, Connection] = {}
        self._hungry: dict[int, Connection] = {}
        """Connections that could carry more than there was, in order, the most recently used last."""
        self._idle_places = idle_places or IdlePlaces(limits, loop.call_soon)
        self._idle_places.share(self._hungry)
        self._leaving: set[int] = set()
        """Connections that are going to end, and of which that was noted."""
        self._keeper = Keeper(
            knowledge or Knowledge(),
            shared,
            self._alive,
            self._hungry,
            expects_more=lambda: to_come() > 0,
            on_worn=self._dial_if_needed,
        )
        self._carried_by_each = 1
        """How many exchanges a connection carries at a time, as far as is known."""
        self._calls_for_calm = 0
        """In a row, without a connection that ended otherwise."""
        self._dials: set[asyncio.Task[Dialed]] = set()
        self._opened = 0
        self._failures_in_a_row = 0
        self._frugality = Frugality(shared, self._dial_if_needed)
        self._opened_before_failure = 0
        """The number of the last connection made before the last failure."""
        self._redial_timer: TimerHandle | None = None
        """Until it goes off, nothing is dialled."""
        self._is_proving = False
        """That timer is not for a failure, but to see how a connection does after one."""
        self._is_offering = False
        """Only when all idle connections have been offered the work is it known how many are missing."""
        self._is_closed = False
        shared.poller.limit(limits.max_conns_per_host, self.wake)

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
        if self._hungry and self._shared.work.waiting:
            self._keeper.close_if_slept()
        numbers = list(self._hungry)
        now = self._shared.clock()
        # What is being tested will take its share.
        tested = sum(other.spare for other in self._alive.values() if other.state is _TESTING)
        poller = self._shared.poller
        while numbers and (waiting := poller.free_for(self._shared.work.waiting - tested)) > 0:
            offered = []
            while numbers and waiting > 0:
                connection = self._hungry.get(numbers.pop())
                if connection is None or not connection.spare or connection.state is _TESTING:
                    continue
                del self._hungry[connection.number]
                is_idle = connection.state is _IDLE
                if self._keeper.wake(connection, now) if is_idle else connection.wake(now):
                    offered.append(connection)
                    waiting -= connection.room
                elif connection.state is _TESTING:
                    tested += connection.spare
                    waiting -= connection.spare
            self._shared.poller.offer(offered)
        self._is_offering = False
        self._dial_if_needed()

    def close(self, reason: CloseReason) -> None:
        """Close every connection; open exchanges fail with what was sent of them."""
        self._is_closed = True
        self._end_pause()
        for task in self._dials:
            task.cancel()
        for connection in list(self._alive.values()):
            connection.close(reason)
        self._keeper.close_observed(reason)

    async def wait_closed(self) -> None:
        """Until the dials that `close` cancelled have cleaned up; then nothing is left open."""
        await asyncio.gather(*self._dials, return_exceptions=True)
        self._shared.poller.close()

    def _dial_if_needed(self) -> None:
        if self._is_closed or self._is_offering or self._redial_timer is not None:
            return
        if self._failures_in_a_row and any(map(self._is_recovery, self._alive.values())):
            self._failures_in_a_row = 0
        for _ in range(self._dials_wanted()):
            task = self._loop.create_task(self._dialer.dial())
            self._dials.add(task)
            task.add_done_callback(self._dial_ended)

    def _dials_wanted(self) -> int:
        connections = self._alive.values()
        need = Need(
            waiting=self._shared.work.waiting,
            to_come=self._to_come(),
            limit=self._limits.max_conns_per_host,
            each=self._carried_by_each,
            dialing=len(self._dials),
            at_once=1 if self._failures_in_a_row else max(1, len(connections)),
        )
        return self._frugality.allowed(
            dials_wanted(connections, need),
            connections,
            need,
            opened=self._opened,
            request_cap=self._keeper.requests_limit,
        )

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
                self._opened,
                dialed.address,
                dialed.seconds,
                dialed.tls_version,
                dialed.tls_resumed,
                dialed.http_version,
                read_round_trip(dialed.socket),
            )
        )
        machine = self._make_machine(dialed.http_version)
        make_connection = MultiplexedConnection if machine.is_multiplexed else Connection
        connection = make_connection(
            self._opened,
            dialed.socket,
            machine,
            self._shared,
            on_hungry=self._connection_hungry,
            on_changed=self._connection_changed,
            on_closed=self._connection_closed,
            on_answered=self._connection_answered,
            on_due=self._keeper.beat,
            why=self._keeper.why,
        )
        self._keeper.took(connection, dialed)
        self._note_capacity(connection)
        self._alive[connection.number] = connection
        connection.wake(self._shared.clock())
        self._shared.poller.offer((connection,))
        if self._failures_in_a_row and connection.number in self._alive:
            self._let_it_prove_itself()
        else:
            self._dial_if_needed()

    def _let_it_prove_itself(self) -> None:
        if self._redial_timer is None:
            self._is_proving = True
            self._pause(_PROVING_SECONDS)

    def _dial_failed(self, error: DialError, *, failures: int = 0) -> None:
        """One did, or is as good as that; at least so many did in a row."""
        if self._is_closed:
            return
        self._shared.observer.dial_failed(str(error))
        self._opened_before_failure = self._opened
        if self._redial_timer is not None:
            if not self._is_proving:
                # Failures that come together, as when the server goes away, count once.
                return
            self._end_pause()
        self._failures_in_a_row = max(self._failures_in_a_row + 1, failures)
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

    def _connection_hungry(self, connection: Connection) -> None:
        hungry = self._hungry
        hungry.pop(connection.number, None)
        hungry[connection.number] = connection
        if connection.state is _IDLE:
            self._idle_places.taken(connection, hungry)
        if connection.state is _IDLE:
            self._keeper.rests(connection)

    def _connection_answered(
        self, connection: Connection, response: Response | None, idle_seconds: float
    ) -> None:
        if not connection.has_answered and isinstance(connection.socket, ssl.SSLSocket):
            self._dialer.keep_session(connection.socket)
        self._keeper.answered(connection, response, idle_seconds)

    def _connection_changed(self, connection: Connection) -> None:
        """It can carry more, or less, than before, or not for long."""
        if connection.closing is not None:
            self._note_leaving(connection, connection.closing)
        elif connection.has_outlived_limit:
            self._keeper.outlived_limit(connection)
        elif connection.capacity:
            self._keeper.plan(connection)
        self._note_capacity(connection)
        if not connection.spare and self._hungry and self._shared.work.waiting:
            self._loop.call_soon(self.wake)
        self._dial_if_needed()

    def _note_capacity(self, connection: Connection) -> None:
        capacity = connection.capacity
        if capacity:
            self._carried_by_each = min(capacity, self._limits.max_conns_per_host)

    def _note_leaving(self, connection: Connection, reason: CloseReason) -> None:
        """What is to be learned of a connection's end, as soon as it is known to come."""
        if connection.number in self._leaving:
            return
        self._leaving.add(connection.number)
        if reason is CloseReason.ENHANCE_YOUR_CALM:
            self._calls_for_calm += 1
            self._dial_failed(_CALM, failures=self._calls_for_calm)
            return
        self._calls_for_calm = 0
        if reason is CloseReason.HTTP_1_1_REQUIRED:
            self._dialer.speak_http_1_1()
            self._carried_by_each = 1
        self._keeper.leaves(connection, reason)

    def _connection_closed(self, connection: Connection, reason: CloseReason) -> None:
        was_observed = self._keeper.ended(connection, reason)
        if was_observed:
            self._leaving.discard(connection.number)
            return
        del self._alive[connection.number]
        self._hungry.pop(connection.number, None)
        if not self._alive and not self._dials:
            self._frugality.begin_anew(self._opened)
        if not self._is_closed:
            self._note_leaving(connection, reason)
        self._leaving.discard(connection.number)
        if self._is_closed:
            return
        if self._hungry and self._shared.work.waiting:
            # It may have been tested for that, and others may do; not from here, in the middle of a round.
            self._loop.call_soon(self.wake)
        if connection.has_answered:
            # With the last one that was of use a new reckoning begins: a server that refused more
            # connections for an hour and then starts again is waited for as any other.
            if not self._alive or self._is_recovery(connection):
                self._failures_in_a_row = 0
        elif reason not in _SAYS_NOTHING and (connection.requests or self._shared.work.waiting):
            # As good as a dial that failed: without a pause, every exchange would end like this one.
            refusal = connection.refusal
            self._dial_failed(
                ended_unanswered(reason) if refusal is None else self._dialer.explain_refusal(refusal)
            )
            return
        self._dial_if_needed()
