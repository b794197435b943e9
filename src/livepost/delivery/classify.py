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
    outcome = _outcome(response.status)
    return outcome if response.complete else Outcome(outcome.state, f"{outcome.reason}, answer cut off")


# One value for each status there is, instead of one for each record.
@functools.cache
def _outcome(status: int) -> Outcome:
    return Outcome(State.DELIVERED if 200 <= status < 300 else State.REJECTED, f"status {status}")
