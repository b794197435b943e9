from __future__ import annotations

import pytest

from livepost.cli.fault_grammar import parse_rule
from livepost.errors import ConfigurationError
from livepost.rehearsal.fault_plan import Rule, When
from livepost.rehearsal.faults import Fault, FaultFields, FaultKind, FromNow, TimeForm, fault_of_status
from livepost.rehearsal.reply import After


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.STATUS])
def test_every_kind_is_written_as_it_is_named(kind: FaultKind) -> None:
    assert parse_rule(kind.value) == Rule(Fault(kind), When())


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("503", Rule(fault_of_status(503))),
        ("503:retry-after=2:every=10", Rule(fault_of_status(503, (b"Retry-After", b"2")), When(every=10))),
        ("reset-after-processing:p=0.01", Rule(Fault(FaultKind.RESET_AFTER_PROCESSING), When(0.01))),
        (
            "outage:from=5s:for=20s",
            Rule(Fault(FaultKind.OUTAGE, lasts_seconds=20.0), When(after_seconds=5.0)),
        ),
        ("outage:for=500ms", Rule(Fault(FaultKind.OUTAGE, lasts_seconds=0.5))),
        (
            "refuse:from=5s:to=25s",
            Rule(Fault(FaultKind.REFUSE, lasts_seconds=20.0), When(after_seconds=5.0, before_seconds=25.0)),
        ),
        ("no-accept:from=1m", Rule(Fault(FaultKind.NO_ACCEPT), When(after_seconds=60.0))),
        (
            "outage:from=100:for=2s",
            Rule(Fault(FaultKind.OUTAGE, lasts_seconds=2.0), When(first=100, last=100)),
        ),
        (
            "outage:every=100:from=100:to=500:for=2s",
            Rule(Fault(FaultKind.OUTAGE, lasts_seconds=2.0), When(every=100, first=100, last=500)),
        ),
        ("never:from=100:to=119", Rule(Fault(FaultKind.NEVER), When(first=100, last=119))),
        ("never:from=100:for=20", Rule(Fault(FaultKind.NEVER), When(first=100, last=119))),
        ("never:for=20", Rule(Fault(FaultKind.NEVER), When(first=1, last=20))),
        ("never:from=5s:for=20s", Rule(Fault(FaultKind.NEVER), When(after_seconds=5, before_seconds=25))),
        ("never:to=1.5s", Rule(Fault(FaultKind.NEVER), When(before_seconds=1.5))),
        ("never:processed=no:every=3", Rule(Fault(FaultKind.NEVER, processed=False), When(every=3))),
        ("500:processed=yes", Rule(Fault(FaultKind.STATUS, status=500, processed=True))),
        ("413:early", Rule(Fault(FaultKind.STATUS, status=413, early=True))),
        ("413:early:then=reset", Rule(Fault(FaultKind.STATUS, status=413, early=True, then=After.RESET))),
        ("late:delay=250ms", Rule(Fault(FaultKind.LATE, delay_seconds=0.25))),
        ("trickle:interval=20ms", Rule(Fault(FaultKind.TRICKLE, interval_seconds=0.02))),
        ("cut-body:bytes=3:then=keep", Rule(Fault(FaultKind.CUT_BODY, cut_bytes=3, then=After.KEEP))),
    ],
)
def test_a_spec_and_what_it_means(spec: str, rule: Rule) -> None:
    assert parse_rule(spec) == rule


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("retry-after=soon", ((b"Retry-After", b"soon"),)),
        ("retry-after=-5", ((b"Retry-After", b"-5"),)),
        ("retry-after=99999999999999999999", ((b"Retry-After", b"99999999999999999999"),)),
        ("retry-after=date", ((b"Retry-After", FromNow(TimeForm.HTTP_DATE, 0)),)),
        ("retry-after=date+2m", ((b"Retry-After", FromNow(TimeForm.HTTP_DATE, 120)),)),
        ("retry-after=date-30", ((b"Retry-After", FromNow(TimeForm.HTTP_DATE, -30)),)),
        ("retry-after=epoch", ((b"Retry-After", b"epoch"),)),
        ('retry-after="12:30"', ((b"Retry-After", b"12:30"),)),
        ('location="http://a.example:80/b"', ((b"Location", b"http://a.example:80/b"),)),
        ('header="X-A: b:c":header="X-A:"', ((b"X-A", b"b:c"), (b"X-A", b""))),
        (
            "ratelimit=ietf:limit=9:remaining=8:reset=7:window=6",
            ((b"RateLimit-Policy", b'"default";q=9;w=6'), (b"RateLimit", b'"default";r=8;t=7')),
        ),
        (
            "ratelimit=triple",
            ((b"RateLimit-Limit", b"100"), (b"RateLimit-Remaining", b"0"), (b"RateLimit-Reset", b"1")),
        ),
        (
            "ratelimit=x:reset=epoch+5s",
            (
                (b"X-RateLimit-Limit", b"100"),
                (b"X-RateLimit-Remaining", b"0"),
                (b"X-RateLimit-Reset", FromNow(TimeForm.EPOCH_SECONDS, 5)),
            ),
        ),
    ],
)
def test_the_fields_of_an_answer(options: str, fields: FaultFields) -> None:
    assert parse_rule(f"429:{options}").fault == fault_of_status(429, *fields)
    assert parse_rule(f"usual:{options}").fault == Fault(FaultKind.USUAL, fields=fields)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "there is no fault without a name"),
        ("outtage", "there is no fault outtage; did you mean outage?"),
        (
            "reset-after-procesing:p=1",
            "there is no fault reset-after-procesing; did you mean reset-after-processing?",
        ),
        ("50", "there is no fault 50"),
        ("status", "there is no fault status"),
        ("999", "999 is not a status to answer with"),
        ("503:evry=10", "there is no option evry; did you mean every?"),
        ("503:", "there is no option without a name"),
        ("503:every", "every needs a value"),
        ("503:every=", "every needs a value"),
        ("413:early=yes", "early takes no value"),
        ("503:every=2:every=3", "every is given twice"),
        ("late:early", "late takes no early"),
        ("late:bytes=3", "late takes no bytes"),
        ("503:every=x", "every is x"),
        ("503:every=0", "requests are counted from 1"),
        ("503:p=often", "p is often"),
        ("503:p=2", "the probability is 2"),
        ("503:from=5s:to=9", "requests and times are mixed"),
        ("503:to=5:for=5", "to and for are both given"),
        ("outage:to=5s:for=5s", "to and for are both given"),
        ("503:from=9:to=5", "nothing is from request 9 to 5"),
        ("503:to=0s", "nothing is from 0 s to 0 s"),
        ("503:from=soon", "'soon' is not a time; write 90, 1.5s, 500ms, 2m or 1h"),
        ("outage:for=20", "for has no unit"),
        ("never:processed=maybe", "processed is maybe"),
        ("cut-body:then=rest", "the connection cannot rest; did you mean reset?"),
        ("503:reset=3", "reset is given without ratelimit"),
        ("503:ratelimit=itef", "there is no ratelimit=itef; did you mean ietf?"),
        ("503:ratelimit=ietf:reset=epoch", "RateLimit has no moments"),
        ("503:ratelimit=x:limit=many", "limit is many"),
        ("503:header=X", "'X' is not a field"),
        ('503:header="X', "a quote is not closed"),
        ('503:header="X: a\nb"', "'X: a\\nb' is not a field"),
        ("413:early:processed=yes", "an early 413 neither processes the record nor keeps the connection"),
    ],
)
def test_a_mistake_is_named_and_what_to_do_about_it(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rule(spec)
    assert str(caught.value) == f"--fail {spec}: {message}"
    assert caught.value.hint


def test_the_hint_lists_what_a_kind_takes() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rule("never:delay=1s")
    assert caught.value.hint == "it takes processed, p, every, from, to, for"
