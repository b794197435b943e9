"""What must wait for what: records of one key one after the other, those of different keys at once.

A key is open while a record of it is under way, from its first attempt to its end, waiting for another
try included.  Records that find their key open are held behind it and come when it is their turn.  Only
open keys are remembered, so there may be any number of keys.  A record without a key waits for nobody.

Held records take memory, and those behind one slow key may be many.  From 10,000 of them, or 64 MiB, no
more should be read (`is_full`) until some have gone: other keys then wait, too.
"""

from __future__ import annotations

import enum
import hashlib
from collections import deque
from collections.abc import Callable, Iterator

from livepost.delivery.json_pointer import JsonPointer
from livepost.model import Record
from livepost.policy import OrderOptions

MOST_HELD = 10_000
MOST_HELD_BYTES = 64 * 1024**2

# Longer than any value that stands for itself, so that none can be taken for a digest.
_DIGEST_BYTES = 16


class Admission(enum.Enum):
    """What `Order.admit` decides."""

    GO = "go"
    HELD = "held"
    """It comes back from `release` or `failed` when it is its turn."""
    STOPPED = "stopped"
    """Its key is stopped: an earlier record of it was not delivered."""


class Order:
    """Keeps records of the same key in the order in which they are admitted.

    `key_of` finds the key of a record's body, or None.  Every record that may go is to be followed by
    one `release`, if it was delivered, or `failed`, if it ended otherwise.  With `stops`, a failure stops
    its key for good: one digest of 16 bytes for each such key is remembered.
    """

    def __init__(
        self,
        key_of: Callable[[bytes], bytes | None],
        *,
        stops: bool,
        most_held: int = MOST_HELD,
        most_held_bytes: int = MOST_HELD_BYTES,
    ) -> None:
        self._key_of = key_of
        self._stops = stops
        self._most_held = most_held
        self._most_held_bytes = most_held_bytes
        self._held: dict[bytes, deque[Record] | None] = {}
        """Behind each open key; None instead of an empty queue, for most never hold one."""
        self._key_under_way: dict[int, bytes] = {}
        """The key of each record that may go and has not ended, by its number."""
        self._stopped: set[bytes] = set()
        self._held_bytes = 0
        self.held = 0
        """How many records are held."""
        self.without_key = 0
        """How many records had no key."""

    @classmethod
    def of(cls, options: OrderOptions) -> Order | None:
        """As the user asked; None if for no order.  Raises ConfigurationError for a malformed pointer."""
        stops = options.on_key_failure == "stop"
        if options.ordered:
            return cls(_same_for_all, stops=stops)
        if options.order_key is None:
            return None
        return cls(JsonPointer(options.order_key).find, stops=stops)

    @property
    def is_full(self) -> bool:
        """Whether reading should stop until some of the held records have gone."""
        return self.held >= self._most_held or self._held_bytes >= self._most_held_bytes

    @property
    def open_keys(self) -> int:
        """How many keys have a record under way."""
        return len(self._held)

    def admit(self, record: Record) -> Admission:
        """Whether this record may go now, or is held behind its key, or will never go."""
        value = self._key_of(record.body)
        if value is None:
            self.without_key += 1
            return Admission.GO
        key = _remembered(value)
        if key in self._held:
            queue = self._held[key]
            if queue is None:
                queue = self._held[key] = deque()
            queue.append(record)
            self.held += 1
            self._held_bytes += len(record.body)
            return Admission.HELD
        if key in self._stopped:
            return Admission.STOPPED
        self._held[key] = None
        self._key_under_way[record.number] = key
        return Admission.GO

    def ended_before(self, record: Record) -> None:
        """An earlier process of the run did not deliver this record: later ones of its key stay behind it.

        Also to be called from another thread, before that hands later records over.
        """
        value = self._key_of(record.body) if self._stops else None
        if value is not None:
            self._stopped.add(_remembered(value))

    def release(self, record: Record) -> Record | None:
        """The record was delivered: the next of its key, which may go now, or None."""
        key = self._key_under_way.pop(record.number, None)
        if key is None:
            return None
        queue = self._held[key]
        if not queue:
            del self._held[key]
            return None
        following = queue.popleft()
        self._forget(following)
        self._key_under_way[following.number] = key
        return following

    def failed(self, record: Record) -> tuple[Record | None, list[Record]]:
        """The record was not delivered and will not be: what may go now, and what never will.

        One of the two is empty: the next of its key, if failures are skipped, or all that are held behind
        it, if they stop their key.
        """
        if not self._stops:
            return self.release(record), []
        key = self._key_under_way.pop(record.number, None)
        if key is None:
            return None, []
        self._stopped.add(key)
        given_up = list(self._held.pop(key) or ())
        for held in given_up:
            self._forget(held)
        return None, given_up

    def drain(self) -> Iterator[Record]:
        """Give up all that is held, in order of keys: the run ends."""
        for queue in self._held.values():
            while queue:
                record = queue.popleft()
                self._forget(record)
                yield record

    def _forget(self, record: Record) -> None:
        self.held -= 1
        self._held_bytes -= len(record.body)


def _remembered(value: bytes) -> bytes:
    if len(value) < _DIGEST_BYTES:
        return value
    return hashlib.blake2b(value, digest_size=_DIGEST_BYTES).digest()


def _same_for_all(body: bytes) -> bytes:
    return b""
