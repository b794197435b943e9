from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from livepost.headway import records_to_come, take_snapshot
from livepost.mark import DELIVERED
from livepost.model import Record, Rejection
from livepost.recording import RecordedSource
from livepost.records.feed import RecordFeed
from livepost.report.progress import Pace, Snapshot
from livepost.report.tally import Tally
from livepost.runs.resumption import Resumption
from livepost.runs.run import Run

RECORDS = 1_000
BATCH = 10
RECORD_BYTES = 20


class Numbers:
    """Records of 20 bytes, in batches of 10."""

    bytes_total: int | None = RECORDS * RECORD_BYTES

    def __init__(self) -> None:
        self.bytes_read = 0

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        for first in range(1, RECORDS + 1, BATCH):
            self.bytes_read += BATCH * RECORD_BYTES
            yield [Record(number, b"1", "-", number) for number in range(first, first + BATCH)]


def finished(count: int) -> Tally:
    tally = Tally()
    tally.records_delivered = count
    return tally


def test_without_a_size_there_is_no_fraction() -> None:
    source = Numbers()
    source.bytes_total = None
    now = take_snapshot(source, finished(3), given=10, seconds=2.0)
    assert (now.seconds, now.finished, now.fraction) == (2.0, 3, None)


@pytest.mark.parametrize(
    ("read", "given", "ended", "fraction"),
    [(0, 0, 0, 0.0), (5_000, 250, 0, 0.0), (5_000, 250, 125, 0.125), (20_000, 1_000, 1_000, 1.0)],
)
def test_the_fraction_is_of_what_was_read_but_for_what_has_not_ended(
    read: int, given: int, ended: int, fraction: float
) -> None:
    source = Numbers()
    source.bytes_read = read
    now = take_snapshot(source, finished(ended), given=given, seconds=1.0)
    assert (now.fraction, now.earlier, now.earlier_ahead) == (fraction, 0.0, 0.0)


def test_a_file_that_has_grown_is_done_when_all_of_it_is() -> None:
    source = Numbers()
    source.bytes_read = 2 * RECORDS * RECORD_BYTES
    assert take_snapshot(source, finished(10), given=10, seconds=1.0).fraction == 1.0


@pytest.mark.parametrize(
    "settled",
    [range(1, 901), [number for number in range(1, 1_001) if number % 10]],
    ids=["the beginning", "all over"],
)
def test_a_resumed_run_takes_as_long_as_its_own_records_do(tmp_path: Path, settled: list[int]) -> None:
    """Nine tenths were settled before, and the rest takes 10 s, at 10 records/s, from the first moment on."""
    run = Run.create(tmp_path / "run", {})
    run.reserve([Record(RECORDS, b"1", "-", RECORDS)])
    for number in settled:
        run.states.marks[number] = DELIVERED
    run.close()
    run = Run.open(tmp_path / "run")
    source = RecordedSource(Numbers(), run, Resumption(run, resend=False))
    pace, given = Pace(), 0
    now: Snapshot | None = None
    for batch in source.batches():
        given += len(batch)
        # So many are done at once, in their time.
        now = take_snapshot(source, finished(given), given=given, seconds=0.1 * given)
        pace.update(now)
        assert pace.seconds_left == pytest.approx(10 - now.seconds)
    run.close()
    assert now is not None
    assert now.fraction == pytest.approx(1.0)
    assert now.earlier == pytest.approx(0.9)
    assert pace.records_per_second == pytest.approx(10)


def test_what_is_to_come_goes_by_the_size_of_what_came() -> None:
    async def main() -> None:
        source = Numbers()
        feed = RecordFeed(source, loop=asyncio.get_running_loop(), on_arrival=lambda: None)
        assert records_to_come(source, feed) == float("inf")
        source.bytes_read, feed.last_number = 5_000, 250
        assert records_to_come(source, feed) == 750
        # There may always be one more, until the end was seen.
        source.bytes_read = source.bytes_total or 0
        assert records_to_come(source, feed) == 1
        feed.start()
        while not feed.ended:
            feed.take(RECORDS)
            await asyncio.sleep(0)
        assert records_to_come(source, feed) == 0

    asyncio.run(main())
