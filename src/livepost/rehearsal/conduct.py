"""What all connections of a misbehaving server share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from livepost.rehearsal.api import PracticeApi
from livepost.rehearsal.fault_plan import Faults
from livepost.rehearsal.faults import Fault
from livepost.rehearsal.ledger import Ledger
from livepost.rehearsal.processing import Processor


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the connections of one misbehaving server have in common."""

    api: PracticeApi
    processor: Processor
    faults: Faults
    ledger: Ledger
    numbers: Iterator[int]
    """Of requests."""
    begin_outage: Callable[[Fault], None]
