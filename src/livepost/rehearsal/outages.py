"""Times in which a server cannot be reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

from livepost.rehearsal.fault_plan import TimedFault
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.listener import Listener


class Outages:
    """Begins and ends the faults of a listener, which may overlap: the worst of them holds.

    `on_accept` is what the listener calls.  `on_crash` is to reset every open connection.
    `on_begin` is told of every fault that begins.  Call `close` before the listener is closed.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        on_accept: Callable[[socket.socket], None],
        on_crash: Callable[[], None],
        on_begin: Callable[[Fault], None],
    ) -> None:
        self._listener = listener
        self._on_accept = on_accept
        self._on_crash = on_crash
        self._on_begin = on_begin
        self._loop = asyncio.get_running_loop()
        self._current: list[Fault] = []
        self._timers: set[asyncio.TimerHandle] = set()

    def schedule(self, faults: Iterable[TimedFault]) -> None:
        """Begin each when its time comes, and now those whose time is 0."""
        for timed in faults:
            if timed.after_seconds > 0:
                self._call_later(timed.after_seconds, self.begin, timed.fault)
            else:
                self.begin(timed.fault)

    def begin(self, fault: Fault) -> None:
        """Begin one; it ends by itself after `lasts_seconds`."""
        self._on_begin(fault)
        self._current.append(fault)
        self._apply()
        if fault.kind is FaultKind.OUTAGE:
            self._on_crash()
        if fault.lasts_seconds is not None:
            self._call_later(fault.lasts_seconds, self._finish, fault)

    def close(self) -> None:
        """Forget everything that was to begin or end."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _finish(self, fault: Fault) -> None:
        self._current.remove(fault)
        self._apply()

    def _apply(self) -> None:
        kinds = {fault.kind for fault in self._current}
        if kinds & {FaultKind.OUTAGE, FaultKind.REFUSE}:
            self._listener.refuse()
        elif kinds:
            # Those that waited while connects were refused were reset: now there are none.
            self._listener.start(self._on_accept)
            self._listener.pause()
        else:
            self._listener.start(self._on_accept)

    def _call_later(self, seconds: float, callback: Callable[[Fault], None], fault: Fault) -> None:
        def call() -> None:
            self._timers.discard(timer)
            callback(fault)

        timer = self._loop.call_later(seconds, call)
        self._timers.add(timer)
