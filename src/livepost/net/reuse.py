"""Whether a connection that was idle may carry the next request: the answers there are."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Decision(enum.Enum):
    """What to do with a connection that was idle, and of whose end the kernel knows nothing."""

    REUSE = "reuse"
    """Put the request on it."""
    TEST = "test"
    """Put a PING or a safe request on it, and the request when that is answered."""
    RETIRE = "retire"
    """Put nothing on it any more."""


class ReuseReason(enum.Enum):
    """Why."""

    WITHIN_LIMIT = "within_limit"
    """It was idle for less than the server allows, by more than the margin."""
    UNKNOWN_LIMIT = "unknown_limit"
    """Nothing is known of the server, and some would have closed it."""
    SAFE_TO_REPEAT = "safe_to_repeat"
    """It was idle for longer, but the request can be sent again should the server have closed it."""
    NEAR_LIMIT = "near_limit"
    """It was idle for about as long as the server allows: the close may be on its way."""
    PAST_LIMIT = "past_limit"
    """It was idle for longer than the server is known to allow."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """A decision and its reason."""

    decision: Decision
    reason: ReuseReason
