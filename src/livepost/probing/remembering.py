"""What a probe has measured, kept for later deliveries to the same server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from livepost.config import DeliveryOptions
from livepost.net.fact import Fact, Source, Subject
from livepost.net.origin import Origin
from livepost.net.origin_memory import OriginMemory, cache_directory
from livepost.probing.facts import OriginFacts, facts_of
from livepost.probing.findings import Findings


def remember(
    findings: Findings,
    options: DeliveryOptions,
    *,
    wall_clock: Callable[[], float] = time.time,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """Store it where deliveries look for it; what went wrong with that, a sentence each, for a person.

    Hints are not stored: a delivery reads them itself, from its first answer.
    """
    problems: list[str] = []
    facts = facts_of(findings, options.target)
    directory = cache_directory(environment)
    if facts is not None and directory is not None:
        # Whatever proxy there may be, there are no facts of what is behind it.
        origin = Origin.of(options.target, None, options.route.unix_socket)
        memory = OriginMemory(directory, wall_clock, problems.append)
        found = measured(facts)
        known = memory.load(origin).get(Subject.ANSWERED_CAP)
        answered = 0 if findings.cap is None else findings.cap.answered
        if known is not None and answered > known.value and Subject.ANSWERED_CAP not in found:
            # Nothing else would ever show that: a delivery ends its connections there.
            found[Subject.ANSWERED_CAP] = Fact(0.0, Source.CONTRADICTED, facts.learned.timestamp())
        memory.store(origin, found)
    return problems


def measured(facts: OriginFacts) -> dict[Subject, Fact]:
    """Those that the server has shown, each as of the end of the probe."""
    values = {
        Subject.IDLE_LIMIT: facts.idle_limit_seconds,
        Subject.IDLE_OUTLIVED: facts.idle_survived_seconds,
        # A server that ends each connection after one request has no cap: it does not keep connections.
        (Subject.REQUEST_CAP if facts.is_cap_announced else Subject.ANSWERED_CAP): (
            None if facts.request_cap == 1 else facts.request_cap
        ),
    }
    at = facts.learned.timestamp()
    return {
        subject: Fact(float(value), Source.PROBED, at)
        for subject, value in values.items()
        if value is not None
    }
