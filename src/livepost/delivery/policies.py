"""The policies of one run, put together from what the user asked for."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from livepost.config import DeliveryOptions
from livepost.delivery.access import AccessWatch
from livepost.delivery.brake import Brake
from livepost.delivery.budget import RetryBudget
from livepost.delivery.classify import Rules
from livepost.delivery.gate import Gate
from livepost.delivery.idempotency import IdempotencyKeys
from livepost.delivery.order import Order
from livepost.delivery.rate import RateLimiter, parse_rate
from livepost.delivery.retries import Retries
from livepost.delivery.retry import RetryPolicy
from livepost.delivery.server_hints import HintReader
from livepost.wire.message import RequestHead

# Half a second, five times what one record first waits for: more than one record has shown the trouble.
_FIRST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Policies:
    """What the schedule asks; each of these belongs to one run and remembers it."""

    rules: Rules
    retry: RetryPolicy
    retries: Retries
    gate: Gate
    hints: HintReader
    access: AccessWatch
    order: Order | None
    keys: IdempotencyKeys | None

    @classmethod
    def of(
        cls,
        options: DeliveryOptions,
        head: RequestHead,
        run_id: uuid.UUID,
        *,
        now: float,
        wall_clock: Callable[[], float],
        retry: RetryPolicy | None = None,
    ) -> Policies:
        """As the user asked, or with another patience: the pauses for all grow with those for one record.

        Raises ConfigurationError for options that cannot be.
        """
        pace = options.pace
        retry = retry or RetryPolicy.of(options.retry)
        rules = Rules(head.method, options.retry, options.outcome)
        brake = Brake(
            options.limits.max_conns_per_host,
            give_up_after=pace.give_up_after,
            start_timeout=pace.start_timeout,
            first_pause_seconds=_FIRST_PAUSE * retry.base_seconds,
            longest_pause_seconds=retry.longest_seconds,
            uniform=retry.uniform,
        )
        limiter = RateLimiter(now, None if pace.rate is None else parse_rate(pace.rate))
        return cls(
            rules=rules,
            retry=retry,
            retries=Retries(RetryBudget(now)),
            gate=Gate(brake, limiter),
            hints=HintReader(pace.max_retry_after, wall_clock),
            access=AccessWatch(rules.named),
            order=Order.of(options.order),
            keys=IdempotencyKeys.of(run_id, options.retry, head.fields),
        )
