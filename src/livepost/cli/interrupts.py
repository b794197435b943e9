"""SIGINT and SIGTERM for a run: the first asks it to stop, the second stops it at once.

The signals are waited for in a thread of their own: the event loop may be stuck in a write to a pipe
that nobody reads, or the process in the end of a name look-up, and a person who presses Ctrl-C twice
wants neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS = 2.0


class Interrupts:
    """Counts the signals that came; `received` is the first, or None.

    `on_first(signal)` and `on_second()` are called on the loop.  If the process has not ended two
    seconds after the second signal, it is ended here, with 128 plus the signal's number.
    """

    def __init__(self, on_first: Callable[[signal.Signals], None], on_second: Callable[[], None]) -> None:
        self.received: signal.Signals | None = None
        self._on_first = on_first
        self._on_second = on_second
        self._is_over = threading.Event()
        self._was_woken = threading.Event()
        self._is_to_end = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals within; to be entered while the loop runs, in the main thread."""
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._watch, args=(loop,), name="livepost-signals", daemon=True)
        # Blocked for this thread and all there will be, so that only the one that waits gets them.  A
        # thread that was there before may get one instead; then the loop is woken.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._handle, loop, number)
        try:
            thread.start()
            yield
        finally:
            self._is_over.set()
            if thread.ident is not None:
                # To that thread alone, which waits for nothing else.
                signal.pthread_kill(thread.ident, signal.SIGINT)
                self._was_woken.set()
                thread.join()
            for number, handler in handlers.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """What the thread does."""
        while not self._is_over.is_set():
            # Not sigtimedwait: if the process was stopped until after the time-out (Ctrl-Z and fg), Python's
            # returns whatever was in its memory, which may be a signal that came before.
            came = signal.sigwaitinfo(_SIGNALS)
            if not self._is_over.is_set():
                self._handle(loop, signal.Signals(came.si_signo))
        # Not before, because a thread that has ended cannot be sent a signal.
        self._was_woken.wait()

    def _handle(self, loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
        if self.received is None:
            self.received = number
            _call(loop, self._on_first, number)
            return
        if not self._is_to_end:
            self._is_to_end = True
            threading.Thread(target=self._end, args=(self.received,), daemon=True).start()
        _call(loop, self._on_second)

    def _end(self, received: signal.Signals) -> None:
        if not self._is_over.wait(_GRACE_SECONDS):
            os._exit(128 + received)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    # The loop may have been closed meanwhile: then there is nothing left to stop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)
