"""What the practice server allows one connection, and how it ends one that used that up."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from livepost.errors import ConfigurationError

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_STREAMS = 100


class IdleEnding(enum.Enum):
    """What becomes of a connection that was idle for too long, as it is written on the command line."""

    CLOSE = "close"
    """A FIN; over HTTP/2 a GOAWAY first."""
    TIMEOUT_ANSWER = "408"
    """An answer that nobody asked for, 408 with `Connection: close`, then a FIN; over HTTP/2 as CLOSE."""
    RESET = "reset"
    FORGET = "forget"
    """Nothing is told; what the client sends later meets a RST, as at a load balancer that forgot it."""
    VANISH = "vanish"
    """Nothing is told, and what the client sends later vanishes on the way: only its own timeouts tell it."""


class Hint(enum.Enum):
    """What a Keep-Alive field tells of the limits."""

    NONE = "no"
    TIMEOUT = "timeout=N"
    """The idle limit in whole seconds."""
    TIMEOUT_AND_MAX = "timeout=N, max=M"
    """Also how many requests may follow this one."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the practice server puts up with from one client; `None` is no limit.

    Raises ConfigurationError for a limit that nothing can keep.
    """

    max_head_bytes: int = MAX_HEAD_BYTES
    max_body_bytes: int = MAX_BODY_BYTES
    idle_timeout: float | None = None
    """Seconds without a byte from the client, and without an answer due, after which it is ended."""
    idle_ending: IdleEnding = IdleEnding.CLOSE
    max_requests: int | None = None
    """Requests answered on a connection, the last of them included."""
    max_age: float | None = None
    """Seconds since it was made.  An announcement waits for the next answer; else it ends at that moment."""
    announces: bool = True
    """`max_requests` and `max_age` are announced: by `Connection: close`, by GOAWAY.  Else it just closes."""
    hint: Hint = Hint.NONE
    """In answers to HTTP/1.1."""
    hints_unasked: bool = False
    """Also if the request did not ask for it by `Connection: keep-alive`."""
    max_streams: int = MAX_STREAMS
    """At a time, over HTTP/2; one more is refused."""
    pings_count: bool = True
    """An HTTP/2 PING is a sign of life, so that the connection is not idle."""

    def __post_init__(self) -> None:
        for name, least in (("idle_timeout", 0.0), ("max_age", 0.0)):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > least:
                raise ConfigurationError(f"{_words(name)} is {seconds:g} s", "it must be more than 0")
        for name in ("max_requests", "max_streams"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ConfigurationError(f"{_words(name)} is {count}", "it must be at least 1")

    @property
    def change_answers(self) -> bool:
        """An answer depends on how old or how much used its connection is, or has a hint."""
        return self.max_requests is not None or self.max_age is not None or self.hint is not Hint.NONE

    @property
    def hint_seconds(self) -> int:
        """The idle limit as a hint tells it; servers round down."""
        return int(self.idle_timeout or 0)


def _words(name: str) -> str:
    return name.replace("_", " ")
