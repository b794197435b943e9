"""Keeps the connections of one pool within what their server allows, and learns what that is.

Decides which idle connection may be used again, and when another takes a connection's place; asks hot idle
ones for something safe so that the server keeps them; retires those of which it knows better.  See `liveness`
for what is learned and how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from livepost.events import CloseReason, HttpVersion
from livepost.net.connection import Connection
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import NEVER, Alarm
from livepost.net.dial import Dialed
from livepost.net.hand_over import HandOverReason
from livepost.net.knowledge import KeepAlive, Knowledge
from livepost.net.reuse import Decision
from livepost.net.surroundings import Surroundings
from livepost.net.tcp_info import read_progress
from livepost.wire.message import Exchange, Response

# Until one has been dialled.
_DIAL_SECONDS = 0.1

# A dial takes about three, in each of which a connection carries as many as it can at a time.
_ROUND_TRIPS_OF_A_DIAL = 3

# Answers of a name server may be a choice of many addresses, another with each look-up.
_ADDRESS_GONE_SECONDS = 60.0

# That a connection lived through a shorter pause tells nothing, and a server that closes one sooner does not
# do so for its being idle.
_TELLING_SECONDS = 0.5
_SHORTEST_LIMIT_SECONDS = 0.1

# A connection that breaks so soon after a pause, before any answer, was probably closed for the pause.
_CROSSING_SECONDS = 0.5

# What a timer may be early.
_TIMER_SECONDS = 0.1

# Some servers say 408 first, some reset.
_ENDS_OF_IDLENESS = (CloseReason.UNSOLICITED, CloseReason.RESET)

_WITHOUT_A_WORD = (CloseReason.SERVER_IDLE, CloseReason.SERVER_CLOSED, CloseReason.RESET)

# With GOAWAY, which an error may have followed.
_ANNOUNCED = (CloseReason.SERVER_ANNOUNCED, CloseReason.SERVER_ERROR)

_EXPLAINED = {HandOverReason.CAP: CloseReason.SERVER_CAP, HandOverReason.AGE: CloseReason.SERVER_AGE}

_IDLE_STATES = (ConnectionState.IDLE, ConnectionState.RETIRED)
_IDLE = ConnectionState.IDLE
_BUSY = ConnectionState.BUSY


class Keeper:
    """Looks after `alive` connections, by number; `hungry` are those that wait for work.

    `on_worn()` is called when some of them must be replaced.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        shared: Surroundings,
        alive: dict[int, Connection],
        hungry: dict[int, Connection],
        *,
        expects_more: Callable[[], bool],
        on_worn: Callable[[], None],
    ) -> None:
        self._liveness = knowledge.liveness
        self._is_safe = knowledge.is_safe_to_repeat
        self._keepalive = knowledge.keepalive
        self._slept = knowledge.slept
        self._shared = shared
        self._alive = alive
        self._hungry = hungry
        self._expects_more = expects_more
        self._on_worn = on_worn
        self._ages = Alarm(self._look_at_ages)
        self._dial_seconds = _DIAL_SECONDS
        self._seen_at: dict[str, float] = {}
        """When the name of the server last led to an address."""
        self._addresses: dict[int, str] = {}
        """Where connections lead, by number."""
        self._observed: Connection | None = None
        """Retired, and left open until the server closes it: it is none of those alive."""

    @property
    def requests_limit(self) -> int | None:
        """How many requests a connection carries; None if there is no limit, or none is known."""
        return self._liveness.requests_limit

    def took(self, connection: Connection, dialed: Dialed) -> None:
        """A connection was made, and is to be one of those alive."""
        now = self._shared.clock()
        self._dial_seconds = dialed.seconds
        progress = read_progress(dialed.socket, keeps_error=True)
        if progress is not None:
            self._liveness.round_trip(progress.round_trip_seconds)
        self._replace_worn(now)
        self.plan(connection)
        if dialed.known_addresses:
            self._addresses[connection.number] = dialed.address
            self._seen_at |= dict.fromkeys(dialed.known_addresses, now)
            for other in list(self._hungry.values()):
                if self.is_misplaced(other) and other.state is _IDLE:
                    other.close(CloseReason.ADDRESS_GONE)

    def is_misplaced(self, connection: Connection) -> bool:
        """The server's name has led elsewhere for some time."""
        address = self._addresses.get(connection.number)
        if address is None:
            return False
        latest = max(self._seen_at.values())
        return latest - self._seen_at.get(address, latest) >= _ADDRESS_GONE_SECONDS

    def rests(self, connection: Connection) -> None:
        """A connection has just become idle."""
        if self._addresses and self.is_misplaced(connection):
            connection.close(CloseReason.ADDRESS_GONE)
            return
        keepalive = self._keepalive
        if keepalive is None or not keepalive.beats or not connection.has_answered:
            return
        after = self._liveness.heartbeat_after() if keepalive.every is None else keepalive.every
        if after is not None:
            connection.call_at(self._shared.clock() + after)

    def beat(self, connection: Connection) -> None:
        """It has been idle until its heartbeat is due."""
        if self._keepalive is None or not self._expects_more():
            return
        if self._slept():
            self.close_idle(CloseReason.SUSPENDED)
            return
        if not connection.spare:
            # When it has room again, it becomes idle anew.
            return
        self._hungry.pop(connection.number, None)
        self._ask(connection, self._keepalive, self._shared.clock())

    def close_if_slept(self) -> None:
        """To be called before idle connections are used: after a sleep none of them can be trusted."""
        if self._slept():
            self.close_idle(CloseReason.SUSPENDED)

    def close_idle(self, reason: CloseReason) -> None:
        """Close those that are idle."""
        for connection in list(self._hungry.values()):
            if connection.state is _IDLE:
                connection.close(reason)
        self.close_observed(reason)

    def close_observed(self, reason: CloseReason) -> None:
        """Close the one that was left open only to learn from it: it had expired before."""
        if self._observed is not None:
            is_untold = reason is CloseReason.FINISHED or reason is CloseReason.STOPPED
            self._observed.close(CloseReason.EXPIRED if is_untold else reason)

    def wake(self, connection: Connection, now: float) -> bool:
        """Whether an idle connection may be offered work now; if not, it is tested or gone."""
        can_ping = connection.can_ping(now)
        decision = self._liveness.reuse(
            now - connection.idle_since,
            is_safe=self._is_safe,
            can_test=can_ping or self._keepalive is not None,
        ).decision
        if decision is Decision.REUSE:
            return connection.wake(now)
        if connection.is_leaving:
            # Its end is read in the next turn.
            return False
        if decision is Decision.RETIRE:
            self._retire(connection)
        elif can_ping:
            connection.ping(now)
        elif self._keepalive is not None:
            self._ask(connection, self._keepalive, now)
        return False

    @staticmethod
    def _ask(connection: Connection, keepalive: KeepAlive, now: float) -> None:
        """Ask for what is safe, unless that would be the last request that the server answers."""
        if connection.hand_over.is_limit_ours and connection.requests_left < 2:
            connection.close(CloseReason.LIMIT_REACHED)
        else:
            connection.probe(Exchange(keepalive.head, b""), now)

    def _retire(self, connection: Connection) -> None:
        wants_to_see = self._liveness.wants_to_see_idle_close and connection.has_answered
        if self._observed is None and wants_to_see:
            self._observed = connection
            del self._alive[connection.number]
            disproved_after = self._liveness.disproved_after
            connection.retire(connection.idle_since + disproved_after + _TIMER_SECONDS)
        else:
            connection.close(CloseReason.EXPIRED)

    def answered(self, connection: Connection, response: Response | None, idle_seconds: float) -> None:
        """The first answer on a connection, or the first after a pause (None: to a PING)."""
        liveness = self._liveness
        if connection.has_answered:
            if idle_seconds > _TELLING_SECONDS:
                liveness.idle_reused(idle_seconds)
        elif response is not None and connection.http_version is HttpVersion.HTTP_1_1:
            known = self._limits
            liveness.hint(response.fields, connection.requests)
            if self._limits != known:
                self._plan_all()

    def outlived_limit(self, connection: Connection) -> None:
        """It took more requests than were thought to be the most, or all that we let it take."""
        if self._liveness.ends_at_cap:
            connection.drain(CloseReason.LIMIT_REACHED)
            return
        self._liveness.unannounced(connection.requests, self._shared.clock() - connection.opened_at)
        self._plan_all()

    def why(self, connection: Connection, reason: CloseReason) -> CloseReason:
        """The reason for its end, or what is known of the server that explains it."""
        if reason is not CloseReason.SERVER_ANNOUNCED:
            return reason
        age = self._shared.clock() - connection.opened_at
        explanation = self._liveness.explains(connection.requests_served, age)
        return reason if explanation is None else _EXPLAINED[explanation]

    def leaves(self, connection: Connection, reason: CloseReason) -> None:
        """It is going to end, or has ended, for this reason; told once for each connection."""
        if not connection.requests:
            return
        liveness = self._liveness
        known = self._limits
        requests = connection.requests_served
        age = self._shared.clock() - connection.opened_at
        if reason is CloseReason.SERVER_ANNOUNCED:
            liveness.announced(requests, age)
        else:
            liveness.unannounced(requests, age)
        if self._limits != known:
            self._plan_all()

    @property
    def _limits(self) -> tuple[float | None, float | None]:
        age = self._liveness.maximum_age
        return self._liveness.requests_limit, None if age is None else age.value

    def ended(self, connection: Connection, reason: CloseReason) -> bool:
        """It has ended; whether it was the one that was left open only to learn from it."""
        self._addresses.pop(connection.number, None)
        now = self._shared.clock()
        known = self._limits
        if connection.has_answered:
            self._learn_from_end(connection, reason, now)
        if reason in _ANNOUNCED and connection.lost:
            answered = connection.requests_served - connection.lost
            self._liveness.let_down(answered, connection.opened_at, now)
        if self._limits != known:
            self._plan_all()
        if connection is not self._observed:
            return False
        self._observed = None
        return True

    def _learn_from_end(self, connection: Connection, reason: CloseReason, now: float) -> None:
        idle_seconds = now - connection.idle_since
        if connection.ended_from in _IDLE_STATES:
            if idle_seconds < _SHORTEST_LIMIT_SECONDS and reason in _WITHOUT_A_WORD:
                self._note_silence(connection, now)
            elif reason is CloseReason.SERVER_IDLE or reason in _ENDS_OF_IDLENESS:
                self._note_idle_close(idle_seconds, now)
            elif reason is not CloseReason.SUSPENDED:
                self._liveness.idle_outlived(idle_seconds)
        elif reason in _WITHOUT_A_WORD:
            used_at = connection.unanswered_since
            has_crossed = used_at != -NEVER and (
                reason is CloseReason.SERVER_IDLE or now - used_at <= _CROSSING_SECONDS
            )
            if connection.ended_from is ConnectionState.TESTING:
                if reason is CloseReason.SERVER_IDLE:
                    self._note_idle_close(idle_seconds, now)
            elif has_crossed and used_at - connection.idle_since >= _SHORTEST_LIMIT_SECONDS:
                self._note_idle_close(used_at - connection.idle_since, now)
            else:
                self._note_silence(connection, now)
                self._liveness.busy_closed(now)

    def _note_silence(self, connection: Connection, now: float) -> None:
        # Over HTTP/2 there is a word for it.
        if connection.http_version is HttpVersion.HTTP_1_1:
            answered = connection.requests_served - connection.lost
            # Of each of the others, the last one may be without an answer.
            others = (other.requests_served - 1 for other in self._alive.values() if other is not connection)
            self._liveness.fell_silent(
                answered, connection.opened_at, now, carried_elsewhere=max(others, default=0)
            )

    def _note_idle_close(self, idle_seconds: float, now: float) -> None:
        if idle_seconds >= _SHORTEST_LIMIT_SECONDS:
            self._liveness.idle_closed(idle_seconds, now)

    def _plan_all(self) -> None:
        for connection in self._alive.values():
            self.plan(connection)
        for connection in list(self._alive.values()):
            # It would be given nothing more, and so would never show it.
            if connection.state is _IDLE and connection.has_outlived_limit:
                self.outlived_limit(connection)
            # With one request more the server would end it.
            is_full = connection.hand_over.is_limit_ours and not connection.requests_left
            if is_full and connection.state is _BUSY:
                connection.drain(CloseReason.LIMIT_REACHED)

    def plan(self, connection: Connection) -> None:
        """See anew when another is to take its place: it carries more, or fewer, at a time."""
        now = self._shared.clock()
        dial_seconds = max(self._dial_seconds, 0.001)
        # However few connections there may be: one takes all that it has room for.
        rate = _ROUND_TRIPS_OF_A_DIAL * connection.most_at_a_time / dial_seconds
        if (age := now - connection.opened_at) > 0:
            rate = max(rate, connection.requests / age)
        connection.follow(
            self._liveness.hand_over(connection.number, requests_per_second=rate, dial_seconds=dial_seconds)
        )
        due_at = connection.opened_at + connection.hand_over.age_seconds
        if due_at < self._ages.deadline:
            self._shared.deadlines.set(self._ages, due_at)

    def _replace_worn(self, now: float) -> None:
        """Another is there, so the oldest of those that are too old may go."""
        for connection in self._too_old(now):
            connection.drain()
            return

    def _too_old(self, now: float) -> Iterable[Connection]:
        return (
            connection
            for connection in list(self._alive.values())
            if now >= connection.opened_at + connection.hand_over.age_seconds
        )

    def _look_at_ages(self, now: float) -> None:
        for connection in self._too_old(now):
            if now >= connection.opened_at + connection.hand_over.age_limit_seconds:
                connection.drain()
            else:
                connection.wear()
        next_at = NEVER
        for connection in self._alive.values():
            due_at = connection.opened_at + connection.hand_over.age_seconds
            if now >= due_at:
                due_at = connection.opened_at + connection.hand_over.age_limit_seconds
            if due_at > now:
                next_at = min(next_at, due_at)
        self._shared.deadlines.set(self._ages, next_at)
        self._on_worn()
