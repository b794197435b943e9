"""What is known of one server's patience, and what follows from it for a connection.

A server closes a connection that is idle for longer than its limit T, and a request that crosses that close
is in doubt.  So a connection is used again without more ado only while it is idle for less than T less a
margin; after that it is tested, or retired and another is dialled:

    margin = 2 × the longest round trip + 0.2 s, between 0.5 s and 2 s, and at most T / 2

As long as nothing is known of T, what can be tested is tested from 1.5 s on.

T is decided in `idle_limit`.  A server that takes only so many requests on one connection, or lets none
become older than so much, announces the end of each (`announced_ends`); once that is known, the replacement
is dialled before.

Nothing here touches a socket or a timer.  `now` is given, in seconds of a clock that never goes back.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping

from livepost.net.announced_ends import AnnouncedEnds
from livepost.net.deadlines import NEVER
from livepost.net.fact import Fact, Source, Subject
from livepost.net.hand_over import HandOver, HandOverReason, plan_hand_over
from livepost.net.idle_evidence import clearly_longer_than
from livepost.net.idle_limit import IdleLimit
from livepost.net.keepalive_hint import read_keepalive_hint
from livepost.net.reuse import Decision, Reuse, ReuseReason
from livepost.wire.message import Fields

_SHORTEST_MARGIN_SECONDS = 0.5
_LONGEST_MARGIN_SECONDS = 2.0
_SERVER_TIMER_SECONDS = 0.2
_REMEMBERED_ROUND_TRIPS = 100

# What drops connections without a word (load balancers, NAT) does so after a minute at the earliest.  So
# until then silence means that the connection lives, and after that it means nothing.
_SILENCE_PROVES_SECONDS = 60.0

# Gunicorn's default, the shortest in use, less the margin.
_TRUSTED_AT_FIRST_SECONDS = 1.5

# A restart closes idle connections, too.
_TIMES_TO_BE_SURE = 2

_EARLIEST_HEARTBEAT = 0.5
_LATEST_HEARTBEAT = 0.8
_SHORTEST_HEARTBEAT_SECONDS = 1.0

# One connection in so many is not handed over at an age that was learned: whether that still holds can
# only be seen on one that reaches it.
_AGE_CHECKED_EVERY = 8
_AGE_JITTER = 0.1
# Multiples of it, taken modulo 1, spread evenly however many there are.
_GOLDEN_RATIO = 0.6180339887498949

_WITHIN_LIMIT = Reuse(Decision.REUSE, ReuseReason.WITHIN_LIMIT)
_UNKNOWN_LIMIT = Reuse(Decision.TEST, ReuseReason.UNKNOWN_LIMIT)
_SAFE_TO_REPEAT = Reuse(Decision.REUSE, ReuseReason.SAFE_TO_REPEAT)


class Liveness:
    """What is known of one server.

    `remembered` are facts of earlier runs (`OriginMemory.load`), and `facts` is what to store in the end.
    `max_connection_age` is the user's, in seconds.  `wall_clock` gives seconds since 1970, for the dates of
    facts; `uniform(a, b)` is the source of jitter, for tests.
    """

    __slots__ = (
        *("_ends", "_fields", "_idle", "_max_connection_age", "_phase", "_round_trips", "_uniform"),
        *("idle_limit", "margin"),
    )

    def __init__(
        self,
        wall_clock: Callable[[], float],
        remembered: Mapping[Subject, Fact] | None = None,
        *,
        max_connection_age: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        known = {
            subject: fact
            for subject, fact in (remembered or {}).items()
            if fact.source is not Source.CONTRADICTED
        }
        self._idle = IdleLimit(wall_clock, known.get(Subject.IDLE_LIMIT), known.get(Subject.IDLE_OUTLIVED))
        self._ends = AnnouncedEnds(
            wall_clock,
            known.get(Subject.REQUEST_CAP),
            known.get(Subject.MAXIMUM_AGE),
            known.get(Subject.ANSWERED_CAP),
        )
        self._max_connection_age = max_connection_age
        self._uniform = uniform
        self._phase = uniform(0.0, 1.0)
        self._fields: Fields | None = None
        self._round_trips: deque[float] = deque(maxlen=_REMEMBERED_ROUND_TRIPS)
        self.idle_limit = self._idle.fact
        """T, in seconds, and where it is from."""
        self.margin = 0.0
        """From how many seconds before T on a connection is no longer used without more ado."""
        self._decide()

    @property
    def request_cap(self) -> Fact | None:
        """How many requests the server takes on one connection; None if that is not known."""
        return self._ends.cap

    @property
    def maximum_age(self) -> Fact | None:
        """How old the server lets a connection become, in seconds; None if that is not known."""
        return self._ends.maximum_age

    @property
    def requests_limit(self) -> int | None:
        """`request_cap` as a number."""
        return None if self._ends.cap is None else int(self._ends.cap.value)

    @property
    def ends_at_cap(self) -> bool:
        """`request_cap` is ours: the server must not be given one request more, and does not know it."""
        return self._ends.is_ours

    @property
    def facts(self) -> dict[Subject, Fact]:
        """What was found out, to be remembered; also what has turned out to be wrong."""
        return self._idle.facts | self._ends.facts

    @property
    def wants_to_see_idle_close(self) -> bool:
        """Whether a retired connection is worth leaving open, unused, to see when the server closes it."""
        source = self.idle_limit.source
        return (
            source in (Source.DEFAULT, Source.REMEMBERED, Source.PROBED)
            or (source is Source.OUTLIVED and self.idle_limit.value < _SILENCE_PROVES_SECONDS)
            or (source is Source.LEARNED and self._idle.times_seen < _TIMES_TO_BE_SURE)
        )

    @property
    def disproved_after(self) -> float:
        """After how many idle seconds a connection that was not closed shows that T was wrong."""
        if self.idle_limit.source is Source.DEFAULT or self.idle_limit.source is Source.OUTLIVED:
            return NEVER
        # It is rounded down from what was seen.
        return clearly_longer_than(max(self.idle_limit.value, self._idle.shortest or 0.0))

    def hint(self, fields: Fields, requests: int) -> None:
        """An answer to the connection's request of this number, from 1, had these fields (lower-case names).

        Heads that are the same bytes share their fields, and what was just looked at is not looked at again.
        """
        if fields is self._fields:
            return
        self._fields = fields
        hint = read_keepalive_hint(fields)
        if hint.requests_left is not None:
            self._ends.hinted(requests + hint.requests_left)
        if hint.timeout_seconds is not None and self._idle.hinted(hint.timeout_seconds):
            self._decide()

    def idle_closed(self, idle_seconds: float, now: float) -> None:
        """The server closed a connection (FIN, close_notify, GOAWAY) that had been idle for so long."""
        self._idle.closed(idle_seconds, now)
        self._decide()

    def busy_closed(self, now: float) -> None:
        """The server closed or reset a connection without a word while a request was open on it."""
        self._idle.broke(now)
        self._decide()

    def idle_reused(self, idle_seconds: float) -> None:
        """A connection was idle for so long, and then a request or a PING was answered on it."""
        self._idle.lived(idle_seconds)
        self._decide()

    def idle_outlived(self, idle_seconds: float) -> None:
        """We retired or closed a connection, idle for so long, of whose end the kernel knew nothing."""
        self._idle.lived(min(idle_seconds, _SILENCE_PROVES_SECONDS))
        self._decide()

    def announced(self, requests: int, age_seconds: float) -> None:
        """The server announced the end of a connection on which it had taken so many requests, this old."""
        self._ends.announced(requests, age_seconds)

    def explains(self, requests: int, age_seconds: float) -> HandOverReason | None:
        """Which known limit explains that the server announced the end of such a connection; None: none."""
        return self._ends.explains(requests, age_seconds)

    def unannounced(self, requests: int, age_seconds: float) -> None:
        """So many requests were answered on a connection, this old, whose end the server has not announced.

        To be told when a connection ends in another way, and of one that has passed a limit: there was none.
        """
        self._ends.unannounced(requests, age_seconds)

    def let_down(self, answered: int, opened_at: float, now: float) -> None:
        """The server announced a connection's end, and left requests unanswered that it had taken.

        It had answered so many before.
        """
        self._ends.let_down(answered, opened_at, now)

    def fell_silent(self, answered: int, opened_at: float, now: float, *, carried_elsewhere: int) -> None:
        """The server ended a connection without a word, right behind so many answers: it was not idle.

        A live connection has carried as many as `carried_elsewhere`.
        """
        self._ends.fell_silent(answered, opened_at, now, carried_elsewhere=carried_elsewhere)

    def round_trip(self, seconds: float) -> None:
        """A round trip to the server has taken so long, as measured by a TCP handshake or the kernel."""
        self._round_trips.append(seconds)
        self._decide()

    def reuse(self, idle_seconds: float, *, is_safe: bool, can_test: bool) -> Reuse:
        """Whether to put a request on a connection that was idle for so long.

        To be asked after the kernel was, and knows of no end.  `is_safe`: the request may be repeated if
        need be.  `can_test`: the connection can be tested.
        """
        limit = self.idle_limit.value
        is_unknown = self.idle_limit.source is Source.DEFAULT
        if idle_seconds < limit - self.margin:
            if is_safe or not (is_unknown and can_test) or idle_seconds < _TRUSTED_AT_FIRST_SECONDS:
                return _WITHIN_LIMIT
            return _UNKNOWN_LIMIT
        if is_safe:
            return _SAFE_TO_REPEAT
        reason = ReuseReason.NEAR_LIMIT if idle_seconds < limit + self.margin else ReuseReason.PAST_LIMIT
        return Reuse(Decision.TEST if can_test else Decision.RETIRE, reason)

    def heartbeat_after(self) -> float | None:
        """After how many idle seconds to keep a connection alive by a safe request; None if T is too short.

        Somewhere from 0.5 to 0.8 T, anew with each call, so that connections do not all beat at once.
        """
        limit = self.idle_limit.value
        earliest = max(_EARLIEST_HEARTBEAT * limit, _SHORTEST_HEARTBEAT_SECONDS)
        latest = min(_LATEST_HEARTBEAT * limit, limit - self.margin)
        return self._uniform(earliest, latest) if earliest <= latest else None

    def hand_over(self, number: int, *, requests_per_second: float, dial_seconds: float) -> HandOver:
        """When to replace the connection of this number, from 1; to be asked again when a limit has changed.

        `requests_per_second` on this connection, and `dial_seconds` until its replacement can be used, say
        how early.
        """
        age = NEVER
        if self._ends.maximum_age is not None and number % _AGE_CHECKED_EVERY:
            age = self._ends.maximum_age.value
        if self._max_connection_age is not None:
            spread = (self._phase + number * _GOLDEN_RATIO) % 1.0
            age = min(age, self._max_connection_age * (1 - _AGE_JITTER + 2 * _AGE_JITTER * spread))
        return plan_hand_over(
            NEVER if self._ends.cap is None else self._ends.cap.value,
            age,
            requests_per_second=requests_per_second,
            dial_seconds=dial_seconds,
            margin=self.margin,
            is_cap_ours=self._ends.is_ours,
        )

    def _decide(self) -> None:
        self.idle_limit = self._idle.fact
        margin = 2 * max(self._round_trips, default=0.0) + _SERVER_TIMER_SECONDS
        margin = min(max(margin, _SHORTEST_MARGIN_SECONDS), _LONGEST_MARGIN_SECONDS)
        self.margin = min(margin, self.idle_limit.value / 2)
