"""How long an answer takes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from livepost.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Latency:
    """`seconds`, give or take up to `jitter`, every value as likely as any other.

    Raises ConfigurationError if an answer would come before its request.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= self.seconds:
            raise ConfigurationError(
                f"a latency of {self.seconds:g} s cannot vary by {self.jitter:g} s",
                "let it vary by no more than it is",
            )

    def draw(self) -> float:
        """For one answer, in seconds."""
        if not self.jitter:
            return self.seconds
        return random.uniform(self.seconds - self.jitter, self.seconds + self.jitter)
