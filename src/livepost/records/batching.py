"""Single items to batches, without keeping any of them waiting for the next."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

# So many batches may have come and not been taken.
_BATCHES_AHEAD = 2


def in_batches(items: Iterator[Item], most: int) -> Generator[list[Item], None, None]:
    """Yield what has come of `items` so far, at least one at a time and at most so many.

    They are asked for in a thread, a few batches ahead at most: whether the next is there or will be in an
    hour can only be known by waiting for it.  What they raise is raised after all that came before it.  Close
    the generator to have no more of them asked for; a thread that waits for one keeps no process from ending.
    """
    pump = _Pump(items, most)
    threading.Thread(target=pump.run, name="livepost-items", daemon=True).start()
    try:
        while batch := pump.take(most):
            yield batch
        if pump.failure is not None:
            raise pump.failure
    finally:
        pump.stop()


class _Pump(Generic[Item]):
    """`run` belongs to its own thread, all else to that of who takes."""

    def __init__(self, items: Iterator[Item], most: int) -> None:
        self.failure: BaseException | None = None
        """What the items raised, once all that came before it has been taken."""
        self._items = items
        self._most = most
        self._come: SimpleQueue[Item | _End] = SimpleQueue()
        self._room = threading.Semaphore(_BATCHES_AHEAD)
        """In batches."""
        self._taken = 0
        """Since there was last made room."""
        self._is_over = False

    def run(self) -> None:
        """Put what comes into the queue, as long as there is room and somebody to take it."""
        failure: BaseException | None = None
        put = self._come.put
        left = 0
        try:
            for item in self._items:
                if not left:
                    self._room.acquire()
                    left = self._most
                if self._is_over:
                    return
                put(item)
                left -= 1
        except BaseException as error:  # noqa: BLE001  not hidden: it is raised where the items are taken
            failure = error
        put(_End(failure))

    def take(self, most: int) -> list[Item]:
        """Wait for the next, and return it with all that have come behind it; none at the end."""
        batch: list[Item] = []
        if self._is_over:
            return batch
        get = self._come.get
        item = get()
        try:
            while not isinstance(item, _End):
                batch.append(item)
                if len(batch) == most:
                    break
                item = get(block=False)
            else:
                self._is_over = True
                self.failure = item.failure
        except Empty:
            pass
        self._make_room(len(batch))
        return batch

    def stop(self) -> None:
        """Ask for no more."""
        self._is_over = True
        self._room.release()

    def _make_room(self, taken: int) -> None:
        self._taken += taken
        while self._taken >= self._most:
            self._taken -= self._most
            self._room.release()


class _End:
    """Behind the last item."""

    __slots__ = ("failure",)

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure
