"""What `livepost serve --help` says about `--fail`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from livepost.rehearsal.fault_over_http2 import AS_EVER, OVER_HTTP2
from livepost.rehearsal.faults import TRAITS, FaultKind

_EXPLAINED: tuple[tuple[str, str], ...] = (
    ("p=0.01", "each with this probability; --fail-seed repeats it"),
    ("every=10", "every 10th"),
    ("from=5s  to=25s  for=20s", "from and until these times since the start"),
    ("from=100  to=119  for=20", "the 100th to the 119th request (or connection)"),
    ("", "outage, refuse, no-accept: for= is how long; they begin at a time, or with a request"),
    ("processed=yes|no", "a status, never, garbage: whether the record counts as processed"),
    ("early", "a status: before the body is read, then the connection closes"),
    ("delay=2s", "how long after the request (late: 1s)"),
    ("then=keep|close|drop|reset", "the connection lives on, is closed as announced, or not, or reset"),
    ("bytes=10", "cut-head, cut-body: how many are sent (half)"),
    ("interval=1ms", "trickle: between two bytes"),
    ("retry-after=2", "a field with any text; date+2s is an HTTP date"),
    ("location=/new", "a field"),
    ('header="Name: value"', "any other field; may be repeated"),
    ("ratelimit=ietf|triple|x", "RateLimit and RateLimit-Policy, RateLimit-*, or X-RateLimit-*"),
    ("limit=100 remaining=0", "with reset=1 (or epoch+1) and window=60, what they say"),
)

EXAMPLES = (
    "503:retry-after=2:every=10",
    "reset-after-processing:p=0.01",
    "outage:from=5s:for=20s",
    "429:ratelimit=ietf:reset=3:from=100:for=5",
    "413:early:every=50",
)


def table_of_faults() -> str:
    """All kinds and options, for --help."""
    rows = [
        (f"{_name(kind):24}{'yes' if traits.processed else 'no':4}{traits.does}")
        for kind, traits in TRAITS.items()
    ]
    options = [f"{option:26}  {does}" for option, does in _EXPLAINED]
    return "\n".join(
        (
            "what can be done wrong, --fail KIND[:OPTION]...",
            "  (the word after the kind: whether the record is processed)",
            *_wrapped(rows),
            "",
            "when and how:",
            *_wrapped(options),
            "",
            "over HTTP/2 (--http2) some are not what they are over HTTP/1.1:",
            *_wrapped(_over_http2()),
            "",
            "Of several --fail, the first that applies wins.  GET /stats never fails.",
            "examples:",
            *(f"  --fail {example}" for example in EXAMPLES),
        )
    )


def _over_http2() -> Iterator[str]:
    for kind in TRAITS:
        does = OVER_HTTP2.get(kind, "refused: a head is a whole frame")
        if does != AS_EVER:
            yield f"{_name(kind):24}    {does}"


def _name(kind: FaultKind) -> str:
    return "NNN, as 503" if kind is FaultKind.STATUS else kind.value


def _wrapped(rows: Iterable[str]) -> list[str]:
    return [
        line
        for row in rows
        for line in textwrap.wrap(row, 80, initial_indent="  ", subsequent_indent=" " * 30)
    ]
