"""What a server says about how fast it wants to be asked.

Three conventions, all of them hints and none a promise:

- `Retry-After` (RFC 9110 section 10.2.3), seconds or a date, on an error.  It wins over the others.
- `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), structured fields:
  `"name";r=50;t=30` says that 50 are left for the next 30 seconds, `"name";q=100;w=60` that the policy
  of this name allows 100 in any 60 seconds.  A policy that does not count requests (`qu`) is none of
  our business.  Also the form of draft 7, `limit=100, remaining=50, reset=30`.
- `RateLimit-Limit`, `-Remaining` and `-Reset`, the same with `X-` before it, or as `X-Rate-Limit-…`.  The
  reset is in seconds from now, or a time in seconds or milliseconds since 1970: its size tells.

Where several quotas are told, the strictest counts.  While more than half of a quota is left nobody is
slowed down: that half may be used at once, the other is spread evenly over the time that it is for.  A
quota that is used up is a pause until there is a new one.

Times are taken from the answer's own Date where it has one, so that no clock need be right.  What cannot
be understood is ignored.  No pause, and no time between two requests, is longer than the user allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from livepost.delivery.http_date import parse_http_date
from livepost.delivery.structured import parse_list
from livepost.wire.message import Fields

_RETRY_AFTER = b"retry-after"
_DATE = b"date"
_RATE_LIMIT = b"ratelimit"
_POLICY = b"ratelimit-policy"
_PREFIXES = (b"ratelimit-", b"x-ratelimit-", b"x-rate-limit-")
HINT_NAMES = frozenset((_RETRY_AFTER, _RATE_LIMIT, _POLICY)) | {
    prefix + end for prefix in _PREFIXES for end in (b"limit", b"remaining", b"reset")
}

_NUMBER = re.compile(rb"([0-9]{1,18})(?:\.([0-9]{1,18}))?")
_LEADING_NUMBER = re.compile(rb"([0-9]{1,15})(?:$|[ ,;])")
_DRAFT_7 = re.compile(rb"(limit|remaining|reset)=([0-9]{1,15})")

_FIRST_ERROR = 400
_LONGEST_DELTA_SECONDS = 1e9
_FIRST_MILLISECONDS = 1e11
_LAST_MILLISECONDS = 1e14
_MOST_REQUESTS = 10**12
_SECONDS_A_YEAR = 31_556_952


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `requests` within the next `seconds`, of which `at_once` need not be spread."""

    requests: int
    seconds: float
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class ServerHint:
    """What an answer asks for; both, one or none."""

    pause_seconds: float | None = None
    """Send nothing for so long."""
    pace: Pace | None = None


class _Quota(NamedTuple):
    """What is left of a quota, for how long, of how much; None: not said."""

    remaining: int | None
    seconds: float | None
    limit: int | None
    window: float | None = None


_NOTHING = ServerHint()


class HintReader:
    """Reads the hints in answers.  `wall_clock` gives seconds since 1970, for answers without a Date.

    Answers whose heads are the same bytes share their fields, and a server repeats itself: asked again
    about the same fields it answers from memory, if they hold the Date that gives them their meaning.  So
    `read` may be called for the last of many answers that came together, or for each.
    """

    __slots__ = ("_fields", "_hint", "_longest_pause_seconds", "_status", "_wall_clock")

    def __init__(self, longest_pause_seconds: float, wall_clock: Callable[[], float]) -> None:
        self._longest_pause_seconds = longest_pause_seconds
        self._wall_clock = wall_clock
        self._fields: Fields | None = None
        self._status = 0
        self._hint: ServerHint | None = None

    def read(self, status: int, fields: Fields) -> ServerHint | None:
        """What these fields of an answer (lower-case names) ask for; None if nothing."""
        if fields is self._fields and status == self._status:
            return self._hint
        hint = None
        depends_on_clock = False
        for name, _ in fields:
            if name in HINT_NAMES:
                values = _joined(fields)
                depends_on_clock = _DATE not in values
                hint = self._read(status, values)
                break
        self._fields = None if depends_on_clock else fields
        self._status = status
        self._hint = hint
        return hint

    def _read(self, status: int, values: dict[bytes, bytes]) -> ServerHint | None:
        now = _seconds_of_date(values.get(_DATE), self._wall_clock)
        hint = _strictest(_quotas(values, now))
        pause = hint.pause_seconds
        # On a success it says when to ask how the work is going (RFC 9110 section 15.3.3), on a redirect
        # when to follow.
        if status >= _FIRST_ERROR and _RETRY_AFTER in values:
            asked = _retry_after(values[_RETRY_AFTER], now)
            pause = pause if asked is None else asked
        if pause is not None:
            pause = min(pause, self._longest_pause_seconds)
        pace = None if hint.pace is None else self._bounded(hint.pace)
        return ServerHint(pause or None, pace) if pause or pace else None

    def _bounded(self, pace: Pace) -> Pace:
        """The same, but so that the longest pause is also the longest from one request to the next."""
        longest = self._longest_pause_seconds * max(1, pace.requests - pace.at_once)
        return pace if pace.seconds <= longest else Pace(pace.requests, longest, pace.at_once)


def _joined(fields: Fields) -> dict[bytes, bytes]:
    """The fields that matter here; several of one name are one list (RFC 9110 section 5.3)."""
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in HINT_NAMES or name == _DATE:
            values[name] = values[name] + b", " + value if name in values else value
    return values


def _seconds_of_date(value: bytes | None, wall_clock: Callable[[], float]) -> float:
    now = wall_clock()
    date = None if value is None else parse_http_date(value, _year(now))
    return now if date is None else date


def _year(seconds: float) -> int:
    return 1970 + int(seconds // _SECONDS_A_YEAR)


def _retry_after(value: bytes, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return seconds
    date = parse_http_date(value, _year(now))
    return None if date is None else max(0.0, date - now)


def _number(value: bytes | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value) else None


def _count(value: bytes | None) -> int | None:
    """A whole number, also where a list or a parameter follows it (`100, 100;w=60`)."""
    match = None if value is None else _LEADING_NUMBER.match(value)
    return None if match is None else min(int(match[1]), _MOST_REQUESTS)


def _quotas(values: dict[bytes, bytes], now: float) -> list[_Quota]:
    quotas = _structured_quotas(values)
    for prefix in _PREFIXES:
        remaining = _count(values.get(prefix + b"remaining"))
        if remaining is not None:
            reset = _reset(values.get(prefix + b"reset"), now)
            quotas.append(_Quota(remaining, reset, _count(values.get(prefix + b"limit"))))
    return quotas


def _structured_quotas(values: dict[bytes, bytes]) -> list[_Quota]:
    policies = dict(parse_list(values.get(_POLICY, b"")))
    stated = values.get(_RATE_LIMIT, b"")
    members = parse_list(stated)
    if not members:
        old = dict(_DRAFT_7.findall(stated))
        if b"remaining" in old:
            return [_Quota(_count(old[b"remaining"]), _number(old.get(b"reset")), _count(old.get(b"limit")))]
    quotas = []
    for name, parameters in members:
        policy = policies.pop(name, {})
        if _counts_requests(policy):
            quotas.append(
                _Quota(
                    _count(parameters.get(b"r")),
                    _number(parameters.get(b"t")),
                    _count(policy.get(b"q")),
                    _number(policy.get(b"w")),
                )
            )
    # Policies of which it is not said how much is left.
    quotas += [
        _Quota(None, None, _count(policy.get(b"q")), _number(policy.get(b"w")))
        for policy in policies.values()
        if _counts_requests(policy)
    ]
    return quotas


def _counts_requests(policy: dict[bytes, bytes]) -> bool:
    return policy.get(b"qu", b"requests").strip(b'"') == b"requests"


def _reset(value: bytes | None, now: float) -> float | None:
    """Seconds until a quota is renewed."""
    number = _number(value)
    if number is None or number < _LONGEST_DELTA_SECONDS:
        return number
    if number < _FIRST_MILLISECONDS:
        return max(0.0, number - now)
    return max(0.0, number / 1000 - now) if number < _LAST_MILLISECONDS else None


def _strictest(quotas: list[_Quota]) -> ServerHint:
    pauses = [0.0]
    paces = []
    for quota in quotas:
        if quota.remaining == 0:
            pauses.append(_until_renewed(quota))
        elif (pace := _pace(quota)) is not None:
            paces.append(pace)
    slowest = min(paces, key=lambda pace: pace.requests / pace.seconds, default=None)
    return ServerHint(max(pauses) or None, slowest)


def _until_renewed(quota: _Quota) -> float:
    """For how long nothing is left; where that is not said, until the policy would give one more."""
    if quota.seconds is not None:
        return quota.seconds
    return quota.window / quota.limit if quota.window and quota.limit else 0.0


def _pace(quota: _Quota) -> Pace | None:
    remaining, seconds, limit, window = quota
    if remaining is None:
        return Pace(limit, window) if limit and window else None
    seconds = window if seconds is None else seconds
    if not seconds:
        return None
    # A server may count in steps, or lend: what is left may be more than the limit.
    return Pace(remaining, seconds, max(0, remaining - limit // 2) if limit else 0)
