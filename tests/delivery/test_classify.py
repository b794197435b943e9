from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.classify import (
    Reason,
    Rules,
    Ruling,
    Sign,
    Verdict,
    in_spite_of,
    is_safe_to_repeat,
    is_safe_to_repeat_now,
)
from livepost.errors import ConfigurationError
from livepost.model import Outcome, Sent, State
from livepost.policy import OutcomeOptions, RetryOptions
from livepost.wire.message import Response

ONCE = RetryOptions()
TWICE = RetryOptions(at_least_once=True)
KEYED = RetryOptions(idempotency_key="Idempotency-Key")
RAW = RetryOptions(idempotency_key="Idempotency-Key", idempotency_key_format="raw")
EVERY_STATUS = range(200, 1000)


def rules(
    retry: RetryOptions = ONCE,
    *,
    method: bytes = b"POST",
    success_on: str = "",
    reject_on: str = "",
    retry_on: str = "",
    location: bool = False,
) -> Rules:
    return Rules(method, retry, OutcomeOptions(success_on, reject_on, retry_on, location))


def cell(ruling: Ruling) -> tuple[Verdict, State, Sign]:
    return ruling.verdict, ruling.outcome.state, ruling.sign


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"])
def test_these_methods_are_safe_to_repeat(method: bytes) -> None:
    assert is_safe_to_repeat(method, ONCE)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"LOCK", b"QUERY"])
def test_others_are_only_where_the_user_says_so(method: bytes) -> None:
    assert not is_safe_to_repeat(method, ONCE)
    assert is_safe_to_repeat(method, TWICE)
    assert is_safe_to_repeat(method, KEYED)


@pytest.mark.parametrize(
    ("now", "then", "is_safe"),
    [
        ((b"PUT", ONCE), (b"PUT", ONCE), True),
        ((b"PUT", KEYED), (b"PUT", ONCE), True),
        ((b"PUT", ONCE), (b"POST", ONCE), False),
        ((b"PUT", ONCE), (b"DELETE", ONCE), False),
        ((b"POST", ONCE), (b"PUT", ONCE), False),
        ((b"POST", KEYED), (b"POST", KEYED), True),
        ((b"POST", KEYED), (b"POST", RetryOptions(idempotency_key="idempotency-key")), True),
        ((b"POST", KEYED), (b"POST", RetryOptions(idempotency_key="X-Key")), False),
        ((b"POST", RAW), (b"POST", KEYED), False),
        ((b"POST", KEYED), (b"POST", ONCE), False),
        ((b"POST", KEYED), (b"POST", TWICE), False),
        ((b"POST", ONCE), (b"POST", KEYED), False),
        ((b"POST", TWICE), (b"POST", ONCE), True),
        ((b"PATCH", TWICE), (b"POST", ONCE), True),
    ],
)
def test_a_repetition_is_known_by_what_the_first_request_had(
    now: tuple[bytes, RetryOptions], then: tuple[bytes, RetryOptions], is_safe: bool
) -> None:
    assert is_safe_to_repeat_now(*now, *then) is is_safe


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207, 299])
@pytest.mark.parametrize("retry", [ONCE, TWICE, KEYED])
def test_2xx_is_delivered(status: int, retry: RetryOptions) -> None:
    ruling = rules(retry).of_status[status]
    assert cell(ruling) == (Verdict.DELIVERED, State.DELIVERED, Sign.WORKS)
    assert ruling.outcome == Outcome(State.DELIVERED, f"status {status}")


@pytest.mark.parametrize("retry", [ONCE, TWICE, KEYED])
@pytest.mark.parametrize(
    ("status", "sign"),
    [(408, Sign.WORKS), (421, Sign.WORKS), (425, Sign.WORKS), (429, Sign.STOP), (503, Sign.STOP)],
)
def test_what_was_not_processed_is_tried_again_whatever_the_method(
    status: int, sign: Sign, retry: RetryOptions
) -> None:
    ruling = rules(retry).of_status[status]
    assert cell(ruling) == (Verdict.TRY_AGAIN, State.REJECTED, sign)
    assert ruling.pauses is (sign is Sign.STOP)
    assert ruling.reason == f"status_{status}"


@pytest.mark.parametrize("status", [500, 502, 504, 520, 521, 522, 523, 524, 529, 530, 599, 600, 999])
def test_what_may_have_been_processed_is_tried_again_only_where_that_is_safe(status: int) -> None:
    assert cell(rules().of_status[status]) == (Verdict.IN_DOUBT, State.IN_DOUBT, Sign.SUSPECT)
    for safe in (rules(TWICE), rules(KEYED), rules(method=b"PUT")):
        assert cell(safe.of_status[status]) == (Verdict.TRY_AGAIN, State.IN_DOUBT, Sign.SUSPECT)


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 410, 413, 422, 451, 501, 505, 506, 507, 508, 510, 511]
)
@pytest.mark.parametrize("retry", [ONCE, TWICE, KEYED])
def test_what_will_not_change_is_rejected(status: int, retry: RetryOptions) -> None:
    assert cell(rules(retry).of_status[status]) == (Verdict.REJECTED, State.REJECTED, Sign.WORKS)


def test_a_conflict_is_a_first_request_still_under_way_where_there_is_a_key() -> None:
    assert rules().of_status[409].verdict is Verdict.REJECTED
    assert rules(TWICE).of_status[409].verdict is Verdict.REJECTED
    assert cell(rules(KEYED).of_status[409]) == (Verdict.TRY_AGAIN, State.REJECTED, Sign.WORKS)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_a_redirect_is_rejected_with_a_hint(status: int) -> None:
    ruling = rules().of_status[status]
    assert cell(ruling) == (Verdict.REJECTED, State.REJECTED, Sign.WORKS)
    hint = "a redirect: give the new address to --to, or follow it with -L"
    assert ruling.outcome.reason == f"status {status}, {hint}"


def test_only_redirects_have_that_hint() -> None:
    with_hint = {status for status in EVERY_STATUS if "-L" in rules().of_status[status].outcome.reason}
    assert with_hint == set(range(300, 400)) - {304}
    assert rules(reject_on="301").of_status[301].outcome.reason == "status 301"


def test_redirects_are_followed_where_the_user_wants_it() -> None:
    following = rules(location=True)
    followed = {status for status in EVERY_STATUS if following.of_status[status].verdict is Verdict.FOLLOW}
    assert followed == {301, 302, 303, 307, 308}
    assert not any("-L" in following.of_status[status].outcome.reason for status in followed)
    assert rules(location=True, reject_on="302").of_status[302].verdict is Verdict.REJECTED


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.REFUSED])
@pytest.mark.parametrize("retry", [ONCE, TWICE, KEYED])
def test_what_cannot_have_been_processed_is_tried_again_and_else_unsent(
    sent: Sent, retry: RetryOptions
) -> None:
    for timed_out in (False, True):
        ruling = rules(retry).of_failure(sent, timed_out=timed_out)
        assert cell(ruling) == (Verdict.TRY_AGAIN, State.UNSENT, Sign.NONE)
        assert ruling.reason == {Sent.NOTHING: "not_sent", Sent.REFUSED: "refused"}[sent]


@pytest.mark.parametrize("sent", [Sent.SOME, Sent.ALL])
def test_without_an_answer_it_is_in_doubt_unless_it_is_safe_to_repeat(sent: Sent) -> None:
    assert cell(rules().of_failure(sent)) == (Verdict.IN_DOUBT, State.IN_DOUBT, Sign.SUSPECT)
    assert cell(rules(TWICE).of_failure(sent)) == (Verdict.TRY_AGAIN, State.IN_DOUBT, Sign.SUSPECT)
    assert rules().of_failure(sent).reason == {Sent.SOME: "partly_sent", Sent.ALL: "no_answer"}[sent]
    assert rules().of_failure(sent, timed_out=True).reason == "timeout"


@pytest.mark.parametrize("retry", [ONCE, TWICE, KEYED])
def test_reasons_are_few_and_hold_nothing_of_the_peers(retry: RetryOptions) -> None:
    table = rules(retry)
    failed = {table.of_failure(sent, timed_out=late).reason for sent in Sent for late in (False, True)}
    assert failed == {reason.value for reason in Reason}
    answered = {table.of_status[status].reason for status in EVERY_STATUS}
    assert all(re.fullmatch(r"status_[2-9][0-9]{2}", reason) for reason in answered)
    assert len(answered) == 800


@given(st.sampled_from(EVERY_STATUS), st.sampled_from([ONCE, TWICE, KEYED]), st.booleans())
def test_the_columns_agree_for_every_status(status: int, retry: RetryOptions, follows: bool) -> None:
    ruling = rules(retry, location=follows).of_status[status]
    final = {
        Verdict.DELIVERED: {State.DELIVERED},
        Verdict.REJECTED: {State.REJECTED},
        Verdict.IN_DOUBT: {State.IN_DOUBT},
        Verdict.TRY_AGAIN: {State.REJECTED, State.IN_DOUBT},
        Verdict.FOLLOW: {State.REJECTED},
    }
    assert ruling.outcome.state in final[ruling.verdict]
    assert ruling.leaves_doubt is (ruling.outcome.state is State.IN_DOUBT)
    if ruling.verdict is Verdict.IN_DOUBT:
        assert not is_safe_to_repeat(b"POST", retry)
    if ruling.pauses:
        assert status in (429, 503)


def test_the_user_changes_what_statuses_mean() -> None:
    table = rules(success_on="409,304", reject_on="503,500", retry_on="404,502,202")
    assert cell(table.of_status[409]) == (Verdict.DELIVERED, State.DELIVERED, Sign.WORKS)
    assert cell(table.of_status[304]) == (Verdict.DELIVERED, State.DELIVERED, Sign.WORKS)
    assert cell(table.of_status[503]) == (Verdict.REJECTED, State.REJECTED, Sign.WORKS)
    assert cell(table.of_status[500]) == (Verdict.REJECTED, State.REJECTED, Sign.WORKS)
    assert cell(table.of_status[404]) == (Verdict.TRY_AGAIN, State.REJECTED, Sign.WORKS)
    assert cell(table.of_status[202]) == (Verdict.TRY_AGAIN, State.REJECTED, Sign.WORKS)
    assert cell(table.of_status[200]) == (Verdict.DELIVERED, State.DELIVERED, Sign.WORKS)


def test_the_user_may_have_tried_again_what_is_not_safe_to_repeat() -> None:
    ruling = rules(retry_on="502,429").of_status[502]
    assert cell(ruling) == (Verdict.TRY_AGAIN, State.IN_DOUBT, Sign.SUSPECT)
    assert rules(retry_on="429").of_status[429].pauses


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"success_on": "409", "reject_on": "4xx"}, "both --success-on and --reject-on name status 409"),
        ({"success_on": "2xx", "retry_on": "202,299"}, "both --success-on and --retry-on name status 202"),
        ({"reject_on": "503", "retry_on": "500-599"}, "both --reject-on and --retry-on name status 503"),
        ({"reject_on": "x"}, "--reject-on: 'x' is not a status code"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(lists: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules(**lists)
    assert str(caught.value) == said
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "state"), [(201, State.DELIVERED), (404, State.REJECTED), (500, State.IN_DOUBT)]
)
def test_the_status_of_an_answer_that_was_cut_off_decides(status: int, state: State) -> None:
    table = rules()
    whole, cut = Response(status, (), b""), Response(status, (), b"half", complete=False)
    assert table.of_answer(whole) is table.of_status[status]
    assert table.of_answer(cut) is table.of_cut_off[status]
    assert table.of_answer(cut).verdict is table.of_answer(whole).verdict
    assert table.of_answer(cut).outcome == Outcome(state, f"status {status}, answer cut off")


def test_a_ruling_is_made_once() -> None:
    table = rules()
    assert 201 not in table.of_status
    first = table.of_status[201]
    assert table.of_status[201] is first
    assert table.of_failure(Sent.ALL) is table.of_failure(Sent.ALL)


def test_only_a_delivery_removes_a_doubt() -> None:
    delivered, in_doubt = Outcome(State.DELIVERED, "status 201"), Outcome(State.IN_DOUBT, "no answer")
    for outcome in (delivered, in_doubt):
        assert in_spite_of(True, outcome) is outcome
    for state in (State.REJECTED, State.UNSENT):
        assert in_spite_of(False, Outcome(state, "status 404")) == Outcome(state, "status 404")
        assert in_spite_of(True, Outcome(state, "status 404")) == Outcome(
            State.IN_DOUBT, "status 404, after an attempt that may have been processed"
        )
