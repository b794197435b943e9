"""How many connections to dial now: the pool's arithmetic, of which it keeps the state."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

# One in so many connections may be replaced at a time.
_REPLACED_AT_ONCE = 8


class Carrier(Protocol):
    """What is asked of a live connection (`net.connection.Connection`)."""

    requests: int
    """How many it has carried."""
    opened_at: float

    @property
    def capacity(self) -> int:
        """How many exchanges it carries at a time; 0 if another is to take its place."""

    @property
    def spare(self) -> int:
        """How many more it could take now."""

    @property
    def requests_left(self) -> int:
        """How many more it could take in all, one after the other."""

    @property
    def is_worn(self) -> bool:
        """Another is to take its place."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is to be carried, and by how many at a time."""

    waiting: int
    """Exchanges that no connection carries yet."""
    to_come: float
    """About how many others will come: 0 only if none will."""
    limit: int
    """How many may be carried at a time."""
    each: int
    """How many of them one connection carries."""
    dialing: int
    """Dials in progress."""
    at_once: int
    """How many dials may be in progress."""


def dials_wanted(connections: Collection[Carrier], need: Need) -> int:
    """How many more to dial so that what waits is carried as soon as the limit allows; 0 or less for none."""
    capacity = sum(connection.capacity for connection in connections)
    replaceable = sum(not connection.capacity for connection in connections)
    # Near the end, a worn connection may still do.
    free = sum(
        connection.requests_left if connection.is_worn and not need.to_come else connection.spare
        for connection in connections
    )
    missing = min(need.waiting - free, need.limit - capacity) - need.dialing * need.each
    wanted = -(-missing // need.each)
    if wanted <= 0 and not capacity and not need.dialing and need.to_come:
        # So that no record that comes later has to wait.
        wanted = int(any(connection.is_worn for connection in connections))
    # Beside those that are being replaced, within reason.
    most = need.limit + min(replaceable, max(1, need.limit // _REPLACED_AT_ONCE)) - len(connections)
    return min(wanted, most - need.dialing, need.at_once - need.dialing)
