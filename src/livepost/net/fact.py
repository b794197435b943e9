"""One thing that is known of a server: how much, from where, since when."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Source(enum.Enum):
    """Where a fact comes from."""

    DEFAULT = "default"
    """Nothing is known: what is safe with most servers."""
    REMEMBERED = "remembered"
    """From an earlier run."""
    OUTLIVED = "outlived"
    """Connections have been idle for so long and were not closed: it is at least this."""
    LEARNED = "learned"
    """From what the server did."""
    PROBED = "probed"
    """Measured on purpose."""
    HINT = "hint"
    """The server says so."""
    CONTRADICTED = "contradicted"
    """What was known has turned out to be wrong, and nothing is known instead."""


class Subject(enum.Enum):
    """What a fact is about."""

    IDLE_LIMIT = "idle_limit"
    """Seconds after which the server closes an idle connection."""
    IDLE_OUTLIVED = "idle_outlived"
    """Seconds for which connections have been idle without being closed."""
    REQUEST_CAP = "request_cap"
    """How many requests the server takes on one connection."""
    ANSWERED_CAP = "answered_cap"
    """How many it answers on one, before it ends that without a word, or although it had taken others."""
    MAXIMUM_AGE = "maximum_age"
    """Seconds from its beginning after which the server ends a connection, at its next request."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A value in seconds or requests (see `Subject`), its source, and when it was last confirmed.

    `at` is in seconds since 1970.
    """

    value: float
    source: Source
    at: float
