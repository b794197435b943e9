"""What a user can choose about a probe; the rest of its options are those of a delivery."""

from __future__ import annotations

from dataclasses import dataclass

from livepost.errors import ConfigurationError
from livepost.option import at_least, option, positive

SAFE_METHODS = ("HEAD", "GET", "OPTIONS")
"""What may be sent to a server without asking for anything to change (RFC 9110 section 9.2.1)."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What is asked, and for how long."""

    path: str | None = option(
        None, "--path", metavar="PATH", help="ask for this path of the URL's host instead of the URL's own"
    )
    method: str | None = option(
        None,
        "-X",
        "--request",
        metavar="HEAD|GET|OPTIONS",
        help="ask in this way (default: the first of these that the server takes)",
    )
    max_wait: float = option(
        130.0,
        "--max-wait",
        metavar="TIME",
        unit="seconds",
        help="leave connections idle for at most so long to see when the server closes them",
    )
    max_requests: int = option(
        1_100, "--max-requests", metavar="N", help="send at most so many requests on one connection"
    )

    def __post_init__(self) -> None:
        positive(max_wait=self.max_wait)
        at_least(1, max_requests=self.max_requests)
        if self.method is not None and self.method not in SAFE_METHODS:
            raise ConfigurationError(
                f"a probe does not send {self.method!r}", "it changes nothing: use HEAD, GET or OPTIONS"
            )
        if self.path is not None and not self.path.startswith("/"):
            raise ConfigurationError("--path does not begin with a slash", "write it as /health")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods to try, in this order."""
        return SAFE_METHODS if self.method is None else (self.method,)
