"""What an answer means for the record it answers."""

from __future__ import annotations

import functools

from livepost.model import Outcome, State
from livepost.wire.message import Response


def classify(response: Response) -> Outcome:
    """Delivered for 2xx, rejected for every other final status.

    The status alone decides: an answer whose body was cut off still said whether the record was
    taken.
    """
    return _outcome(response.status, response.complete)


@functools.lru_cache
def _outcome(status: int, is_complete: bool) -> Outcome:
    state = State.DELIVERED if 200 <= status < 300 else State.REJECTED
    reason = f"status {status}"
    return Outcome(state, reason if is_complete else f"{reason}, answer cut off")
