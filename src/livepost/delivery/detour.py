"""Where redirects have led records (-L), and the lanes that carry them there.

A redirect within the origin only changes the request; one to another scheme, host or port needs
connections of its own.  So each such origin has a lane, which is work for a pool of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from livepost.delivery.redirect import Hops, ProxyOf, Refusal, no_proxy, redirect
from livepost.target import Target
from livepost.wire.message import Exchange, RequestHead, Response

MOST_ORIGINS = 8


@dataclass(frozen=True, slots=True)
class Detour:
    """The way of one exchange so far."""

    target: Target
    hops: Hops
    queue: deque[Exchange]
    """Where it waits when its time has come."""


class Detours:
    """The redirects of one run.

    `own` is the queue of the target's own origin; `open_lane(target)` makes the connections to another
    one, and returns its queue.  `proxy_of` is that of `redirect`.
    """

    def __init__(
        self,
        target: Target,
        head: RequestHead,
        own: deque[Exchange],
        open_lane: Callable[[Target], deque[Exchange]],
        proxy_of: ProxyOf = no_proxy,
    ) -> None:
        self._start = Detour(target, Hops.start(target, head), own)
        self._queues = {target.origin: own}
        self._open_lane = open_lane
        self._proxy_of = proxy_of

    def follow(self, exchange: Exchange, response: Response) -> str | None:
        """Change the exchange to go where the answer points; or why that cannot be."""
        way = exchange.detour or self._start
        followed = redirect(
            response,
            way.target,
            exchange.head,
            way.hops,
            has_body=bool(exchange.body),
            proxy_of=self._proxy_of,
        )
        if isinstance(followed, Refusal):
            return followed.value
        redirection, hops = followed
        target = redirection.target
        queue = self._queues.get(target.origin)
        if queue is None:
            if len(self._queues) > MOST_ORIGINS:
                return f"redirects lead to more than {MOST_ORIGINS} other servers"
            queue = self._queues[target.origin] = self._open_lane(target)
        exchange.head = redirection.head
        if not redirection.keeps_body:
            # 303: whatever becomes of the request that follows, the record may have been processed.
            exchange.body = b""
            exchange.has_doubt = True
        exchange.detour = Detour(target, hops, queue)
        return None
