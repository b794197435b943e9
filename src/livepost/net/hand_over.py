"""When a connection is to be replaced before the server ends it, so that nobody waits for a dial."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from livepost.net.deadlines import NEVER


class HandOverReason(enum.Enum):
    """Why a connection is replaced."""

    CAP = "cap"
    """It nears the number of requests that the server takes on one."""
    AGE = "age"
    """It nears the age that the server, or the user, lets one have."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """When to replace one connection; NEVER where there is no reason to.

    From `requests` or `age_seconds` on its replacement is dialled.  When that is there, or at the latest at
    `requests_limit` or `age_limit_seconds`, it is given nothing more, and closed when what is open has ended.
    """

    requests: float = NEVER
    requests_limit: float = NEVER
    age_seconds: float = NEVER
    age_limit_seconds: float = NEVER
    is_limit_ours: bool = False
    """With one request more than `requests_limit` the server would end it, and lose that."""

    def due(self, requests: int, age_seconds: float) -> HandOverReason | None:
        """Why to dial the replacement now; None: not yet."""
        if requests >= self.requests:
            return HandOverReason.CAP
        return HandOverReason.AGE if age_seconds >= self.age_seconds else None


def plan_hand_over(
    cap: float,
    maximum_age: float,
    *,
    requests_per_second: float,
    dial_seconds: float,
    margin: float,
    is_cap_ours: bool = False,
) -> HandOver:
    """As early as dialling takes, and not before half of what is allowed.

    `cap` in requests and `maximum_age` in seconds are NEVER if there are none; the rate is that of the one
    connection.  `margin` are seconds that a timer may be off.
    """
    requests = cap
    if cap != NEVER:
        early = max(1, math.ceil(requests_per_second * dial_seconds))
        requests = max(cap - early, cap // 2)
    age = maximum_age
    if maximum_age != NEVER:
        age = max(maximum_age - dial_seconds - margin, maximum_age / 2)
    return HandOver(requests, cap, age, maximum_age, is_cap_ours)
