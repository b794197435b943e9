from __future__ import annotations

from typing import Any

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.limits import Hint, ServerLimits


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"idle_timeout": 0.0}, "idle timeout is 0 s"),
        ({"max_age": -1.0}, "max age is -1 s"),
        ({"max_requests": 0}, "max requests is 0"),
        ({"max_streams": 0}, "max streams is 0"),
    ],
)
def test_a_limit_that_nothing_can_keep_is_refused(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServerLimits(**limits)
    assert str(caught.value) == said
    assert caught.value.hint


def test_only_limits_that_show_in_answers_change_them() -> None:
    assert not ServerLimits(idle_timeout=1).change_answers
    assert ServerLimits(max_requests=1).change_answers
    assert ServerLimits(max_age=1).change_answers
    assert ServerLimits(hint=Hint.TIMEOUT).change_answers


@pytest.mark.parametrize(("seconds", "told"), [(None, 0), (0.3, 0), (5, 5), (5.9, 5)])
def test_a_hint_tells_whole_seconds_rounded_down(seconds: float | None, told: int) -> None:
    assert ServerLimits(idle_timeout=seconds).hint_seconds == told
