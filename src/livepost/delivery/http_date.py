"""The dates of HTTP, all three forms that a recipient must take (RFC 9110 section 5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = rb"(?P<month>[A-Z][a-z]{2})"
_FORMS = (
    # Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(rb"[A-Z][a-z]{2}, (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT"),
    # Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(
        rb"[A-Z][a-z]{5,8}, (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" GMT"
    ),
    # Sun Nov  6 08:49:37 1994
    re.compile(rb"[A-Z][a-z]{2} " + _MONTH + rb" (?P<day>[0-9 ][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"),
)
_LEAP_SECOND = 60


def parse_http_date(value: bytes, this_year: int) -> float | None:
    """Seconds since 1970, or None for what is no date.

    A year of two digits is the last such year that is not more than 50 years after `this_year`.
    """
    for form in _FORMS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += this_year // 100 * 100
        year += 100 if year + 50 <= this_year else -100 if year > this_year + 50 else 0
    second = int(match["second"])
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            second - 1 if second == _LEAP_SECOND else second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return moment.timestamp()
