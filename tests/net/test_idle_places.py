from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from livepost.config import Limits
from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.net.idle_places import IdlePlaces


@dataclass(eq=False)
class One:
    """A connection that has been idle since then."""

    idle_since: float = 0.0
    is_worn: bool = False
    state: ConnectionState = ConnectionState.IDLE
    reason: CloseReason | None = None

    def close(self, reason: CloseReason) -> None:
        assert self.state is not ConnectionState.CLOSED
        self.state, self.reason = ConnectionState.CLOSED, reason


class Hosts:
    """The connections of two pools that share their places."""

    def __init__(self, *, per_host: int | None = None, in_all: int | None = None) -> None:
        limits = Limits(max_conns_per_host=8, max_idle_conns_per_host=per_host, max_idle_conns=in_all)
        self.due: list[Callable[[], None]] = []
        self._numbers = itertools.count(1)
        self.places = IdlePlaces(limits, self.due.append)
        self.here: dict[int, One] = {}
        self.there: dict[int, One] = {}
        self.places.share(self.here)
        self.places.share(self.there)

    def take(self, pool: dict[int, One], connection: One) -> One:
        """It waits for work; if it is idle, the places are told, as the pool does."""
        pool[next(self._numbers)] = connection
        if connection.state is ConnectionState.IDLE:
            self.places.taken(connection, pool)
        return connection

    def turn(self) -> None:
        while self.due:
            self.due.pop(0)()
            for pool in (self.here, self.there):
                for number, connection in list(pool.items()):
                    if connection.state is ConnectionState.CLOSED:
                        del pool[number]


def test_of_one_host_the_last_to_become_idle_goes_at_once() -> None:
    hosts = Hosts(per_host=1)
    first, other = hosts.take(hosts.here, One(1.0)), hosts.take(hosts.there, One(2.0))
    last = hosts.take(hosts.here, One(3.0))
    assert (first.reason, other.reason, last.reason) == (None, None, CloseReason.IDLE_LIMIT)
    assert hosts.due == []


def test_of_all_hosts_the_one_idle_for_longest_goes_soon() -> None:
    hosts = Hosts(in_all=2)
    second, first = hosts.take(hosts.here, One(2.0)), hosts.take(hosts.there, One(1.0))
    assert hosts.due == []
    third, fourth = hosts.take(hosts.here, One(3.0)), hosts.take(hosts.there, One(4.0))
    assert [connection.reason for connection in (first, second, third, fourth)] == [None] * 4
    assert len(hosts.due) == 1
    hosts.turn()
    assert first.reason is second.reason is CloseReason.IDLE_LIMIT
    assert third.reason is fourth.reason is None
    last = hosts.take(hosts.here, One(5.0))
    hosts.turn()
    assert [connection.reason for connection in (third, fourth, last)] == [CloseReason.IDLE_LIMIT, None, None]


def test_one_that_has_work_again_by_then_takes_up_no_place() -> None:
    hosts = Hosts(in_all=1)
    first, last = hosts.take(hosts.here, One(1.0)), hosts.take(hosts.there, One(2.0))
    first.state = ConnectionState.BUSY
    hosts.turn()
    assert (first.reason, last.reason) == (None, None)


def test_one_that_is_given_work_by_the_end_of_another_is_left_alone() -> None:
    class Last(One):
        def close(self, reason: CloseReason) -> None:
            super().close(reason)
            second.state = ConnectionState.BUSY

    hosts = Hosts(in_all=0)
    first, second = Last(1.0), One(2.0)
    hosts.take(hosts.here, first)
    hosts.take(hosts.here, second)
    hosts.turn()
    assert (first.reason, second.reason) == (CloseReason.IDLE_LIMIT, None)


def test_what_carries_something_and_what_is_replaced_already_take_up_no_place() -> None:
    hosts = Hosts(per_host=1, in_all=1)
    others = [One(1.0, is_worn=True), One(1.0, state=ConnectionState.BUSY)]
    for other in others:
        hosts.take(hosts.here, other)
    idle = hosts.take(hosts.here, One(2.0))
    hosts.turn()
    assert [connection.reason for connection in (*others, idle)] == [None, None, None]


def test_without_any_place_no_idle_connection_stays() -> None:
    for limits in ({"per_host": 0}, {"in_all": 0}):
        hosts = Hosts(**limits)
        worn, idle = hosts.take(hosts.here, One(1.0, is_worn=True)), hosts.take(hosts.there, One(2.0))
        hosts.turn()
        assert worn.reason is idle.reason is CloseReason.IDLE_LIMIT


def test_without_limits_all_stay() -> None:
    hosts = Hosts()
    idle = [hosts.take(hosts.here, One(float(number))) for number in range(8)]
    hosts.turn()
    assert [connection.reason for connection in idle] == [None] * 8
