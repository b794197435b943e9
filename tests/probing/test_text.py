from __future__ import annotations

import dataclasses
import itertools
import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from probing_peers import NOW

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
from livepost.probing.recommend import Advice, Recommendation, recommend
from livepost.probing.text import as_text

NOTHING = Recommendation((), ())
ALL = Findings(
    *("https://a.test/api", "/health", NOW),
    seconds=75.3,
    is_complete=True,
    via_proxy="p.test:3128",
    look_up=LookUp(
        "a.test",
        0.0031,
        (AddressFound("192.0.2.1", 0.012, None), AddressFound("2001:db8::1", None, "no route")),
    ),
    connected_to="192.0.2.1:443",
    contact=Contact("HEAD", 200, "HTTP/2", True, "nginx", None),
    tls=Tls(
        "TLSv1.3",
        "h2",
        Certificate("a.test", ("a.test",), "An Authority", datetime(2027, 1, 1, tzinfo=UTC), 36.5, True),
        (TlsHandshake("TLSv1.2", False, None, None, None), TlsHandshake("TLSv1.3", True, 0.025, True, 0.014)),
    ),
    keep_alive_hint=KeepAliveHint(75.0, 999),
    idle=IdleLimit(
        75.02, 60.0, None, (IdleConnection(60.0, Ending.REUSED), IdleConnection(75.02, Ending.FIN))
    ),
    cap=RequestCap(1000, None, 1000, Ending.ANNOUNCED, 11.0, None),
    http2_settings={"max_concurrent_streams": 128, "initial_window_size": 65_536},
    pings=Pings(4, 4, 0.011, False, True),
    round_trip=RoundTrip(5, 0.0101, 0.0112, 1012, 0.0105, 0.011, 0.014),
    clock_skew=ClockSkew(-0.21, 0.04),
    connections_opened=14,
    requests_sent=1013,
    troubles=("handshakes: one was lost",),
)

SHOWN = """\
https://a.test/api
proxy         p.test:3128
addresses     192.0.2.1 (TCP in 12 ms), 2001:db8::1 (no connection),
              looked up in 3.1 ms
connected to  192.0.2.1:443
TLSv1.2       not offered
TLSv1.3       used, handshake in 25 ms, resumed in 14 ms
ALPN          h2
certificate   a.test, issued by An Authority, until 2027-01-01 (36 days)
answer        HEAD /health answers 200, HTTP/2, nginx
keep-alive    works
hint          timeout=75, max=999
idle limit    1 min 15 s (fin), used again after 1 min 0 s, 2 connections
request cap   1,000 requests (announced), in 11 s
HTTP/2        max_concurrent_streams 128, initial_window_size 65,536
PING          does not reset the idle timer, 4 of 4 answered, the first in 11 ms
TCP           min 10.1 ms, median 11.2 ms, of 5
answers       min 10.5 ms, median 11 ms, of 1,012
clock         210 ms behind ours, +/- 40 ms
asked with    14 connections, 1,013 requests, in 1 min 15 s
note: it is late
note: handshakes: one was lost

recommended:
  livepost send FILE... --to https://a.test/api

  --connections 100     as many as fit
  --idle-timeout 74.5s  a margin"""


def test_everything_is_shown() -> None:
    advice = (Advice("--connections 100", "as many as fit"), Advice("--idle-timeout 74.5s", "a margin"))
    recommendation = Recommendation(advice, ("it is late",))
    command = "livepost send FILE... --to https://a.test/api"
    assert as_text(ALL, recommendation, command, 80) == SHOWN


NARROW = """\
https://a.test/api
idle limit    1 min 15 s (fin),
              used again after
              1 min 0 s, 2 connections
asked with    14 connections,
              1,013 requests,
              in 1 min 15 s
note: a connection ends after
  1,000 requests: at least 1 handshake
  per 1,000 records
note: handshakes: one was lost

recommended:
  livepost send FILE... --to https://a.test/api

  --keepalive-every auto
    connections live for 1 min 15 s"""


def test_on_a_narrow_terminal_text_is_wrapped_and_what_is_to_be_copied_is_not() -> None:
    some = Findings(
        *("https://a.test/api", "/health", NOW),
        seconds=75.3,
        is_complete=True,
        idle=ALL.idle,
        connections_opened=14,
        requests_sent=1013,
        troubles=ALL.troubles,
    )
    advice = (Advice("--keepalive-every auto", "connections live for 1 min 15 s"),)
    recommendation = Recommendation(advice, recommend(dataclasses.replace(ALL, tls=None, look_up=None)).notes)
    assert as_text(some, recommendation, "livepost send FILE... --to https://a.test/api", 38) == NARROW


@given(st.integers(0, 120))
def test_the_text_keeps_to_the_width_and_numbers_to_their_units(width: int) -> None:
    found = dataclasses.replace(ALL, idle=IdleLimit(None, 60.0, 106.2, ()), clock_skew=ClockSkew(-60.2, 0.04))
    advised = recommend(found)
    command = "livepost send FILE... --to https://a.test/api --keepalive-path /health --keepalive-every auto"
    shown = as_text(found, advised, command, width)
    lines = shown.splitlines()
    whole = {f"  {command}", *(f"  {advice.flag}" for advice in advised.advice)}
    assert max(len(line) for line in lines if line not in whole) <= max(width, 24)
    assert f"  {command}" in lines
    for line, following in itertools.pairwise(lines):
        if line[-1:].isdigit():
            assert not re.match(" *(ms|s|min|h|days?|connections?|requests?|records?)\\b", following), shown
    # Whatever the width, the same is said.
    as_ever = as_text(found, advised, command, 500)
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", as_ever)


def test_what_is_not_known_is_left_out() -> None:
    assert as_text(Findings("http://a.test/", "/", NOW), NOTHING, "", 80) == "http://a.test/ (stopped early)"


def line(label: str, findings: Findings) -> str:
    lines = as_text(findings, NOTHING, "", 200).splitlines()
    return next(line for line in lines if line.startswith(label)).removeprefix(label).strip()


def test_a_server_cannot_move_the_cursor() -> None:
    contact = Contact("HEAD", 200, "HTTP/1.1", True, "evil\x1b[2J\x9b", None)
    shown = as_text(dataclasses.replace(ALL, contact=contact), NOTHING, "", 80)
    assert "evil\N{REPLACEMENT CHARACTER}[2J" in shown
    assert shown.replace("\n", "").isprintable()


def test_what_did_not_work_is_said() -> None:
    base = Findings("http://a.test/", "/", NOW)
    contact = Contact("HEAD", 200, "HTTP/1.1", False, None, None)
    found = dataclasses.replace(
        base,
        contact=contact,
        keep_alive_hint=KeepAliveHint(),
        idle=IdleLimit(None, None, None, (IdleConnection(12.0, Ending.OPEN),)),
        cap=RequestCap(None, None, 7, None, 1.0, "the server answered 429"),
        http2_settings={},
        pings=Pings(0, 0, None, None, True),
    )
    assert line("keep-alive", found) == "the server closes after each answer"
    assert line("hint", found) == "none"
    assert line("idle limit", found) == "not seen within 12 s, 1 connection"
    assert line("request cap", found) == "none within 7 requests, in 1 s, the server answered 429"
    assert line("HTTP/2", found) == "defaults"
    assert line("PING", found) == "not known whether it resets the idle timer, 0 of 0 answered"
    aged = RequestCap(None, 2.0, 382, Ending.ANNOUNCED, 2.1, None)
    either = dataclasses.replace(aged, maximum_age_seconds=None)
    assert (
        line("request cap", dataclasses.replace(base, cap=aged))
        == "none, but a maximum age of 2 s (announced)"
    )
    assert line("request cap", dataclasses.replace(base, cap=either)) == (
        "382 requests, or an age of 2.1 s (announced)"
    )
    dropped = dataclasses.replace(base, idle=IdleLimit(None, 60.0, 120.0, ()))
    assert line("idle limit", dropped) == (
        "dropped without a word within 2 min 0 s, used again after 1 min 0 s, 0 connections"
    )
