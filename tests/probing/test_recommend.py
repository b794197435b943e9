from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing_peers import NOW

from livepost.cli.send import make_parser
from livepost.probing.findings import (
    AddressFound,
    Certificate,
    ClockSkew,
    Contact,
    Ending,
    Findings,
    IdleConnection,
    IdleLimit,
    KeepAliveHint,
    LookUp,
    Pings,
    RequestCap,
    RoundTrip,
    Tls,
    TlsHandshake,
)
from livepost.probing.recommend import Recommendation, idle_limit_seconds, margin_seconds, recommend

CONTACT = Contact("HEAD", 200, "HTTP/1.1", True, None, None)
TRIP = RoundTrip(5, 0.01, 0.01, 100, 0.01, 0.02, 0.1)
CERTIFICATE = Certificate("a.test", (), "An Authority", NOW, 100.0, True)
HANDSHAKE = TlsHandshake("TLSv1.3", True, 0.03, True, 0.02)
TLS = Tls("TLSv1.3", "h2", CERTIFICATE, (HANDSHAKE,))
BASE = Findings("https://a.test/", "/health", NOW, is_complete=True, contact=CONTACT, round_trip=TRIP)


def advised(**changes: Any) -> Recommendation:
    return recommend(dataclasses.replace(BASE, **changes))


def flags(**changes: Any) -> list[str]:
    return [advice.flag for advice in advised(**changes).advice]


def contact(**changes: Any) -> Contact:
    return dataclasses.replace(CONTACT, **changes)


def idle(limit: float | None, survived: float | None = None, dropped: float | None = None) -> IdleLimit:
    return IdleLimit(limit, survived, dropped, (IdleConnection(1.0 if limit is None else limit, Ending.FIN),))


def test_where_nothing_is_known_nothing_is_recommended() -> None:
    assert advised(contact=None, round_trip=None) == Recommendation((), ())


@pytest.mark.parametrize(
    ("median", "number", "words"),
    [
        (0.0001, 4, "enough for 1,000 records/s"),
        (0.02, 20, "enough for 1,000 records/s"),
        (0.0641, 64, "good for 998 records/s"),
        (0.2, 64, "good for 320 records/s"),
    ],
)
def test_there_are_as_many_connections_as_the_time_of_an_answer_takes(
    median: float, number: int, words: str
) -> None:
    trip = dataclasses.replace(TRIP, request_median_seconds=median)
    (advice,) = advised(round_trip=trip).advice
    assert advice.flag == f"--connections {number}"
    assert words in advice.reason


def test_without_keep_alive_the_handshake_counts_too() -> None:
    found = advised(contact=contact(keeps_alive=False), tls=dataclasses.replace(TLS, alpn=None))
    assert [advice.flag for advice in found.advice] == ["--connections 60"]
    assert "every record costs a handshake" in found.notes[0]


@pytest.mark.parametrize(
    ("settings", "number"),
    [({}, 100), ({"max_concurrent_streams": 250}, 100), ({"max_concurrent_streams": 8}, 8)],
)
def test_over_http_2_one_connection_is_filled(settings: dict[str, int], number: int) -> None:
    assert flags(contact=contact(http_version="HTTP/2"), http2_settings=settings) == [
        f"--connections {number}"
    ]


def test_http_2_without_tls_must_be_asked_for() -> None:
    found = flags(contact=contact(http_version="HTTP/2"), http2_settings={}, is_http2_without_tls=True)
    assert found[0] == "--http2-prior-knowledge"


def test_http_2_that_does_not_work_is_avoided() -> None:
    assert flags(tls=TLS)[0] == "--http1.1"
    assert "--http1.1" not in flags(tls=TLS, contact=contact(http_version="HTTP/2"))


@pytest.mark.parametrize(
    ("seen", "hint", "limit"),
    [
        (None, None, None),
        (idle(None), None, None),
        (idle(75.0), None, 75.0),
        (idle(2.9), None, 2.0),
        (idle(75.0), KeepAliveHint(60.0, None), 60.0),
        (idle(5.0), KeepAliveHint(60.0, None), 5.0),
        (None, KeepAliveHint(5.0, None), 5.0),
        (None, KeepAliveHint(None, 100), None),
        (idle(None, 60.0, 120.0), None, 60.0),
        (idle(300.0, 60.0, 120.0), KeepAliveHint(75.0, None), 60.0),
        # That it was forgotten is seen late: before the first pause that was survived, nothing is sure.
        (idle(None, None, 60.0), None, 4.0),
        (idle(None, None, 3.0), None, 3.0),
        (idle(None, 130.0), None, None),
    ],
)
def test_the_least_that_anything_says_is_the_limit(
    seen: IdleLimit | None, hint: KeepAliveHint | None, limit: float | None
) -> None:
    assert idle_limit_seconds(dataclasses.replace(BASE, idle=seen, keep_alive_hint=hint)) == limit


@pytest.mark.parametrize(
    ("limit", "round_trip", "margin"),
    [(75.0, 0.01, 0.5), (75.0, 0.4, 1.0), (75.0, 3.0, 2.0), (2.0, 3.0, 1.0), (0.3, 0.01, 0.15)],
)
def test_the_margin_is_two_round_trips_within_bounds(limit: float, round_trip: float, margin: float) -> None:
    assert margin_seconds(limit, round_trip) == pytest.approx(margin)


@pytest.mark.parametrize(
    ("limit", "flag"),
    [
        (75.0, "74.5s"),
        (75.0049, "74.5s"),
        (5.0, "4.5s"),
        (1.0, "0.5s"),
        (0.3, "0.15s"),
        (2.09, "1.5s"),
        (0.0, "0.001s"),
    ],
)
def test_the_idle_timeout_is_the_limit_less_the_margin_rounded_down(limit: float, flag: str) -> None:
    assert flags(idle=idle(limit), via_proxy="p.test:3128")[1] == f"--idle-timeout {flag}"


def test_the_reason_is_not_surer_than_what_was_measured() -> None:
    seen = (idle(None, 60.0, 106.0), idle(None, None, 106.0))
    reasons = [advised(idle=one).advice[2].reason for one in seen]
    assert reasons[0].startswith("connections are sure to live for 1 min 0 s: ")
    assert reasons[1].startswith("connections are forgotten, and none outlived a pause before: ")


def test_a_pause_that_was_survived_beyond_the_default_is_used() -> None:
    assert flags(idle=idle(None, 130.04)) == ["--connections 20", "--idle-timeout 130s"]
    assert flags(idle=idle(None, 60.0)) == ["--connections 20"]


@pytest.mark.parametrize(
    ("status", "path", "is_named"),
    [
        (200, "'/a;b&c'", True),
        (200, "/health", True),
        (204, "/", True),
        (404, "/health", False),
        (302, "/", False),
        (200, "/?", False),
    ],
)
def test_a_path_that_answers_is_one_to_ask_after_pauses(status: int, path: str, is_named: bool) -> None:
    found = flags(contact=contact(status=status), path=path.strip("'"), idle=idle(75.0))
    heartbeats = [f"--keepalive-path {path}", "--keepalive-every auto"]
    assert found[1:] == (heartbeats if is_named else ["--idle-timeout 74.5s"])


@pytest.mark.parametrize(
    ("limit", "round_trip", "advice"),
    [
        # A delivery closes connections after 90 s, before they would be asked.
        (90.0, 0.01, ["--idle-timeout 89.5s"]),
        (89.9, 0.01, ["--keepalive-path /health", "--keepalive-every auto"]),
        (2.0, 0.01, ["--keepalive-path /health", "--keepalive-every auto"]),
        # From half of the limit, or a second, until the margin there is no time.
        (1.4, 0.01, ["--keepalive-path /health"]),
        (1.9, 2.0, ["--keepalive-path /health"]),
    ],
)
def test_heartbeats_are_advised_only_where_they_would_be_sent(
    limit: float, round_trip: float, advice: list[str]
) -> None:
    trip = dataclasses.replace(TRIP, request_p99_seconds=round_trip)
    assert flags(idle=idle(limit), round_trip=trip)[1:] == advice


@pytest.mark.parametrize(("is_remembered", "proxy"), [(False, None), (True, "p.test:3128")])
def test_a_delivery_that_does_not_know_the_limit_must_be_told_it(
    is_remembered: bool, proxy: str | None
) -> None:
    found = dataclasses.replace(BASE, idle=idle(75.0), via_proxy=proxy)
    advice = recommend(found, is_remembered=is_remembered).advice
    assert [one.flag for one in advice[1:]] == ["--idle-timeout 74.5s"]


@given(
    limit=st.floats(0.01, 4000.0),
    median=st.floats(0.0, 30.0),
    is_http2=st.booleans(),
    keeps_alive=st.booleans(),
    status=st.sampled_from((200, 404)),
)
def test_send_understands_what_is_recommended(
    limit: float, median: float, is_http2: bool, keeps_alive: bool, status: int
) -> None:
    version = "HTTP/2" if is_http2 else "HTTP/1.1"
    found = flags(
        contact=contact(http_version=version, keeps_alive=keeps_alive, status=status),
        round_trip=dataclasses.replace(TRIP, request_median_seconds=median, request_p99_seconds=median),
        idle=idle(limit),
    )
    parsed = make_parser().parse([word for flag in found for word in flag.split(" ")])
    assert 1 <= parsed.max_conns_per_host <= 100
    if keeps_alive:
        # One or the other: an idle timeout before the limit would leave nothing to be tried.
        assert ("keepalive_path" in parsed) is (status == 200 and limit < 90)
        assert ("idle_conn_timeout" in parsed) is not ("keepalive_path" in parsed)
        assert 0 < getattr(parsed, "idle_conn_timeout", limit / 2) < limit


NOTES: list[tuple[dict[str, Any], str]] = [
    ({"contact": contact(status=401)}, "answers HEAD with 401: give the credentials with -H"),
    ({"contact": contact(status=404)}, "answers HEAD with 404: fine for a probe, but is it the right URL?"),
    ({"contact": contact(status=405)}, "405, as to every safe method"),
    ({"contact": contact(status=500)}, "the path answers HEAD with 500"),
    ({"contact": contact(status=301, location="https://b.test/")}, "a redirect to https://b.test/, which"),
    ({"contact": contact(status=302)}, "302, a redirect, which was not followed"),
    ({"contact": contact(http_version="HTTP/1.0")}, "the server speaks HTTP/1.0"),
    (
        {"tls": dataclasses.replace(TLS, certificate=dataclasses.replace(CERTIFICATE, days_left=3.9))},
        "the certificate expires in 3 days",
    ),
    (
        {"tls": dataclasses.replace(TLS, certificate=dataclasses.replace(CERTIFICATE, days_left=-1.0))},
        "the certificate has expired",
    ),
    (
        {"tls": dataclasses.replace(TLS, handshakes=(dataclasses.replace(HANDSHAKE, resumes=False),))},
        "TLS sessions are not resumed",
    ),
    (
        {"cap": RequestCap(100, None, 100, Ending.ANNOUNCED, 1.0, None)},
        "after 100 requests: at least 10 handshakes per 1,000 records",
    ),
    (
        {"cap": RequestCap(1000, None, 1000, Ending.ANNOUNCED, 9.0, None)},
        "after 1,000 requests: at least 1 handshake per 1,000 records",
    ),
    (
        {"cap": RequestCap(None, 2.0, 382, Ending.ANNOUNCED, 2.1, None)},
        "connections end when they are 2 s old",
    ),
    (
        {"cap": RequestCap(None, None, 382, Ending.ANNOUNCED, 2.1, None)},
        "ended after 382 requests, 2.1 s old: which of the two it was could not be told",
    ),
    (
        {"cap": RequestCap(None, None, 7, None, 2.0, "the server answered 429")},
        "the server answered 429 after 7 requests in 2 s: set --rate",
    ),
    ({"idle": idle(None, 130.0)}, "no idle limit was seen: --max-wait"),
    ({"idle": idle(None, 60.0, 120.0)}, "without a word within 2 min 0 s"),
    (
        {"idle": idle(5.0), "keep_alive_hint": KeepAliveHint(65.0, None)},
        "the server says 1 min 5 s, but closes after 5 s",
    ),
    (
        {"look_up": LookUp("a", 0.1, (AddressFound("::1", None, "no"), AddressFound("::2", 0.1, None)))},
        "no connection can be made to ::1, although",
    ),
    ({"pings": Pings(3, 2, 0.1, None, False)}, "takes PINGs for an attack"),
    ({"clock_skew": ClockSkew(-60.0, 0.5)}, "the server's clock is 1 min 0 s behind this machine's"),
    ({"clock_skew": ClockSkew(6.0, 0.5)}, "the server's clock is 6 s ahead of this machine's"),
]


@pytest.mark.parametrize(("changes", "words"), NOTES)
def test_what_else_is_worth_knowing_is_noted(changes: dict[str, Any], words: str) -> None:
    assert [note for note in advised(**changes).notes if words in note]


def test_where_all_is_well_nothing_is_noted() -> None:
    found = advised(
        tls=dataclasses.replace(TLS, alpn="http/1.1"),
        idle=idle(75.0),
        keep_alive_hint=KeepAliveHint(75.0, None),
        cap=RequestCap(None, None, 1_100, None, 3.0, "no more were to be sent"),
        clock_skew=ClockSkew(5.3, 0.5),
        pings=Pings(3, 3, 0.1, False, True),
        look_up=LookUp("a.test", 0.1, (AddressFound("::1", 0.1, None),)),
    )
    assert found.notes == ()
