from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from livepost.config import InputOptions
from livepost.errors import InputError
from livepost.model import Record, Rejection
from livepost.records.feed import RecordFeed
from livepost.records.source import FileSource

SECONDS = 10.0
"""Longest wait for something that happens at once."""

Batch = list[Record | Rejection]


def batch(*numbers: int) -> Batch:
    return [Record(number, b"%d" % number, "f", number) for number in numbers]


class Gated:
    """A source that yields a batch, or raises, each time the test opens its gate."""

    bytes_total = None
    bytes_read = 0

    def __init__(self, *steps: Batch | BaseException, is_open: bool = False) -> None:
        self.steps = steps
        self.gate = threading.Semaphore(len(steps) if is_open else 0)
        self.asked = threading.Semaphore(0)
        """Released each time a batch is asked for."""
        self.closed = threading.Event()

    def batches(self) -> Generator[Batch, None, None]:
        try:
            for step in self.steps:
                self.asked.release()
                assert self.gate.acquire(timeout=SECONDS)
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed.set()


class Harness:
    """A feed on the running loop, and what it told."""

    def __init__(self, source: Gated | FileSource, batches_ahead: int = 2) -> None:
        self.arrivals = 0
        self._arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.feed = RecordFeed(source, loop=loop, on_arrival=self._on_arrival, batches_ahead=batches_ahead)
        self.feed.start()

    def _on_arrival(self) -> None:
        self.arrivals += 1
        self._arrived.set()

    async def arrival(self, count: int) -> None:
        """Wait until `on_arrival` was called `count` times."""
        while self.arrivals < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), SECONDS)

    def take(self, count: int) -> list[int]:
        taken = [item for _ in range(count) for item in self.feed.take(1)]
        return [record.number for record in taken if record is not None]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run on a loop of its own, then see that the feed's thread has ended."""

    async def main() -> None:
        await test()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name == "livepost-records":
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_records_come_in_order_until_the_end() -> None:
    async def test() -> None:
        harness = Harness(Gated(batch(1, 2, 3), batch(4), batch(5, 6), is_open=True))
        feed = harness.feed
        numbers = []
        while not feed.ended:
            await harness.arrival(harness.arrivals + (not feed.waiting))
            numbers += harness.take(1)
        assert numbers == [1, 2, 3, 4, 5, 6]
        assert feed.reached_end
        assert (feed.take(1), feed.waiting, feed.error) == ([], 0, None)

    run(test)


def test_what_can_be_taken_is_counted() -> None:
    async def test() -> None:
        source = Gated(batch(1, 2, 3), batch(4, 5))
        harness = Harness(source)
        feed = harness.feed
        assert (feed.waiting, feed.take(1), feed.ended) == (0, [], False)
        source.gate.release()
        await harness.arrival(1)
        assert feed.waiting == 3
        source.gate.release()
        await harness.arrival(2)
        assert feed.waiting == 5
        assert harness.take(2) == [1, 2]
        assert feed.waiting == 3
        assert harness.take(2) == [3, 4]
        assert (feed.waiting, feed.ended) == (1, False)
        await harness.arrival(3)
        assert (feed.waiting, feed.ended) == (1, False)
        assert harness.take(2) == [5]
        assert (feed.waiting, feed.ended) == (0, True)

    run(test)


@pytest.mark.parametrize("batches_ahead", [1, 2, 3])
def test_reading_ahead_is_bounded(batches_ahead: int) -> None:
    used_up = 0
    leads = []

    class Counting(Gated):
        def batches(self) -> Generator[Batch, None, None]:
            for asked, step in enumerate(super().batches(), 1):
                leads.append(asked - used_up)
                yield step

    async def test() -> None:
        nonlocal used_up
        count = 200
        harness = Harness(
            Counting(*(batch(number, -number) for number in range(1, count + 1)), is_open=True), batches_ahead
        )
        await harness.arrival(batches_ahead)
        for number in range(1, count + 1):
            while not harness.feed.waiting:
                await harness.arrival(harness.arrivals + 1)
            assert harness.take(1) == [number]
            used_up += 1
            assert harness.take(1) == [-number]
        while not harness.feed.ended:
            await harness.arrival(harness.arrivals + 1)

    run(test)
    assert len(leads) == 200
    assert max(leads) == batches_ahead


def test_an_empty_batch_takes_no_room() -> None:
    async def test() -> None:
        harness = Harness(Gated([], [], [], batch(1), [], is_open=True), batches_ahead=1)
        await harness.arrival(1)
        assert harness.take(1) == [1]
        await harness.arrival(2)
        assert harness.feed.ended

    run(test)


def test_a_failed_source_ends_early_with_its_error() -> None:
    async def test() -> None:
        error = InputError("f is cut short")
        harness = Harness(Gated(batch(1, 2), error, is_open=True))
        await harness.arrival(2)
        assert harness.feed.error is error
        assert not harness.feed.ended
        assert harness.take(3) == [1, 2]
        assert harness.feed.ended

    run(test)


@pytest.mark.parametrize("error", [LookupError("defect"), SystemExit(3)])
def test_an_unexpected_exception_is_raised_on_the_loop(error: BaseException) -> None:
    async def test() -> None:
        harness = Harness(Gated(batch(1), error, is_open=True))
        await harness.arrival(2)
        with pytest.raises(type(error)) as caught:
            _ = harness.feed.error
        assert caught.value is error
        assert harness.take(2) == [1]
        assert harness.feed.ended

    run(test)


def test_an_exception_before_the_first_batch() -> None:
    async def test() -> None:
        harness = Harness(Gated(InputError("gone"), is_open=True))
        await harness.arrival(1)
        assert harness.feed.ended
        assert str(harness.feed.error) == "gone"

    run(test)


def test_stop_keeps_what_was_handed_over_and_takes_no_more() -> None:
    source = Gated(batch(1, 2), batch(3), batch(4))

    async def test() -> None:
        harness = Harness(source)
        source.gate.release()
        await harness.arrival(1)
        assert source.asked.acquire(timeout=SECONDS)
        assert source.asked.acquire(timeout=SECONDS)
        harness.feed.stop()
        assert (harness.feed.waiting, harness.feed.ended) == (2, False)
        source.gate.release()
        await harness.arrival(2)
        assert harness.take(3) == [1, 2]
        assert (harness.feed.ended, harness.feed.error) == (True, None)
        assert not harness.feed.reached_end
        assert not source.asked.acquire(blocking=False)

    run(test)
    assert source.closed.is_set()


def test_what_was_dropped_on_its_way_was_not_read_to_its_end() -> None:
    source = Gated(batch(1), batch(2), is_open=True)

    async def test() -> None:
        harness = Harness(source, batches_ahead=3)
        # The loop does nothing meanwhile, so that both batches and the end are on their way.
        assert source.closed.wait(SECONDS)
        harness.feed.stop()
        await harness.arrival(1)
        assert (harness.feed.ended, harness.feed.waiting, harness.feed.reached_end) == (True, 0, False)

    run(test)


def test_stop_ends_at_once_although_the_source_is_silent() -> None:
    source = Gated(batch(1))

    async def test() -> None:
        harness = Harness(source)
        assert source.asked.acquire(timeout=SECONDS)
        harness.feed.stop()
        assert harness.feed.ended
        source.gate.release()

    run(test)
    assert source.closed.is_set()


def test_stop_wakes_a_thread_that_waits_for_room() -> None:
    source = Gated(batch(1), batch(2), batch(3), is_open=True)

    async def test() -> None:
        harness = Harness(source, batches_ahead=1)
        await harness.arrival(1)
        harness.feed.stop()
        assert harness.take(2) == [1]

    run(test)
    assert source.closed.is_set()


def test_close_drops_what_waits() -> None:
    source = Gated(batch(1), batch(2, 3), is_open=True)

    async def test() -> None:
        harness = Harness(source)
        await harness.arrival(2)
        harness.feed.close()
        arrivals = harness.arrivals
        assert (harness.feed.take(1), harness.feed.waiting, harness.feed.ended) == ([], 0, True)
        assert await asyncio.to_thread(source.closed.wait, SECONDS)
        assert harness.arrivals == arrivals

    run(test)


@pytest.mark.parametrize("step", [batch(1), InputError("late"), LookupError("late")])
def test_what_comes_after_the_loop_was_closed_is_dropped(step: Batch | BaseException) -> None:
    source = Gated(step, batch(2))
    harness: list[Harness] = []

    async def test() -> None:
        harness.append(Harness(source))
        assert source.asked.acquire(timeout=SECONDS)

    asyncio.run(test())
    source.gate.release()
    assert source.closed.wait(SECONDS)
    run(lambda: asyncio.sleep(0))
    assert harness[0].arrivals == 0


def test_starts_only_once() -> None:
    async def test() -> None:
        harness = Harness(Gated(is_open=True))
        with pytest.raises(RuntimeError):
            harness.feed.start()
        await harness.arrival(1)

    run(test)


def test_files_are_closed_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1\n" * 200_000)
    before = os.listdir("/proc/self/fd")

    async def test() -> None:
        harness = Harness(FileSource([str(tmp_path / "f")], InputOptions()))
        await harness.arrival(1)
        assert harness.take(1) == [1]
        harness.feed.close()

    run(test)
    assert os.listdir("/proc/self/fd") == before


SILENT = """
import asyncio, sys
from livepost.config import InputOptions
from livepost.records.feed import RecordFeed
from livepost.records.source import FileSource

async def main():
    arrived = asyncio.Event()
    source = FileSource(["-"], InputOptions())
    source.check()
    feed = RecordFeed(source, loop=asyncio.get_running_loop(), on_arrival=arrived.set)
    feed.start()
    await arrived.wait()
    print(feed.take(1)[0].body, feed.ended, flush=True)
    feed.close()
    print(feed.ended, flush=True)

asyncio.run(main())
"""


def test_silent_standard_input_does_not_keep_the_process() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", SILENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin
        process.stdin.write(b"1\n")
        process.stdin.flush()
        try:
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
        assert process.communicate() == (b"b'1' False\nTrue\n", b"")
