"""The demonstration: the same records with a connection each, and over live connections.

Everything happens in one process over real sockets, and the figures are the server's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from livepost.config import DeliveryOptions, Limits, RouteOptions
from livepost.deliver import deliver
from livepost.model import Outcome, Record, Rejection
from livepost.records.source import ObjectSource
from livepost.rehearsal.server import PracticeServer
from livepost.target import parse_target
from livepost.wire.message import Exchange, Response

SAMPLES = ({"name": "John", "age": 30}, {"name": "Lucy", "age": 25}, {"name": "Mike", "age": 40})
USERS = 20_000
CONNECTIONS = 64

Show = Callable[[bytes, int, bytes], None]
"""Is given a record's body, and the status and body of its answer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of delivering the users, as the server counted it."""

    name: str
    delivered: int
    seconds: float
    handshakes: int

    @property
    def records_per_second(self) -> float:
        return self.delivered / self.seconds

    @property
    def handshakes_per_1000(self) -> float:
        return 1000 * self.handshakes / self.delivered

    @property
    def records_per_connection(self) -> float:
        return self.delivered / self.handshakes


class _Answers:
    """A delivery observer that shows each answer."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def finished(
        self, exchange: Exchange, outcome: Outcome, response: Response | None, seconds: float
    ) -> None:
        if response is not None:
            self._show(exchange.body, response.status, response.body)

    def retried(self, exchange: Exchange, reason: str, response: Response | None, seconds: float) -> None:
        """Only final answers are shown."""

    def rejected(self, rejection: Rejection) -> None:
        """The samples are valid."""

    def left(self, record: Record, outcome: Outcome) -> None:
        """Has no answer to show."""


async def deliver_samples(show: Show) -> None:
    """Send the three samples one after the other and show each answer as it comes."""
    async with PracticeServer() as server:
        options = _options(server, Limits(max_conns_per_host=1))
        result = await deliver(ObjectSource(SAMPLES), options, observers=[_Answers(show)])
        if result.error is not None:
            raise result.error


async def compare(users: int = USERS) -> tuple[Measured, Measured]:
    """Send generated users with a new connection for each, then over live ones."""
    return (
        await _measure("new each time", users, Limits(CONNECTIONS, disable_keep_alives=True)),
        await _measure("live", users, Limits(CONNECTIONS)),
    )


async def _measure(name: str, users: int, limits: Limits) -> Measured:
    async with PracticeServer() as server:
        objects = ObjectSource(_user(number) for number in range(1, users + 1))
        result = await deliver(objects, _options(server, limits))
        if result.error is not None:
            raise result.error
        summary = result.summary
        return Measured(name, summary.records.delivered, summary.seconds, server.stats.connections)


def _options(server: PracticeServer, limits: Limits) -> DeliveryOptions:
    # A proxy of the environment would not find the server, which is in this process.
    route = RouteOptions(proxy="")
    return DeliveryOptions(target=parse_target(f"{server.url}/api"), limits=limits, route=route)


def _user(number: int) -> dict[str, object]:
    return {
        "id": number,
        "name": f"User {number}",
        "email": f"user{number}@example.com",
        "age": 18 + number % 60,
    }


def shown_body(body: bytes) -> str:
    """A sample as a person would write it."""
    return json.dumps(json.loads(body))
