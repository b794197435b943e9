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

_WIDE = 60

EXAMPLES = (
    "503:retry-after=2:every=10",
    "reset-after-processing:p=0.01",
    "outage:from=5s:for=20s",
    "429:ratelimit=ietf:reset=3:from=100:for=5",
    "413:early:every=50",
)


def table_of_faults(width: int = 80) -> str:
    """All kinds and options, for --help in so many columns; examples, to be copied, stay whole."""
    kinds = [
        (_name(kind), "yes" if traits.processed else "no", traits.does) for kind, traits in TRAITS.items()
    ]
    options = [(option, "", does) for option, does in _EXPLAINED]
    return "\n".join(
        (
            *_wrapped("what can be done wrong, --fail KIND[:OPTION]...", width),
            *_wrapped("(the word after the kind: whether the record is processed)", width, indent=2),
            *_table(kinds, width),
            "",
            "when and how:",
            *_table(options, width),
            "",
            *_wrapped("over HTTP/2 (--http2) some are not what they are over HTTP/1.1:", width),
            *_table(_over_http2(), width),
            "",
            *_wrapped("Of several --fail, the first that applies wins.  GET /stats never fails.", width),
            "examples:",
            *(f"  --fail {example}" for example in EXAMPLES),
        )
    )


def _over_http2() -> Iterator[tuple[str, str, str]]:
    for kind in TRAITS:
        does = OVER_HTTP2.get(kind, "refused: a head is a whole frame")
        if does != AS_EVER:
            yield _name(kind), "", does


def _name(kind: FaultKind) -> str:
    return "NNN, as 503" if kind is FaultKind.STATUS else kind.value


def _table(rows: Iterable[tuple[str, str, str]], width: int) -> Iterator[str]:
    """A word or a few, one about it, and what it means: beside that, or below where there is no room."""
    for words, mark, meaning in rows:
        head = f"{words:24}{mark}"
        if width >= _WIDE:
            yield from _wrapped(f"{head:28}{meaning}", width, indent=2, further=28)
        else:
            yield from _wrapped(" ".join(head.split()), width, indent=2, further=2)
            yield from _wrapped(meaning, width, indent=6)


def _wrapped(text: str, width: int, *, indent: int = 0, further: int = 0) -> list[str]:
    first, others = " " * indent, " " * (indent + further)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)
