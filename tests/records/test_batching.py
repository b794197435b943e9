from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.records.batching import in_batches

PATIENCE_SECONDS = 30.0


@given(count=st.integers(0, 40), most=st.integers(1, 7))
def test_all_come_in_order_and_never_too_many_at_a_time(count: int, most: int) -> None:
    batches = list(in_batches(iter(range(count)), most))
    assert list(itertools.chain.from_iterable(batches)) == list(range(count))
    assert all(0 < len(batch) <= most for batch in batches)


def test_one_that_has_come_does_not_wait_for_the_next() -> None:
    source: queue.Queue[int | None] = queue.Queue()
    batches = in_batches(iter(source.get, None), 10)
    source.put(1)
    assert next(batches) == [1]
    source.put(2)
    assert next(batches) == [2]
    source.put(None)
    assert list(batches) == []


def test_what_came_together_is_taken_together() -> None:
    """The items are asked for ahead of whoever takes them, and as far as there is room."""
    asked_for = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in itertools.count():
            asked_for.release()
            yield number

    batches = in_batches(items(), 3)
    first = next(batches)
    # Two batches fit, and then one more is asked for than there is room for.
    wait_for(asked_for, 7)
    rest = list(itertools.chain.from_iterable(itertools.islice(batches, 2)))
    assert first + rest == list(range(len(first + rest)))
    assert len(first + rest) >= 6
    batches.close()


def test_reading_ahead_is_bounded() -> None:
    asked_for = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in itertools.count():
            asked_for.release()
            yield number

    batches = in_batches(items(), 5)
    taken = already_asked = 0
    for whole_batches in (0, 1, 2):
        while taken < max(1, 5 * whole_batches):
            taken += len(next(batches))
        # Two batches more than were taken, and one item that waits for room.
        asked = 5 * (taken // 5) + 11
        wait_for(asked_for, asked - already_asked)
        already_asked = asked
        assert not asked_for.acquire(timeout=0.05)
    batches.close()


def test_what_the_items_raise_comes_after_all_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise LookupError("no more")

    batches = in_batches(items(), 2)
    taken: list[int] = []
    while len(taken) < 3:
        taken += next(batches)
    assert taken == [1, 2, 3]
    with pytest.raises(LookupError, match="no more"):
        next(batches)


@pytest.mark.parametrize("waits_for", ["room", "an item"])
def test_nothing_more_is_asked_for_once_it_is_closed(waits_for: str) -> None:
    go_on, ended = threading.Event(), threading.Event()
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        try:
            for number in itertools.count():
                asked += 1
                if waits_for == "an item" and number == 1:
                    assert go_on.wait(PATIENCE_SECONDS)
                yield number
        finally:
            ended.set()

    batches = in_batches(items(), 1)
    assert next(batches) == [0]
    batches.close()
    go_on.set()
    del batches
    assert ended.wait(PATIENCE_SECONDS)
    assert asked <= 4


def wait_for(semaphore: threading.Semaphore, times: int) -> None:
    for _ in range(times):
        assert semaphore.acquire(timeout=PATIENCE_SECONDS)
