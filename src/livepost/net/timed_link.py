"""How long what a connection carries may take."""

from __future__ import annotations

import socket

from livepost.events import CloseReason
from livepost.net.connection_state import ConnectionState
from livepost.net.deadlines import NEVER
from livepost.net.link import Link
from livepost.net.surroundings import Surroundings
from livepost.wire.machine import Machine, Stage
from livepost.wire.message import Exchange

_TESTING = ConnectionState.TESTING


class TimedLink(Link):
    """A link whose open exchanges have deadlines."""

    __slots__ = ("_answer_limit",)

    def __init__(self, number: int, sock: socket.socket, machine: Machine, shared: Surroundings) -> None:
        super().__init__(number, sock, machine, shared)
        timeouts = shared.timeouts
        self._answer_limit = min(or_never(timeouts.max_time), or_never(timeouts.response_header_timeout))

    def _expire_exchanges(self, now: float) -> None:
        deadline = self._answer_deadline()
        if now < deadline:
            self._deadlines.set(self, deadline)
            return
        overdue = self._overdue(now)
        if overdue:
            self._expire(overdue, now)
        else:
            self._machine.release_body()
            self._flush_rest(now)

    def _overdue(self, now: float) -> list[Exchange]:
        """The open exchanges that must be waited for no longer."""
        return [
            exchange
            for exchange, stage in self._machine.waiting()
            if now >= self._last_deadline(exchange, stage)
        ]

    def _expire(self, overdue: list[Exchange], now: float) -> None:
        """End these, and the connection with them."""
        self._end(CloseReason.TIMEOUT, no_answer_within(now - overdue[0].sent_at), orderly=False)

    def _flush_rest(self, now: float) -> None:
        """Write on, and see anew until when an answer must have come."""
        if self._flush(now) and self._machine.open_exchanges and self.state is not _TESTING:
            self._deadlines.set(self, self._answer_deadline())

    def _answer_deadline(self) -> float:
        """When what is open must have come further."""
        deadline = NEVER
        for exchange, stage in self._machine.waiting():
            deadline = min(deadline, self._last_deadline(exchange, stage))
            if stage is Stage.HELD and self._unsent is None:
                # Then its body is sent anyway.
                limit = or_never(self._shared.timeouts.expect_continue_timeout)
                deadline = min(deadline, self._head_written_at(exchange) + limit)
        return deadline

    def _last_deadline(self, exchange: Exchange, stage: Stage) -> float:
        """When it has failed if it has not come further."""
        timeouts = self._shared.timeouts
        deadline = exchange.sent_at + or_never(timeouts.max_time)
        if stage is Stage.SENT and self._unsent is None:
            deadline = min(
                deadline, self._all_written_at(exchange) + or_never(timeouts.response_header_timeout)
            )
        return deadline

    def _head_written_at(self, exchange: Exchange) -> float:
        return self._written_at

    def _all_written_at(self, exchange: Exchange) -> float:
        return self._written_at


def or_never(limit: float | None) -> float:
    """A limit that may be missing, as a number."""
    return NEVER if limit is None else limit


def no_answer_within(seconds: float) -> str:
    """Why a record that waited so long has failed."""
    readable = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.3g}"
    return f"no answer within {readable} s"
