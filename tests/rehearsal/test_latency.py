from __future__ import annotations

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.latency import Latency


def test_without_jitter_every_answer_takes_the_same_time() -> None:
    assert {Latency(0.02).draw() for _ in range(10)} == {0.02}


def test_jitter_is_on_both_sides_and_never_more() -> None:
    drawn = [Latency(0.02, 0.01).draw() for _ in range(1000)]
    assert 0.01 <= min(drawn) < 0.012
    assert 0.028 < max(drawn) <= 0.03


@pytest.mark.parametrize(("seconds", "jitter"), [(0.01, 0.02), (-1.0, 0.0)])
def test_no_answer_comes_before_its_request(seconds: float, jitter: float) -> None:
    with pytest.raises(ConfigurationError, match="cannot vary by"):
        Latency(seconds, jitter)
