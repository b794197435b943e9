from __future__ import annotations

from typing import Any

import pytest

from livepost.errors import ConfigurationError
from livepost.probing.options import ProbeOptions


def test_the_methods_that_change_nothing_are_tried_in_turn_unless_one_is_chosen() -> None:
    assert ProbeOptions().methods == ("HEAD", "GET", "OPTIONS")
    assert ProbeOptions(method="GET").methods == ("GET",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "POST"},
        {"method": "get"},
        {"max_wait": 0.0},
        {"max_wait": float("inf")},
        {"max_requests": 0},
        {"path": "health"},
    ],
)
def test_what_would_change_something_or_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ProbeOptions(**wrong)
    assert caught.value.hint
