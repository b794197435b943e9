from __future__ import annotations

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.faults import FaultFields, FromNow, TimeForm
from livepost.rehearsal.rate_limit_fields import RateLimitForm, rate_limit_fields

EPOCH = FromNow(TimeForm.EPOCH_SECONDS, 9)


@pytest.mark.parametrize(
    ("form", "reset", "fields"),
    [
        (
            RateLimitForm.IETF,
            30,
            ((b"RateLimit-Policy", b'"default";q=50;w=20'), (b"RateLimit", b'"default";r=7;t=30')),
        ),
        (
            RateLimitForm.TRIPLE,
            30,
            ((b"RateLimit-Limit", b"50"), (b"RateLimit-Remaining", b"7"), (b"RateLimit-Reset", b"30")),
        ),
        (
            RateLimitForm.X,
            EPOCH,
            ((b"X-RateLimit-Limit", b"50"), (b"X-RateLimit-Remaining", b"7"), (b"X-RateLimit-Reset", EPOCH)),
        ),
    ],
)
def test_the_three_ways_to_say_it(form: RateLimitForm, reset: int | FromNow, fields: FaultFields) -> None:
    assert rate_limit_fields(form, limit=50, remaining=7, reset=reset, window_seconds=20) == fields


def test_a_structured_field_has_no_moments() -> None:
    with pytest.raises(ConfigurationError, match="RateLimit has no moments"):
        rate_limit_fields(RateLimitForm.IETF, reset=EPOCH)
