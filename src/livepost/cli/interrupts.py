"""SIGINT and SIGTERM for a run: the first asks it to stop, the second stops it at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


class Interrupts:
    """Counts the signals that came; `received` is the first, or None.

    `on_first(signal)` and `on_second()` are called on the loop.
    """

    def __init__(self, on_first: Callable[[signal.Signals], None], on_second: Callable[[], None]) -> None:
        self.received: signal.Signals | None = None
        self._on_first = on_first
        self._on_second = on_second

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals within; to be entered while the loop runs, in the main thread."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._handle, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _handle(self, number: signal.Signals) -> None:
        if self.received is None:
            self.received = number
            self._on_first(number)
        else:
            self._on_second()
