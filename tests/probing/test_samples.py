from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from probing_peers import NOW

from livepost.probing.findings import RoundTrip
from livepost.probing.samples import Samples
from livepost.wire.message import Response


def dated(moment: datetime, *fields: tuple[bytes, bytes]) -> Response:
    date = f"{moment.astimezone(UTC):%a, %d %b %Y %H:%M:%S} GMT".encode()
    return Response(200, ((b"date", date), *fields), b"")


class Wall:
    """The time of day, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_round_trips_are_told_by_their_least_and_their_middle() -> None:
    samples = Samples(lambda: NOW)
    for seconds in (0.3, 0.1, 0.2):
        samples.connected(seconds)
    for hundredth in range(1, 201):
        samples.answered(hundredth / 100, Response(200, (), b""))
    assert samples.round_trip() == RoundTrip(3, 0.1, 0.2, 200, 0.01, 1.005, 1.98)


def test_without_samples_nothing_is_known() -> None:
    samples = Samples(lambda: NOW)
    assert samples.round_trip() == RoundTrip(0, None, None, 0, None, None, None)
    assert samples.clock_skew() is None


def test_one_date_tells_the_skew_within_its_second_and_the_round_trip() -> None:
    samples = Samples(lambda: NOW)
    # Ours says .5 when the answer is here, and .3 when it was asked.
    samples.answered(0.2, dated(NOW.replace(microsecond=0)))
    skew = samples.clock_skew()
    assert skew is not None
    assert skew.seconds == pytest.approx(0.1)
    assert skew.uncertainty_seconds == pytest.approx(0.6)


def test_many_dates_narrow_it() -> None:
    wall = Wall()
    samples = Samples(wall)
    ahead = timedelta(seconds=7.25)
    for _ in range(20):
        wall.now += timedelta(seconds=0.1)
        samples.answered(0.0, dated(wall.now + ahead))
    skew = samples.clock_skew()
    assert skew is not None
    assert skew.uncertainty_seconds <= 0.05 + 1e-6
    assert abs(skew.seconds - 7.25) <= skew.uncertainty_seconds + 1e-6


def test_dates_of_several_clocks_leave_all_that_they_say_possible() -> None:
    samples = Samples(lambda: NOW)
    samples.answered(0.0, dated(NOW))
    samples.answered(0.0, dated(NOW - timedelta(seconds=10)))
    skew = samples.clock_skew()
    assert skew is not None
    assert skew.seconds == pytest.approx(-5.0)
    assert skew.uncertainty_seconds == pytest.approx(5.5)


@pytest.mark.parametrize("response", [dated(NOW, (b"age", b"5")), Response(200, ((b"date", b"now"),), b"")])
def test_a_date_from_a_cache_or_of_no_known_form_says_nothing(response: Response) -> None:
    samples = Samples(lambda: NOW)
    samples.answered(0.1, response)
    assert samples.clock_skew() is None
