"""What `livepost serve --help` says about `--profile`."""

from __future__ import annotations

import textwrap

from livepost.rehearsal.limits import Hint, IdleEnding, ServerLimits
from livepost.rehearsal.profiles import PROFILES, Profile, Source
from livepost.report.wording import counted

_TABLE_COLUMNS = 80

_MARKS = {Source.CODE: "code", Source.DOCUMENTATION: "docs", Source.MEMORY: "memory"}
_IDLE_ENDINGS = {
    IdleEnding.TIMEOUT_ANSWER: "answers 408",
    IdleEnding.RESET: "resets",
    IdleEnding.FORGET: "forgets, later RST",
    IdleEnding.VANISH: "vanishes",
}


def table_of_profiles(width: int = 80) -> str:
    """All of them, for --help in so many columns: without room for a table, a list."""
    if width >= _TABLE_COLUMNS:
        return "\n".join(
            (
                "real servers by default, --profile NAME:",
                f"  {'NAME':13} {'IDLE':>4} {'REQUESTS':>8} {'AGE':>3} {'H2':>4} FROM   REMARKS",
                *map(_line, PROFILES.values()),
                "  IDLE: then it closes, unless remarked.  REQUESTS, AGE: their end is announced.",
                "  H2: streams at a time, - if it speaks no HTTP/2.  hints: Keep-Alive fields.",
                "  PINGs: of HTTP/2, count as a sign of life unless remarked.  FROM: its source",
                "  code, its documentation, or memory, not verified.",
            )
        )
    listed = [line for profile in PROFILES.values() for line in _wrapped(_item(profile), width, further=2)]
    explained = (
        "idle: then it closes, unless remarked.  requests, age: their end is announced.  "
        "streams: at a time, over HTTP/2.  hints: Keep-Alive fields.  "
        "PINGs: of HTTP/2, count as a sign of life unless remarked.  "
        "code, docs, memory: from its source code, its documentation, or memory, not verified."
    )
    title = textwrap.wrap("real servers by default, --profile NAME:", width)
    return "\n".join((*title, *listed, *_wrapped(explained, width)))


def described(limits: ServerLimits) -> str:
    """The limits of a connection in a few words; nothing if there are none."""
    parts = []
    if limits.idle_timeout is not None:
        ending = _IDLE_ENDINGS.get(limits.idle_ending, "")
        parts.append(f"idle {_time(limits.idle_timeout)}" + (f" ({ending})" if ending else ""))
    if limits.max_requests is not None:
        parts.append(f"{limits.max_requests} requests")
    if limits.max_age is not None:
        parts.append(f"age {_time(limits.max_age)}")
    if not limits.announces and (limits.max_requests is not None or limits.max_age is not None):
        parts.append("ends unannounced")
    if limits.hint is not Hint.NONE:
        parts.append(f"Keep-Alive: {limits.hint.value}")
    return ", ".join(parts)


def _line(profile: Profile) -> str:
    limits = profile.limits
    idle = "-" if limits.idle_timeout is None else _time(limits.idle_timeout)
    age = "-" if limits.max_age is None else _time(limits.max_age)
    streams = str(limits.max_streams) if profile.http2 else "-"
    requests = str(limits.max_requests or "-")
    line = f"  {profile.name:13} {idle:>4} {requests:>8} {age:>3} {streams:>4} {_MARKS[profile.source]:6}"
    return f"{line} {'; '.join(_remarks(profile))}".rstrip()


def _item(profile: Profile) -> str:
    limits = profile.limits
    parts = [] if limits.idle_timeout is None else [f"idle {_time(limits.idle_timeout)}"]
    parts += [] if limits.max_requests is None else [counted(limits.max_requests, "request")]
    parts += [] if limits.max_age is None else [f"age {_time(limits.max_age)}"]
    parts += [counted(limits.max_streams, "stream")] if profile.http2 else []
    return f"{profile.name}: {'; '.join((', '.join(parts), _MARKS[profile.source], *_remarks(profile)))}"


def _wrapped(text: str, width: int, *, further: int = 0) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent=" " * (2 + further))


def _remarks(profile: Profile) -> list[str]:
    limits = profile.limits
    remarks = []
    if limits.hint is not Hint.NONE:
        remarks.append("hints" if limits.hints_unasked else "hints if asked")
    if limits.idle_ending in _IDLE_ENDINGS:
        remarks.append(_IDLE_ENDINGS[limits.idle_ending])
    if not limits.pings_count:
        remarks.append("PINGs do not count")
    if profile.note:
        remarks.append(profile.note)
    return remarks


def _time(seconds: float) -> str:
    if seconds >= 3600 and seconds % 3600 == 0:
        return f"{seconds / 3600:g}h"
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"
