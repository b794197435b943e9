from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.net import suspend
from livepost.net.suspend import SuspendWatch


def test_time_awake_is_no_sleep() -> None:
    watch = SuspendWatch(100.0, 5000.0)
    assert watch.slept(160.0, 5060.0) == 0.0
    assert watch.slept(100_160.0, 105_060.0) == 0.0


def test_a_sleep_is_told_once_and_how_long_it_was() -> None:
    watch = SuspendWatch(100.0, 5000.0)
    assert watch.slept(110.0, 5610.0) == pytest.approx(600.0)
    assert watch.slept(111.0, 5611.0) == 0.0
    assert watch.slept(111.0, 5621.0) == pytest.approx(10.0)


def test_a_clock_that_is_slewed_is_no_sleep() -> None:
    """A day without a look, and 500 ppm of it: 43 s."""
    watch = SuspendWatch(0.0, 0.0)
    assert watch.slept(86_400.0, 86_443.0) == 0.0
    assert watch.slept(86_401.0, 86_444.9) == 0.0
    assert watch.slept(86_402.0, 86_447.5) == pytest.approx(1.6)


def test_a_clock_that_is_set_back_is_no_sleep_and_does_not_hide_a_later_one() -> None:
    watch = SuspendWatch(0.0, 5000.0)
    assert watch.slept(10.0, 1410.0) == 0.0
    assert watch.slept(20.0, 1480.0) == pytest.approx(60.0)


def test_the_best_clock_that_goes_on_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert suspend.running_clock()() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5.0)
        monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert suspend.running_clock() is time.time


@given(st.lists(st.tuples(st.floats(0.0, 1e5), st.sampled_from([0.0, 0.0, 100.0, 3600.0])), max_size=20))
def test_every_sleep_is_told(happened: list[tuple[float, float]]) -> None:
    watch = SuspendWatch(0.0, 1e6)
    monotonic, running = 0.0, 1e6
    for awake, asleep in happened:
        monotonic += awake
        running += awake + asleep
        assert watch.slept(monotonic, running) == pytest.approx(asleep, abs=1e-6)
