"""What an attempt means for its record, and what it says of the destination: the one table.

Rows are what came of the attempt: an answer's status, or how much had been sent when there was no
answer.  Columns are whether the request is safe to repeat: its method is (RFC 9110 section 9.2.2), or
the user says that the server tells repetitions apart (an idempotency key) or that they do no harm
(at least once).

    | what came of it                          | not safe to repeat | safe      | no try left | sign    |
    |------------------------------------------|--------------------|-----------|-------------|---------|
    | nothing sent, or refused unprocessed     | try again          | try again | unsent      | none    |
    | sent in part or in full, and no answer   | in doubt           | try again | in doubt    | suspect |
    | 2xx                                      | delivered          | delivered |             | works   |
    | 301 302 303 307 308 where followed       | follow             | follow    |             | works   |
    | 3xx                                      | rejected           | rejected  |             | works   |
    | 408 421 425                              | try again          | try again | rejected    | works   |
    | 409 with an idempotency key              |                    | try again | rejected    | works   |
    | 429 503                                  | try again          | try again | rejected    | stop    |
    | 4xx                                      | rejected           | rejected  |             | works   |
    | 501 505 506 507 508 510 511              | rejected           | rejected  |             | works   |
    | 5xx, and what is no status (600 to 999)  | in doubt           | try again | in doubt    | suspect |

Where no connection can be made there is no attempt, and no record to judge (`Brake.dial_failed`).

Try again means after a pause that grows, and within a budget while there are fresh records (`retry`,
`budget`).  The first row is told apart: the server has looked at nothing yet (a connection at the end of its
requests, GOAWAY, a stream refused), so the first time that a record fails like this it goes again at once,
over another connection, and the budget is not asked.  It counts as a try, and later ones are like any other.

Why: 408, 421, 425, 429 and 503 say that the request was not processed.  500, 502 and 504 do not, and
neither do the inventions of content delivery networks (520 to 530): whoever answered may have passed
the request on.  RFC 9110 section 15 has an unknown 5xx, and any code from 600, taken as a 500.  501,
505, 506, 508 and 510 say that the server cannot do this at all; 507 (RFC 4918) that it did not, and
must not be asked again unless a person asks; 511 comes from a network before the server.  409 is how a
server says that the first request with this key is still under way (the draft on Idempotency-Key).

A 2xx counts as delivered also where it came before the whole request had gone out, or any of its body.  Such
an answer does not depend on the rest (RFC 9113 section 8.1), as from a server that answers by the head alone;
what it means is for the server to say, and there is no other evidence: one that reads a body and throws it
away looks the same.

`--success-on`, `--reject-on` and `--retry-on` each give the statuses they name to their column, over
the table.  A status of `--retry-on` is tried again even where that is not safe: the user said so.  What
a status says of the destination stays, but one that the user calls a success or a rejection stops
nothing.

An attempt that may have been processed leaves a doubt that no later attempt removes but a delivery: a
PUT that got no answer and then no connection is not unsent, a DELETE that got no answer and then a 404
is not rejected.  Whoever tries a record again remembers `leaves_doubt` and ends it by `in_spite_of`.
"""

from __future__ import annotations

import enum

import msgspec

from livepost.delivery.statuses import parse_statuses
from livepost.errors import ConfigurationError
from livepost.model import Outcome, Sent, State
from livepost.policy import OutcomeOptions, RetryOptions
from livepost.wire.message import Response

SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

FOLLOWED_STATUSES = frozenset((301, 302, 303, 307, 308))

# The rows of the table.
_UNPROCESSED = frozenset((408, 421, 425, 429, 503))
_STOPPING = frozenset((429, 503))
_NEVER_DONE = frozenset((501, 505, 506, 507, 508, 510, 511))
_STILL_UNDER_WAY = 409

_REDIRECT_HINT = ", a redirect: give the new address to --to, or follow it with -L"


class Verdict(enum.Enum):
    """What to do with a record after an attempt."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    TRY_AGAIN = "try_again"
    """Later; if it may not be tried any more, it ends with the ruling's outcome."""
    FOLLOW = "follow"
    """Ask where the answer points (see `redirect`)."""


class Sign(enum.Enum):
    """What an attempt says of the destination as a whole (see `brake`)."""

    NONE = "none"
    """Nothing: the connection was to blame."""
    WORKS = "works"
    SUSPECT = "suspect"
    """Once means little, a run of it means that the destination is ill."""
    STOP = "stop"
    """It takes nothing now: leave it alone for a while."""


class Reason(enum.Enum):
    """Why an attempt without an answer ended.  With an answer, the reason is `status_NNN`."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    PARTLY_SENT = "partly_sent"
    NO_ANSWER = "no_answer"
    TIMEOUT = "timeout"
    """Sent in part or in full, and the time for its answer ran out."""


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """What one cell of the table says.  Made once for each cell, never per record."""

    verdict: Verdict
    reason: str
    """The value of a `Reason`, or `status_` and three digits: a key to count by."""
    sign: Sign
    outcome: Outcome
    """How the record ends now, or would if it may not be tried again."""

    @property
    def pauses(self) -> bool:
        """Whether all of the destination should be left alone for a while."""
        return self.sign is Sign.STOP

    @property
    def is_unseen(self) -> bool:
        """Whether nothing of the request came so far that the server looked at it."""
        return self.outcome.state is State.UNSENT

    @property
    def leaves_doubt(self) -> bool:
        """Whether the record may have been processed for all this attempt shows."""
        return self.outcome.state is State.IN_DOUBT


_FAILED = {
    Sent.NOTHING: (Reason.NOT_SENT, Sign.NONE),
    Sent.REFUSED: (Reason.REFUSED, Sign.NONE),
    Sent.SOME: (Reason.PARTLY_SENT, Sign.SUSPECT),
    Sent.ALL: (Reason.NO_ANSWER, Sign.SUSPECT),
}
_MAY_BE_PROCESSED = frozenset((Sent.SOME, Sent.ALL))


def is_safe_to_repeat(method: bytes, options: RetryOptions) -> bool:
    """Whether a second delivery of the same record does no harm."""
    return method in SAFE_METHODS or options.at_least_once or options.idempotency_key is not None


def is_safe_to_repeat_now(
    method: bytes, options: RetryOptions, method_then: bytes, options_then: RetryOptions
) -> bool:
    """Whether a record may be delivered again that a request of other options may have delivered then.

    That a server knows a repetition by its key, or by its method, it can only of requests that have the same.
    """
    if options.at_least_once:
        return True
    if method != method_then:
        return False
    return method in SAFE_METHODS or _have_same_key(options, options_then)


def _have_same_key(one: RetryOptions, other: RetryOptions) -> bool:
    if one.idempotency_key is None or other.idempotency_key is None:
        return False
    is_same_name = one.idempotency_key.lower() == other.idempotency_key.lower()
    return is_same_name and one.idempotency_key_format == other.idempotency_key_format


def in_spite_of(doubt: bool, outcome: Outcome) -> Outcome:
    """How a record ends after an attempt that left a doubt, or did not: delivered, or else in doubt."""
    if not doubt or outcome.state in (State.DELIVERED, State.IN_DOUBT):
        return outcome
    return Outcome(State.IN_DOUBT, f"{outcome.reason}, after an attempt that may have been processed")


class Rules:
    """The table for one run.

    `of_status[status]` and, for answers that were cut off, `of_cut_off[status]` are a look-up in a
    dict; `of_answer` chooses between the two.  Raises ConfigurationError for lists of statuses that
    are malformed or contradict each other.
    """

    def __init__(self, method: bytes, retry: RetryOptions, outcome: OutcomeOptions) -> None:
        self.is_safe_to_repeat = is_safe_to_repeat(method, retry)
        self._has_key = retry.idempotency_key is not None
        self._follows = outcome.location
        self._chosen = _chosen(outcome)
        self.of_status = _ByStatus(self, "")
        self.of_cut_off = _ByStatus(self, ", answer cut off")
        self._of_failure = {
            (sent, timed_out): self._failure(sent, timed_out) for sent in Sent for timed_out in (False, True)
        }

    @property
    def named(self) -> frozenset[int]:
        """Statuses of which the user has said what they mean."""
        return frozenset(self._chosen)

    def of_answer(self, response: Response) -> Ruling:
        """The ruling on an answer: its status alone decides, also where its body was cut off."""
        return (self.of_status if response.complete else self.of_cut_off)[response.status]

    def of_failure(self, sent: Sent, *, timed_out: bool = False) -> Ruling:
        """The ruling on an attempt that had no answer."""
        return self._of_failure[sent, timed_out]

    def _failure(self, sent: Sent, timed_out: bool) -> Ruling:
        reason, sign = _FAILED[sent]
        if sent not in _MAY_BE_PROCESSED:
            verdict, state = Verdict.TRY_AGAIN, State.UNSENT
        else:
            verdict = Verdict.TRY_AGAIN if self.is_safe_to_repeat else Verdict.IN_DOUBT
            state = State.IN_DOUBT
            reason = Reason.TIMEOUT if timed_out else reason
        return Ruling(verdict, reason.value, sign, Outcome(state, reason.value.replace("_", " ")))

    def make_ruling(self, status: int, addition: str) -> Ruling:
        """The ruling on a status, as the table has it; `addition` ends its text for people."""
        verdict, state = self._verdict(status)
        sign = _sign(status)
        is_redirect = 300 <= status < 400 and status != 304 and status not in self._chosen
        if is_redirect and verdict is Verdict.REJECTED:
            addition += _REDIRECT_HINT
        match self._chosen.get(status):
            case Verdict.TRY_AGAIN:
                verdict = Verdict.TRY_AGAIN
                state = State.REJECTED if state is State.DELIVERED else state
            case Verdict.DELIVERED:
                verdict, state, sign = Verdict.DELIVERED, State.DELIVERED, Sign.WORKS
            case Verdict.REJECTED:
                verdict, state, sign = Verdict.REJECTED, State.REJECTED, Sign.WORKS
        outcome = Outcome(state, f"status {status}{addition}")
        return Ruling(verdict, f"status_{status}", sign, outcome)

    def _verdict(self, status: int) -> tuple[Verdict, State]:
        if 200 <= status < 300:
            return Verdict.DELIVERED, State.DELIVERED
        if self._follows and status in FOLLOWED_STATUSES:
            return Verdict.FOLLOW, State.REJECTED
        if status in _UNPROCESSED or (status == _STILL_UNDER_WAY and self._has_key):
            return Verdict.TRY_AGAIN, State.REJECTED
        if status < 500 or status in _NEVER_DONE:
            return Verdict.REJECTED, State.REJECTED
        return (Verdict.TRY_AGAIN if self.is_safe_to_repeat else Verdict.IN_DOUBT), State.IN_DOUBT


class _ByStatus(dict[int, Ruling]):
    """Rulings by status, each made when it is first asked for."""

    def __init__(self, rules: Rules, addition: str) -> None:
        super().__init__()
        self._rules = rules
        self._addition = addition

    def __missing__(self, status: int) -> Ruling:
        ruling = self[status] = self._rules.make_ruling(status, self._addition)
        return ruling


def _sign(status: int) -> Sign:
    if status in _STOPPING:
        return Sign.STOP
    return Sign.SUSPECT if status >= 500 and status not in _NEVER_DONE else Sign.WORKS


def _chosen(options: OutcomeOptions) -> dict[int, Verdict]:
    """What the user says of statuses."""
    lists = (
        ("--success-on", options.success_on, Verdict.DELIVERED),
        ("--reject-on", options.reject_on, Verdict.REJECTED),
        ("--retry-on", options.retry_on, Verdict.TRY_AGAIN),
    )
    chosen: dict[int, Verdict] = {}
    said_by: dict[int, str] = {}
    for option, text, meaning in lists:
        for status in sorted(parse_statuses(text, option)):
            if status in chosen:
                raise ConfigurationError(
                    f"both {said_by[status]} and {option} name status {status}", "name it in one of them"
                )
            chosen[status] = meaning
            said_by[status] = option
    return chosen
