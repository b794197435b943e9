"""Fresh records on their way in: taken from where they come from, and each let go when it is its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from livepost.delivery.idempotency import IdempotencyKeys
from livepost.delivery.order import Admission, Order
from livepost.mark import IN_FLIGHT
from livepost.model import Record, Rejection
from livepost.wire.message import Exchange, RequestHead

# How many turns are known ahead: more than there are connections, so that as many are dialled as there
# are records that may go at the same time.
_TURNS_AHEAD = 256

_TAKEN_AT_ONCE = 1_000


class Supply(Protocol):
    """Where records come from (`records.feed.RecordFeed`)."""

    @property
    def waiting(self) -> int:
        """How many `take` could give now."""

    @property
    def ended(self) -> bool:
        """No more will come, and none waits."""

    def take(self, limit: int) -> Sequence[Record | Rejection]:
        """The next ones, in order: at least one if any waits, and at most `limit`."""

    def peek(self) -> Record | Rejection | None:
        """The first of what `take` would return, without taking it."""


class Intake:
    """Makes the first attempt of each record.

    Without an order, records go as they come.  With one, a few are looked at ahead, and `waiting` counts
    only those whose turn it is: call `look_ahead` after whatever may have changed that.

    `refused` gathers records that will never go: not fit to send (Rejection), or behind one that was not
    delivered (Record).  Whoever tells of them takes them out.
    """

    __slots__ = ("_head", "_keys", "_order", "_supply", "_turns", "read", "refused", "sent")

    def __init__(
        self, supply: Supply, head: RequestHead, order: Order | None, keys: IdempotencyKeys | None
    ) -> None:
        self._supply = supply
        self._head = head
        self._order = order
        self._keys = keys
        self._turns: deque[Record] = deque()
        """Records that may go; always empty without an order."""
        self.refused: deque[Record | Rejection] = deque()
        self.read = 0
        """Records taken from the supply, fit to send or not."""
        self.sent = 0
        """First attempts made."""

    @property
    def is_ordered(self) -> bool:
        return self._order is not None

    @property
    def waiting(self) -> int:
        """How many `take` could give now."""
        return self._supply.waiting if self._order is None else len(self._turns)

    @property
    def is_empty(self) -> bool:
        """Nothing is here any more, and nothing will come."""
        is_held = self._order is not None and self._order.held > 0
        return self._supply.ended and not self._turns and not is_held

    def take(self, limit: int, now: float, marks: memoryview | None) -> list[Exchange]:
        """Up to `limit` first attempts, marked in `marks` as in flight."""
        exchanges: list[Exchange] = []
        head = self._head
        is_plain = self._order is None
        take = self._supply.take if is_plain else self._take_turns
        while (room := limit - len(exchanges)) > 0 and (items := take(room)):
            if is_plain:
                self.read += len(items)
            for item in items:
                if not isinstance(item, Record):
                    self.refused.append(item)
                    continue
                exchange = Exchange(head, item.body, item, 1, now)
                exchanges.append(exchange)
                if marks is not None:
                    # Then it was in flight when an earlier process of the run was interrupted.
                    exchange.has_doubt = marks[item.number] == IN_FLIGHT
                    marks[item.number] = IN_FLIGHT
        if self._keys is not None:
            for exchange in exchanges:
                exchange.fields = (self._keys.field(exchange.record.number),)
        self.sent += len(exchanges)
        return exchanges

    def _take_turns(self, limit: int) -> list[Record]:
        turns = self._turns
        if len(turns) < limit:
            self.look_ahead()
        return [turns.popleft() for _ in range(min(limit, len(turns)))]

    def look_ahead(self) -> None:
        """See whose turn it is among those that have come."""
        order = self._order
        if order is None:
            return
        while (room := _TURNS_AHEAD - len(self._turns)) > 0 and not order.is_full:
            items = self._supply.take(room)
            if not items:
                return
            self.read += len(items)
            for item in items:
                self._admit(order, item)

    def _admit(self, order: Order, item: Record | Rejection) -> None:
        if isinstance(item, Rejection):
            self.refused.append(item)
            return
        admission = order.admit(item)
        if admission is Admission.GO:
            self._turns.append(item)
        elif admission is Admission.STOPPED:
            self.refused.append(item)

    def pass_turn(self, record: Record, *, delivered: bool) -> None:
        """A record has ended: whoever waited for that may go, or never will."""
        if self._order is None:
            return
        if delivered:
            following = self._order.release(record)
        else:
            following, given_up = self._order.failed(record)
            self.refused += given_up
        if following is not None:
            # Those that have waited longest, and keep most others waiting, first.
            self._turns.appendleft(following)

    def pass_over_unfit(self) -> None:
        """Take rejections that come first: they need no connection, and perhaps none will be had."""
        while isinstance(rejection := self._supply.peek(), Rejection):
            self._supply.take(1)
            self.read += 1
            self.refused.append(rejection)

    def drain(self) -> Iterator[Record | Rejection]:
        """Give up all that is here: the run ends."""
        while self._turns:
            yield self._turns.popleft()
        if self._order is not None:
            yield from self._order.drain()
        while items := self._supply.take(_TAKEN_AT_ONCE):
            self.read += len(items)
            yield from items
