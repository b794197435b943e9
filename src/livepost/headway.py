"""How far a run has come through its input, and how much is to come: by bytes, as nobody has counted it."""

from __future__ import annotations

import math

from livepost.recording import RecordedSource
from livepost.records.feed import RecordFeed
from livepost.records.source import Source
from livepost.report.progress import Snapshot
from livepost.report.tally import Tally


def take_snapshot(source: Source, tally: Tally, *, given: int, seconds: float) -> Snapshot:
    """Where a run stands `seconds` after its start; so many records were `given` to it to be dealt with."""
    total = source.bytes_total
    if not total:
        return Snapshot.of(tally, seconds=seconds, fraction=None)
    earlier = ahead = 0.0
    if isinstance(source, RecordedSource):
        earlier, ahead = source.bytes_passed_over, source.bytes_to_pass_over
    read = min(source.bytes_read, total)
    done = (read - earlier) * tally.records_finished / given if given else 0.0
    return Snapshot.of(
        tally,
        seconds=seconds,
        fraction=(earlier + done) / total,
        earlier=earlier / total,
        earlier_ahead=min(ahead, total - read) / total,
    )


def records_to_come(source: Source, feed: RecordFeed) -> float:
    """About how many records the feed is still to be given, going by the size of those before."""
    if feed.reached_end:
        return 0.0
    total, read = source.bytes_total, source.bytes_read
    if not total or not read:
        return math.inf
    return max(1.0, feed.last_number * (total - read) / read)
