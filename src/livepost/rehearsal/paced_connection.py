"""A connection whose answers may take their time.

One answer is under way at a time: while it is held back, nothing is read and later requests wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from livepost.rehearsal.api import STATS_PATH, Answer
from livepost.rehearsal.connection import Connection
from livepost.rehearsal.endpoint import State
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.visit import Visit


class PacedConnection(Connection):
    """Answers a request when its latency is over; it is acted upon at once.  `/stats` never waits."""

    def __init__(
        self, visit: Visit, answer: Answer, limits: ServerLimits, latency: Latency | None = None
    ) -> None:
        super().__init__(visit, answer, limits)
        self._latency = latency
        self._waiting: deque[RequestSeen] = deque()
        self._under_way: asyncio.TimerHandle | None = None
        """Sends the answer that is held back, or its next byte."""

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            self._disregard()
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        self._waiting.extend(self._reader.receive(data))
        self._go_on()

    def resume_writing(self) -> None:
        if self._under_way is None:
            super().resume_writing()

    def _serve(self, request: RequestSeen) -> bool:
        if request.path == STATS_PATH:
            return super()._serve(request)
        if self._visit.only_looked:
            self._visit.note_look(request.request_on_connection, looks=False)
        self._after_delay(self._draw_latency(), self._send, request, self._answer(request))
        return self._is_free()

    def _go_on(self) -> None:
        """Serve what is complete, until an answer has to wait or the connection ends."""
        while self._is_free():
            if self._waiting:
                self._serve(self._waiting.popleft())
            elif not self._stop_early():
                self._answer_reader()
                return

    def _stop_early(self) -> bool:
        """Act on what stopped the reader, if that is more than a refusal."""
        return False

    def _is_free(self) -> bool:
        return self._state is State.OPEN and self._under_way is None

    def _is_busy(self) -> bool:
        return self._under_way is not None

    def _draw_latency(self) -> float:
        return 0.0 if self._latency is None else self._latency.draw()

    def _settle(self) -> None:
        super()._settle()
        if self._under_way is not None:
            self._under_way.cancel()

    def _after_delay(self, seconds: float, act: Callable[..., object], *arguments: object) -> None:
        if seconds > 0:
            self._hold(seconds, act, *arguments)
        else:
            act(*arguments)

    def _hold(self, seconds: float, act: Callable[..., object], *arguments: object) -> None:
        self._transport.pause_reading()
        self._under_way = self._loop.call_later(seconds, self._act, act, arguments)

    def _act(self, act: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._under_way = None
        if self._state is not State.OPEN:
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        act(*arguments)
        if self._is_free():
            self._transport.resume_reading()
            self._go_on()
