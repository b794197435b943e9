"""After how long a server closes an idle connection, decided from all that is known of it.

    what it says, unless two closes came sooner  >  closes that were seen  >  what an earlier run knew
    >  what connections have outlived  >  4 s

With 4 s most servers can be trusted (gunicorn's default is shorter, 2 s).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from livepost.net.fact import Fact, Source, Subject
from livepost.net.idle_evidence import IdleEvidence, as_configured, is_clearly_longer

DEFAULT_IDLE_LIMIT_SECONDS = 4.0

# What the margin of `liveness` allows for, at least.
_SOONER_SECONDS = 0.5


class IdleLimit:
    """Decides on the limit, `fact`, from all that is known of it.

    `facts` is what is worth remembering, and what turned out to be wrong.  `wall_clock` dates it, `now` is of
    a clock that never goes back.
    """

    __slots__ = ("_evidence", "_hint", "_outlived", "_remembered", "_wall_clock", "fact", "facts")

    def __init__(
        self, wall_clock: Callable[[], float], remembered: Fact | None = None, outlived: Fact | None = None
    ) -> None:
        self.fact = Fact(DEFAULT_IDLE_LIMIT_SECONDS, Source.DEFAULT, wall_clock())
        self.facts: dict[Subject, Fact] = {}
        self._wall_clock = wall_clock
        self._remembered = remembered
        if remembered is not None:
            # A probe stores what it has measured.
            self._remembered = dataclasses.replace(remembered, value=as_configured([remembered.value]))
        self._outlived = outlived
        self._hint: Fact | None = None
        self._evidence = IdleEvidence()
        self._decide()

    @property
    def outlived(self) -> float:
        """The longest idle time, in seconds, that a connection is known to have lived, in whatever run."""
        return 0.0 if self._outlived is None else self._outlived.value

    @property
    def shortest(self) -> float | None:
        """The shortest idle time of the closes that count, in seconds; None if there are none."""
        return self._evidence.shortest

    @property
    def times_seen(self) -> int:
        """At how many moments closes showed the limit."""
        return self._evidence.times_seen

    def hinted(self, seconds: float) -> bool:
        """The server says so; whether that is new."""
        if self._hint is not None and self._hint.value == seconds:
            return False
        self._hint = Fact(seconds, Source.HINT, self._wall_clock())
        self._decide()
        return True

    def closed(self, idle_seconds: float, now: float) -> None:
        """The server has closed a connection that was idle for so long."""
        self._evidence.closed(idle_seconds, now)
        self._note_life(idle_seconds)
        self._decide(is_seen_again=True)

    def broke(self, now: float) -> None:
        """The server has closed or reset a busy connection."""
        self._evidence.broke(now)
        self._decide()

    def lived(self, idle_seconds: float) -> None:
        """A connection was idle for so long and was not closed."""
        remembered = self._remembered
        is_news = remembered is not None and is_clearly_longer(idle_seconds, remembered.value)
        if is_news or idle_seconds > self.outlived or self._evidence.has_shorter(idle_seconds):
            self._evidence.lived(idle_seconds)
            self._note_life(idle_seconds)
            self._decide()

    def _note_life(self, idle_seconds: float) -> None:
        remembered = self._remembered
        if remembered is not None and is_clearly_longer(idle_seconds, remembered.value):
            self._remembered = None
            # What was learned meanwhile stands.
            if self.fact.source is not Source.LEARNED:
                self._keep(Subject.IDLE_LIMIT, 0.0, Source.CONTRADICTED)
        if idle_seconds > max(self.outlived, DEFAULT_IDLE_LIMIT_SECONDS):
            self._outlived = self._keep(Subject.IDLE_OUTLIVED, idle_seconds, Source.OUTLIVED)

    def _decide(self, *, is_seen_again: bool = False) -> None:
        limit = self._evidence.limit
        if self._hint is not None and not self._is_contradicted(self._hint):
            self.fact = self.facts[Subject.IDLE_LIMIT] = self._hint
        elif limit is not None:
            if self.fact.value != limit or self.fact.source is not Source.LEARNED or is_seen_again:
                self.fact = self._keep(Subject.IDLE_LIMIT, limit, Source.LEARNED)
        else:
            if self.fact.source is Source.LEARNED:
                # The closes that it was learned from have been dismissed.
                self._keep(Subject.IDLE_LIMIT, 0.0, Source.CONTRADICTED)
            default = Fact(DEFAULT_IDLE_LIMIT_SECONDS, Source.DEFAULT, self._wall_clock())
            self.fact = self._remembered or self._outlived or default

    def _is_contradicted(self, hint: Fact) -> bool:
        sooner = hint.value - min(_SOONER_SECONDS, hint.value / 2)
        shortest = self._evidence.shortest
        return shortest is not None and shortest < sooner and self._evidence.times_seen > 1

    def _keep(self, subject: Subject, value: float, source: Source) -> Fact:
        fact = self.facts[subject] = Fact(value, source, self._wall_clock())
        return fact
