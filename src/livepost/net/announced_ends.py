"""How many requests a server takes on one connection, and how old it lets one become, as it says or shows.

It shows it by the ends that it announces (`Connection: close`, GOAWAY).  The same number of requests twice
is a cap (nginx: 1,000, Apache: 101).  Ages that repeat within a few percent are a maximum age (nginx: one
hour), where the number of requests does not explain the end.  A connection that carries more, or clearly
outlives it, or is not ended where it should be, shows that it was none.

A hint (`Keep-Alive: max`) gives the cap at once, unless it is another with every answer, or has turned out to
be wrong: some servers say the same always.

Some servers say goodbye and then leave requests unanswered that they had taken (hypercorn 0.18: all that are
open with the 1,001st).  What they answered before, twice about as many, is then a cap that `is_ours`: we end
the connection there, as it must not come so far.  Others end a connection without a word behind an answer:
the same number of them twice, and no other number in between, is one, too, if no connection has carried more.
In both cases the second connection must have been opened when the first had ended: those that a restart
breaks at a time say nothing.  For later runs it is
a fact of its own (ANSWERED_CAP), as each time that it is found out puts records in doubt.  Nothing disproves
it while it is kept to, so it is found out anew once it is too old to be remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from livepost.net.fact import Fact, Source, Subject
from livepost.net.hand_over import HandOverReason

_SAME_AGE = 0.03
_CLEARLY_OLDER = 1.05
_SHORTEST_MAXIMUM_AGE_SECONDS = 10.0
_REMEMBERED_ENDS = 8
_HINTS_BELIEVED = 3
_FEWEST_WORTH_A_HANDSHAKE = 100
_FEWEST_FOR_A_CAP = 2
_ALIKE = 0.1


class AnnouncedEnds:
    """Reckons `cap` and `maximum_age`, which may be known from earlier runs; so may `answered_cap`.

    `facts` is what is worth remembering, and what turned out to be wrong.  `wall_clock` dates it.
    """

    __slots__ = (
        "_ages",
        "_disproved",
        "_hinted",
        "_hints",
        "_let_down",
        "_most_answered",
        "_requests",
        "_silent",
        "_wall_clock",
        "cap",
        "facts",
        "is_ours",
        "maximum_age",
    )

    def __init__(
        self,
        wall_clock: Callable[[], float],
        cap: Fact | None = None,
        maximum_age: Fact | None = None,
        answered_cap: Fact | None = None,
    ) -> None:
        if answered_cap is not None and (
            answered_cap.value < _FEWEST_FOR_A_CAP or (cap is not None and cap.at > answered_cap.at)
        ):
            answered_cap = None
        self.cap = answered_cap or cap
        """In requests; None if it is not known."""
        self.maximum_age = maximum_age
        """In seconds; None if it is not known."""
        self.is_ours = answered_cap is not None
        """The cap is where we end a connection, and not what the server says or shows; that is final."""
        self.facts: dict[Subject, Fact] = {}
        self._wall_clock = wall_clock
        self._requests: deque[int] = deque(maxlen=_REMEMBERED_ENDS)
        self._ages: deque[float] = deque(maxlen=_REMEMBERED_ENDS)
        self._hinted = 0
        self._disproved = 0
        """The cap that the server named, and did not keep to."""
        self._hints = 0
        """How many different caps the server has named."""
        self._let_down = _Ends()
        self._silent = _Ends()
        self._most_answered = 0
        """On one connection, however it ended."""

    def hinted(self, cap: int) -> None:
        """The server says that it takes so many requests on a connection."""
        if self.is_ours:
            return
        if cap != self._hinted:
            self._hinted = cap
            self._hints += 1
            if self._hints > _HINTS_BELIEVED and self.cap is not None and self.cap.source is Source.HINT:
                self._forget_cap()
        is_believed = cap != self._disproved and self._hints <= _HINTS_BELIEVED
        if is_believed and (self.cap is None or self.cap.value != cap):
            self.cap = self._learn(Subject.REQUEST_CAP, cap, Source.HINT)

    def announced(self, requests: int, age_seconds: float) -> None:
        """The server ended a connection after so many requests, at this age."""
        self._most_answered = max(self._most_answered, requests - 1)
        self._check_age(age_seconds)
        if not self.is_ours:
            self._learn_cap(requests)
        is_explained = self.cap is not None and requests == self.cap.value
        if not is_explained and age_seconds >= _SHORTEST_MAXIMUM_AGE_SECONDS:
            self._learn_age(age_seconds)

    def explains(self, requests: int, age_seconds: float) -> HandOverReason | None:
        """Which known limit explains such an end; None: none."""
        if self.cap is not None and requests == self.cap.value and not self.is_ours:
            return HandOverReason.CAP
        age = self.maximum_age
        return HandOverReason.AGE if age is not None and age_seconds >= (1 - _SAME_AGE) * age.value else None

    def unannounced(self, requests: int, age_seconds: float) -> None:
        """So many requests were answered on a connection, this old, and its end was not announced."""
        # The last of them may have had no answer.
        self._most_answered = max(self._most_answered, requests - 1)
        if self.cap is not None and requests >= self.cap.value and not self.is_ours:
            self._forget_cap()
        self._check_age(age_seconds)

    def let_down(self, answered: int, opened_at: float, now: float) -> None:
        """The server ended a connection as announced, and left requests unanswered that it had taken.

        It had answered so many before.
        """
        before = self._let_down.repeated(answered, opened_at, now, within=_ALIKE * answered)
        if before is not None and answered >= _FEWEST_WORTH_A_HANDSHAKE:
            self._end_at(min(answered, before))

    def fell_silent(self, answered: int, opened_at: float, now: float, *, carried_elsewhere: int) -> None:
        """The server ended a connection without a word, right behind so many answers.

        A live connection has carried as many as `carried_elsewhere`.
        """
        self._most_answered = max(self._most_answered, answered, carried_elsewhere)
        before = self._silent.repeated(answered, opened_at, now)
        # One that ends each connection behind one answer may be in trouble, and that may pass.
        if before is not None and answered >= _FEWEST_FOR_A_CAP and self._most_answered == answered:
            self._end_at(answered)

    def _end_at(self, answered: int) -> None:
        if self.cap is not None and not self.is_ours:
            # Nor is what is remembered of use for a later run.
            self._forget_cap()
        self.cap = self._learn(Subject.ANSWERED_CAP, answered, Source.LEARNED)
        self.is_ours = True

    def _learn_cap(self, requests: int) -> None:
        if self.cap is not None and requests > self.cap.value:
            self._forget_cap()
        # A server that ends each connection after one request has no cap: it does not keep connections.
        if requests > 1:
            if requests in self._requests or (self.cap is not None and requests == self.cap.value):
                self.cap = self._learn(Subject.REQUEST_CAP, requests, Source.LEARNED)
            self._requests.append(requests)

    def _learn_age(self, age_seconds: float) -> None:
        like = [age for age in self._ages if abs(age - age_seconds) <= _SAME_AGE * max(age, age_seconds)]
        if self.maximum_age is not None:
            known = self.maximum_age.value
            like += [known] if abs(known - age_seconds) <= _SAME_AGE * max(known, age_seconds) else []
        if like:
            self.maximum_age = self._learn(Subject.MAXIMUM_AGE, min(*like, age_seconds), Source.LEARNED)
        self._ages.append(age_seconds)

    def _check_age(self, age_seconds: float) -> None:
        if self.maximum_age is not None and age_seconds > _CLEARLY_OLDER * self.maximum_age.value:
            self.maximum_age = None
            self._ages.clear()
            self._learn(Subject.MAXIMUM_AGE, 0.0, Source.CONTRADICTED)

    def _forget_cap(self) -> None:
        if self.cap is not None and self.cap.value == self._hinted:
            self._disproved = self._hinted
        self.cap = None
        self._requests.clear()
        self._learn(Subject.REQUEST_CAP, 0.0, Source.CONTRADICTED)

    def _learn(self, subject: Subject, value: float, source: Source) -> Fact:
        fact = self.facts[subject] = Fact(value, source, self._wall_clock())
        return fact


class _Ends:
    """The last number of answers behind which connections ended, and when the first of these did."""

    __slots__ = ("_answered", "_at")

    def __init__(self) -> None:
        self._answered = 0
        self._at = 0.0

    def repeated(self, answered: int, opened_at: float, now: float, within: float = 0.0) -> int | None:
        """The number before if this is the same again, on a connection that was opened after that end."""
        before = self._answered
        is_same = before > 0 and abs(answered - before) <= within
        if is_same and opened_at < self._at:
            return None
        self._answered = answered
        self._at = now
        return before if is_same else None
