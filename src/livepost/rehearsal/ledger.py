"""Keeps account of what a misbehaving server did: which records it processed, and how it failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from livepost.rehearsal.faults import Fault, Place
from livepost.rehearsal.recent import RecentRecords
from livepost.rehearsal.record_log import Entry, record_of
from livepost.wire.message import Fields

WriteEntry = Callable[[Entry], None]


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers at one moment."""

    processed: int
    """How often a record was acted upon."""
    duplicates: int
    """How often that was a record that had been acted upon before (among the last million)."""
    replayed: int
    """Requests answered with the first answer to their Idempotency-Key."""
    faults: Mapping[str, int]
    """How often each fault happened, by its name."""


class Ledger:
    """Counts, and writes an `Entry` for every request, before it is answered, if given `write`."""

    def __init__(
        self, write: WriteEntry | None = None, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._wall_clock = wall_clock
        self._recent = RecentRecords()
        self._processed = 0
        self._duplicates = 0
        self._replayed = 0
        self._faults: Counter[str] = Counter()

    @property
    def counts(self) -> Counts:
        """May be read from any thread."""
        return Counts(self._processed, self._duplicates, self._replayed, dict(self._faults))

    def fault_happened(self, fault: Fault) -> None:
        """One that is not noted with a request: it struck a connection or the listener."""
        self._faults[fault.name] += 1

    def note(
        self,
        connection: int,
        request_on_connection: int,
        headers: Fields,
        body: bytes | None,
        *,
        processed: bool = False,
        replayed: bool = False,
        fault: Fault | None = None,
        status: int | None = None,
    ) -> None:
        """Account for one request; `body` is None if it was not read.

        A fault of the listener is counted when it begins, and not here.
        """
        if fault is not None and fault.place is not Place.LISTENER:
            self._faults[fault.name] += 1
        if not processed and self._write is None:
            self._replayed += replayed
            return
        record = None if body is None else record_of(body)
        if self._write is not None:
            self._write(
                Entry(
                    self._wall_clock(),
                    record,
                    _key_as_sent(headers),
                    connection,
                    request_on_connection,
                    processed,
                    replayed,
                    None if fault is None else fault.name,
                    status,
                )
            )
        self._replayed += replayed
        if processed:
            self._processed += 1
            self._duplicates += self._recent.add(hash(repr(record)))


def _key_as_sent(headers: Fields) -> str | None:
    for name, value in headers:
        if len(name) == 15 and name.lower() == b"idempotency-key":
            return value.strip().decode("latin-1")
    return None
