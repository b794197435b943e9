"""What a user can choose about retries, pace and order; part of `config`, which see."""

from __future__ import annotations

from dataclasses import dataclass

from livepost.errors import ConfigurationError
from livepost.option import at_least, option, positive


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """What an answer means: 2xx delivered, 3xx and 4xx rejected, but 408 421 425 429 503 are tried again.

    Other 5xx are in doubt, or tried again where that is safe (`delivery.classify` has the table).
    """

    success_on: str = option(
        "",
        "--success-on",
        metavar="STATUSES",
        help="these answers, too, mean delivered: a list such as 304,409 or 200-299,4xx",
    )
    reject_on: str = option(
        "", "--reject-on", metavar="STATUSES", help="these answers mean rejected, and nothing is tried again"
    )
    retry_on: str = option(
        "",
        "--retry-on",
        metavar="STATUSES",
        help="these answers are tried again, whatever the method: name only those after which a record "
        "cannot have been processed, or may be twice",
    )
    location: bool = option(
        False,
        "-L",
        "--location",
        help="follow redirects; credentials go to the same scheme, host and port only",
    )


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often a record is tried: one that may have been processed only where that is safe, as with PUT.

    GET, HEAD, OPTIONS, TRACE, PUT and DELETE are safe to repeat; an idempotency key or `at_least_once`
    makes any method so.
    """

    retry: int = option(10, "--retry", metavar="N", help="most further tries for one record")
    retry_max_time: float | None = option(
        None,
        "--retry-max-time",
        metavar="TIME",
        unit="seconds",
        help="try no record again this long after it was first sent (default: no limit)",
    )
    idempotency_key: str | None = option(
        None,
        "--idempotency-key",
        metavar="[=HEADER]",
        bare="Idempotency-Key",
        help="send a key that stays with its record, and rely on the server to process each key once: "
        "every request is safe to repeat (default HEADER: as this option)",
    )
    idempotency_key_format: str = option(
        "quoted",
        "--idempotency-key-format",
        metavar="quoted|raw",
        help="quoted as the IETF has it, or the bare key that some servers want",
    )
    at_least_once: bool = option(
        False,
        "--at-least-once",
        help="every request is safe to repeat: rather deliver a record twice than leave it in doubt",
    )

    max_in_doubt: int = option(
        100,
        "--max-in-doubt",
        metavar="N",
        help="most requests open on one HTTP/2 connection where they are not safe to repeat: so many are in "
        "doubt if it breaks",
    )

    def __post_init__(self) -> None:
        at_least(0, retry=self.retry)
        at_least(1, max_in_doubt=self.max_in_doubt)
        positive(retry_max_time=self.retry_max_time)
        if self.idempotency_key_format not in ("quoted", "raw"):
            raise ConfigurationError(
                f"there is no idempotency key format {self.idempotency_key_format}", "use quoted or raw"
            )
        if self.idempotency_key_format == "raw" and self.idempotency_key is None:
            raise ConfigurationError(
                "--idempotency-key-format alone sends no key",
                "add --idempotency-key if the server honours it",
            )


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """How fast, and how patient: a server that is down or asks for less is left alone until it is well."""

    rate: str | None = option(
        None, "--rate", metavar="N/s|m|h|d", help="send at most so many requests, evenly spread"
    )
    max_retry_after: float = option(
        600.0,
        "--max-retry-after",
        metavar="TIME",
        unit="seconds",
        help="wait at most this long at a time when the server asks for a pause (then ask again)",
    )
    give_up_after: float | None = option(
        3600.0,
        "--give-up-after",
        metavar="TIME",
        unit="seconds",
        help="end the run, to be resumed, when the server took nothing for this long",
    )
    start_timeout: float | None = option(
        5.0,
        "--start-timeout",
        metavar="TIME",
        unit="seconds",
        help="the same before it ever took anything",
    )

    def __post_init__(self) -> None:
        positive(
            max_retry_after=self.max_retry_after,
            give_up_after=self.give_up_after,
            start_timeout=self.start_timeout,
        )


@dataclass(frozen=True, slots=True)
class OrderOptions:
    """What must wait for what: by default nothing, and records arrive in any order."""

    ordered: bool = option(
        False, "--ordered", help="each record only after the one before has ended (one at a time)"
    )
    order_key: str | None = option(
        None,
        "--order-key",
        metavar="POINTER",
        help="records with the same value at this JSON pointer, such as /user/id, one after the other; "
        "those without it in any order",
    )
    on_key_failure: str = option(
        "stop",
        "--on-key-failure",
        metavar="skip|stop",
        help="after a record that was not delivered, leave the later ones of its order unsent, or skip it "
        "and go on",
    )

    def __post_init__(self) -> None:
        if self.ordered and self.order_key is not None:
            raise ConfigurationError("--ordered and --order-key exclude each other", "give one of them")
        if self.on_key_failure not in ("skip", "stop"):
            raise ConfigurationError(
                f"a failure cannot be handled by {self.on_key_failure}", "use skip or stop"
            )
        if self.on_key_failure == "skip" and not self.keeps_order:
            raise ConfigurationError(
                "--on-key-failure alone keeps no order",
                "add --ordered or --order-key POINTER, or leave it out",
            )

    @property
    def keeps_order(self) -> bool:
        """Some records wait for others."""
        return self.ordered or self.order_key is not None
