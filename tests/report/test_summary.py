from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from livepost.events import CloseReason, ConnectionClosed, ConnectionOpened, HttpVersion
from livepost.model import Outcome, Record, Rejection, State
from livepost.report.summary import Summary, summarize
from livepost.report.tally import Tally
from livepost.wire.message import Exchange, RequestHead, Response

HEAD = RequestHead(b"POST", b"/api", b"localhost", b"http", ())
RECORD = Record(1, b"{}", "users.ndjson", 1)
DELIVERED = Outcome(State.DELIVERED, "201")


def exchange(request_on_connection: int = 1) -> Exchange:
    made = Exchange(HEAD, b"{}", RECORD)
    made.request_on_connection = request_on_connection
    return made


def answer(status: int) -> Response:
    return Response(status, (), b"")


def delivered(tally: Tally, number: int, seconds: float = 0.001) -> None:
    for n in range(number):
        tally.finished(exchange(min(n + 1, 2)), DELIVERED, answer(201), seconds)


def opened(
    tally: Tally,
    number: int,
    tls_version: str | None = None,
    *,
    resumed: int = 0,
    version: HttpVersion = HttpVersion.HTTP_1_1,
) -> None:
    for n in range(number):
        tally.connection_opened(
            ConnectionOpened(n + 1, "127.0.0.1:80", 0.01, tls_version, n < resumed, version)
        )


def closed(
    tally: Tally,
    reason: CloseReason,
    number: int,
    sent: int = 0,
    received: int = 0,
    requests: int = 1,
    version: HttpVersion = HttpVersion.HTTP_1_1,
) -> None:
    for n in range(number):
        tally.connection_closed(ConnectionClosed(n + 1, reason, requests, sent, received, version))


def eventful() -> Summary:
    """2 000 records read over TLS, of which every kind of thing befell one."""
    tally = Tally()
    opened(tally, 5, "TLSv1.3", resumed=2)
    delivered(tally, 1993)
    tally.finished(exchange(), Outcome(State.REJECTED, "400"), answer(400), 0.25)
    tally.finished(exchange(), Outcome(State.REJECTED, "400"), answer(400), 0.002)
    tally.finished(exchange(), Outcome(State.REJECTED, "gave up"), None, 0.002)
    tally.rejected(Rejection(4, "users.ndjson", 4, "not JSON"))
    tally.finished(exchange(), Outcome(State.IN_DOUBT, "reset"), None, 0.002)
    tally.left(RECORD, Outcome(State.UNSENT, "the run ended first"))
    tally.left(RECORD, Outcome(State.UNSENT, "the run ended first"))
    tally.retried(exchange(), "connection reset", None, 0.002)
    for _ in range(3):
        tally.retried(exchange(), "503", answer(503), 0.002)
    tally.dial_failed("connection refused")
    for _ in range(3):
        tally.heartbeat(1, 0.002)
    closed(tally, CloseReason.SERVER_ANNOUNCED, 1)
    closed(tally, CloseReason.FINISHED, 4, sent=120_000, received=85_000, requests=499)
    return summarize(tally, read=2000, seconds=200.0004)


def test_the_schema_of_an_eventful_run() -> None:
    summary = eventful()
    assert summary.as_dict() == {
        "records": {"read": 2000, "delivered": 1993, "rejected": 4, "in_doubt": 1, "unsent": 2},
        "attempts": 2001,
        "retries": {"503": 3, "connection reset": 1},
        "connections": {
            "opened": 5,
            "protocols": {"h2": 0, "http/1.1": 5},
            "streams": 0,
            "tls_full": 3,
            "tls_resumed": 2,
            "reused": 1992,
            "closed": {"finished": 4, "server_announced": 1},
            "handshakes_per_1000": 2.505,
            "requests_per_connection": {"min": 1, "median": 499, "max": 499},
            "heartbeats": 3,
            "estimated_seconds_saved": 19.88,
        },
        "latency_ms": {"p50": 1.003, "p90": 1.003, "p99": 1.003, "max": 250.0},
        "statuses": {"201": 1993, "400": 2, "503": 3},
        "seconds": 200.0,
        "records_per_second": 9.98,
        "bytes_sent": 480_000,
        "bytes_received": 340_000,
    }
    assert json.loads(summary.to_json()) == summary.as_dict()
    assert "\n" not in summary.to_json()


def test_the_schema_of_a_run_without_records() -> None:
    assert json.loads(summarize(Tally(), read=0, seconds=0.0).to_json()) == {
        "records": {"read": 0, "delivered": 0, "rejected": 0, "in_doubt": 0, "unsent": 0},
        "attempts": 0,
        "retries": {},
        "connections": {
            "opened": 0,
            "protocols": {"h2": 0, "http/1.1": 0},
            "streams": 0,
            "tls_full": 0,
            "tls_resumed": 0,
            "reused": 0,
            "closed": {},
            "handshakes_per_1000": 0.0,
            "requests_per_connection": {"min": 0, "median": 0, "max": 0},
            "heartbeats": 0,
            "estimated_seconds_saved": 0.0,
        },
        "latency_ms": {"p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0},
        "statuses": {},
        "seconds": 0.0,
        "records_per_second": 0.0,
        "bytes_sent": 0,
        "bytes_received": 0,
    }


def test_reasons_come_most_frequent_first_and_statuses_in_ascending_order() -> None:
    tally = Tally()
    for reason, status in (("a", 503), ("b", 429), ("b", 429), ("c", 200), ("c", 200), ("c", 200)):
        tally.retried(exchange(), reason, answer(status), 0.01)
    summary = summarize(tally, read=0, seconds=1.0)
    assert list(summary.retries.items()) == [("c", 3), ("b", 2), ("a", 1)]
    assert list(summary.statuses.items()) == [("200", 3), ("429", 2), ("503", 1)]


@pytest.mark.parametrize(
    ("connections", "records", "handshakes"),
    [(1, 1, 1000.0), (64, 3000, 21.33), (3, 7, 428.6), (2, 4096, 0.4883)],
)
def test_handshakes_keep_four_digits_wherever_they_are(
    connections: int, records: int, handshakes: float
) -> None:
    tally = Tally()
    opened(tally, connections)
    delivered(tally, records)
    summary = summarize(tally, read=records, seconds=1.0)
    assert summary.connections.handshakes_per_1000 == handshakes


def test_records_never_sent_raise_neither_the_rate_nor_the_handshakes() -> None:
    tally = Tally()
    opened(tally, 1)
    delivered(tally, 10)
    for number in range(90):
        tally.rejected(Rejection(number, "users.ndjson", number, "not JSON"))
    summary = summarize(tally, read=100, seconds=2.0)
    assert summary.records_per_second == 5.0
    assert summary.connections.handshakes_per_1000 == 100.0


@pytest.mark.parametrize("read", [1, 3])
def test_a_record_lost_or_counted_twice_is_never_passed_over(read: int) -> None:
    tally = Tally()
    delivered(tally, 1)
    tally.rejected(Rejection(2, "users.ndjson", 2, "not JSON"))
    with pytest.raises(AssertionError, match=r"1 delivered \+ 1 rejected \+ 0 in doubt \+ 0 unsent = 2"):
        summarize(tally, read=read, seconds=1.0)


def test_losing_count_is_noticed_also_without_assertions() -> None:
    program = (
        "from livepost.report.summary import summarize; from livepost.report.tally import Tally;"
        "summarize(Tally(), read=7, seconds=1.0)"
    )
    run = subprocess.run(
        [sys.executable, "-O", "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "AssertionError: livepost lost count: 7 records were read, but 0 delivered" in run.stderr


def test_the_text_of_an_eventful_run() -> None:
    assert eventful().to_text(80).splitlines() == [
        "records     1,993 of 2,000 delivered, 4 rejected, 1 in doubt, 2 unsent",
        "rate        9.98 records/s, 3 min 20 s in all",
        "latency     p50 1 ms, p90 1 ms, p99 1 ms, max 250 ms",
        "answers     201 (1,993), 503 (3), 400 (2)",
        "retries     503 (3), connection reset (1)",
        "connections 5 opened over HTTP/1.1, 400 requests each, 1 to 499, median 499,",
        "            3 heartbeats",
        "handshakes  2.5 per 1,000 records, 3 full TLS, 2 resumed, at least 19.9 s saved",
        "closed      finished (4), server announced (1)",
        "dial errors connection refused (1)",
        "traffic     480 kB sent, 340 kB received",
    ]


def test_the_text_at_forty_columns() -> None:
    assert eventful().to_text(40).splitlines() == [
        "records     1,993 of 2,000 delivered,",
        "            4 rejected, 1 in doubt,",
        "            2 unsent",
        "rate        9.98 records/s,",
        "            3 min 20 s in all",
        "latency     p50 1 ms, p90 1 ms,",
        "            p99 1 ms, max 250 ms",
        "answers     201 (1,993), 503 (3),",
        "            400 (2)",
        "retries     503 (3),",
        "            connection reset (1)",
        "connections 5 opened over HTTP/1.1,",
        "            400 requests each, 1 to 499,",
        "            median 499, 3 heartbeats",
        "handshakes  2.5 per 1,000 records,",
        "            3 full TLS, 2 resumed,",
        "            at least 19.9 s saved",
        "closed      finished (4),",
        "            server announced (1)",
        "dial errors connection refused (1)",
        "traffic     480 kB sent, 340 kB received",
    ]


def test_the_text_of_a_smooth_run_leaves_out_what_did_not_happen() -> None:
    tally = Tally()
    opened(tally, 1)
    delivered(tally, 3, seconds=0.0016)
    closed(tally, CloseReason.FINISHED, 1, sent=600, received=400)
    assert summarize(tally, read=3, seconds=0.012).to_text().splitlines() == [
        "records     all 3 delivered",
        "rate        250 records/s, 12 ms in all",
        "latency     p50 1.6 ms, p90 1.6 ms, p99 1.6 ms, max 1.6 ms",
        "answers     201 (3)",
        "connections 1 opened over HTTP/1.1, 3 requests",
        "handshakes  333 per 1,000 records",
        "closed      finished (1)",
        "traffic     600 B sent, 400 B received",
    ]


def test_requests_per_connection_are_shown_where_they_differ() -> None:
    for requests, shown in (
        ((5, 5), "connections 2 opened over HTTP/1.1, 5 requests each"),
        ((1, 9), "connections 2 opened over HTTP/1.1, 5 requests each, 1 to 9, median 1"),
    ):
        tally = Tally()
        opened(tally, 2)
        delivered(tally, 10)
        for number in requests:
            closed(tally, CloseReason.FINISHED, 1, requests=number)
        assert shown in summarize(tally, read=10, seconds=1.0).to_text().splitlines()


def test_what_was_spoken() -> None:
    tally = Tally()
    opened(tally, 1, "TLSv1.3", version=HttpVersion.HTTP_2)
    delivered(tally, 3)
    closed(tally, CloseReason.FINISHED, 1, requests=3, version=HttpVersion.HTTP_2)
    summary = summarize(tally, read=3, seconds=1.0)
    assert (summary.connections.protocols, summary.connections.streams) == ({"h2": 1, "http/1.1": 0}, 3)
    assert summary.to_text().splitlines()[4] == "connections 1 opened over HTTP/2, 3 requests"
    opened(tally, 64)
    closed(tally, CloseReason.FINISHED, 64, requests=2)
    summary = summarize(tally, read=3, seconds=1.0)
    assert (summary.connections.protocols, summary.connections.streams) == ({"h2": 1, "http/1.1": 64}, 3)
    line = summary.to_text().splitlines()[4]
    assert line.startswith("connections 65 opened, 1 over HTTP/2, 64 over HTTP/1.1, ")


def test_the_text_of_one_record() -> None:
    tally = Tally()
    opened(tally, 1)
    delivered(tally, 1)
    lines = summarize(tally, read=1, seconds=1.0).to_text().splitlines()
    assert lines[0] == "records     1 of 1 delivered"
    assert lines[1] == "rate        1 record/s, 1 s in all"
    assert lines[4] == "connections 1 opened over HTTP/1.1, 1 request"


def test_the_text_of_a_run_that_sent_nothing() -> None:
    assert summarize(Tally(), read=0, seconds=1.0).to_text() == "records     none read"
    tally = Tally()
    tally.left(RECORD, Outcome(State.UNSENT, "the run ended first"))
    tally.dial_failed("connection refused")
    assert summarize(tally, read=1, seconds=1.0).to_text().splitlines() == [
        "records     0 of 1 delivered, 1 unsent",
        "dial errors connection refused (1)",
    ]


def test_beyond_four_reasons_the_rarest_are_summed_up() -> None:
    tally = Tally()
    for n, status in enumerate((500, 502, 503, 504, 429)):
        for _ in range(10 - n):
            tally.retried(exchange(), str(status), answer(status), 0.01)
    text = summarize(tally, read=0, seconds=1.0).to_text()
    assert "retries     500 (10), 502 (9), 503 (8), 2 others (13)" in text.splitlines()


@pytest.mark.parametrize("width", [0, 10, 24, 40, 60, 200])
def test_the_text_keeps_to_the_width_and_to_ascii(width: int) -> None:
    text = eventful().to_text(width)
    assert max(map(len, text.splitlines())) <= max(width, 24)
    assert text.isascii()
    assert "\x1b" not in text


def test_a_saving_too_small_to_notice_is_not_shown() -> None:
    for round_trip_seconds, is_shown in ((0.0005, False), (0.0011, True)):
        tally = Tally()
        tally.connection_opened(
            ConnectionOpened(1, "127.0.0.1:80", 0.01, round_trip_seconds=round_trip_seconds)
        )
        delivered(tally, 2)
        closed(tally, CloseReason.FINISHED, 1, requests=2)
        shown = summarize(tally, read=2, seconds=1.0).to_text()
        assert (" saved" in shown) is is_shown
