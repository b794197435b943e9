from __future__ import annotations

import pytest

from livepost.events import CloseReason, ConnectionClosed, ConnectionObserver, ConnectionOpened, HttpVersion
from livepost.model import Outcome, Record, Rejection, State
from livepost.report.tally import Tally, Trouble
from livepost.wire.message import Exchange, RequestHead, Response

HEAD = RequestHead(b"POST", b"/api", b"localhost", b"http", ())
RECORD = Record(1, b"{}", "users.ndjson", 1)


def exchange(request_on_connection: int = 1) -> Exchange:
    made = Exchange(HEAD, b"{}", RECORD)
    made.connection = 1
    made.request_on_connection = request_on_connection
    return made


def answer(status: int) -> Response:
    return Response(status, (), b"")


def records(tally: Tally) -> tuple[int, int, int, int]:
    return (
        tally.records_delivered,
        tally.records_rejected,
        tally.records_in_doubt,
        tally.records_unsent,
    )


def test_a_new_tally_counts_nothing() -> None:
    tally = Tally()
    assert records(tally) == (0, 0, 0, 0)
    assert (tally.records_finished, tally.attempts, tally.open_connections) == (0, 0, 0)
    assert tally.latency.count == 0


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.DELIVERED, (1, 0, 0, 0)),
        (State.REJECTED, (0, 1, 0, 0)),
        (State.IN_DOUBT, (0, 0, 1, 0)),
        (State.UNSENT, (0, 0, 0, 1)),
    ],
)
def test_every_state_has_its_count(state: State, expected: tuple[int, int, int, int]) -> None:
    tally = Tally()
    tally.finished(exchange(), Outcome(state, "because"), None, 0.1)
    assert records(tally) == expected
    assert tally.records_finished == 1
    assert tally.attempts == 1


def test_a_record_refused_by_an_answer_is_told_from_one_never_sent() -> None:
    tally = Tally()
    tally.finished(exchange(), Outcome(State.REJECTED, "400"), answer(400), 0.1)
    tally.finished(exchange(), Outcome(State.REJECTED, "gave up"), None, 0.1)
    tally.rejected(Rejection(3, "users.ndjson", 3, "not JSON"))
    assert tally.records_rejected == 3
    assert tally.records_refused == 1
    assert tally.attempts == 2


def test_a_record_that_was_tried_again_and_then_left_unsent_keeps_its_attempts() -> None:
    tally = Tally()
    tally.retried(exchange(), "connection reset", None, 0.1)
    tally.retried(exchange(), "503", answer(503), 0.2)
    tally.left(RECORD, Outcome(State.UNSENT, "the run ended first"))
    assert records(tally) == (0, 0, 0, 1)
    assert tally.attempts == 2
    assert tally.retries == {"connection reset": 1, "503": 1}


@pytest.mark.parametrize(("source", "name"), [("-", "standard input"), ("in.ndjson", "in.ndjson")])
def test_what_became_of_a_record_is_said_with_its_place(source: str, name: str) -> None:
    trouble = Trouble(State.IN_DOUBT, "no answer", source, 7)
    assert str(trouble) == f"{name} line 7: in doubt: no answer"


def test_latency_and_statuses_are_over_answers_only() -> None:
    tally = Tally()
    tally.finished(exchange(), Outcome(State.DELIVERED, "201"), answer(201), 0.010)
    tally.finished(exchange(), Outcome(State.DELIVERED, "201"), answer(201), 0.020)
    tally.retried(exchange(), "503", answer(503), 0.040)
    tally.retried(exchange(), "timed out", None, 60.0)
    tally.finished(exchange(), Outcome(State.IN_DOUBT, "reset"), None, 30.0)
    assert tally.statuses == {201: 2, 503: 1}
    assert tally.latency.count == 3
    assert tally.latency.max == 40.0


def test_reused_counts_requests_on_a_connection_that_had_carried_one() -> None:
    tally = Tally()
    for number, requests in enumerate((0, 1, 4)):
        tally.connection_closed(ConnectionClosed(number, CloseReason.FINISHED, requests, 0, 0))
    assert tally.reused == 3


def test_requests_per_connection_are_known_once_it_is_closed() -> None:
    tally = Tally()
    for number, requests in enumerate((7, 1000, 1000)):
        tally.connection_opened(ConnectionOpened(number, "127.0.0.1:80", 0.01))
        assert tally.requests_per_connection.most == (1000 if number == 2 else 7 if number else 0)
        tally.connection_closed(ConnectionClosed(number, CloseReason.SERVER_ANNOUNCED, requests, 0, 0))
    each = tally.requests_per_connection
    assert (each.least, each.median, each.most) == (7, 1000, 1000)


def test_heartbeats_are_counted_apart_from_everything() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:80", 0.01))
    tally.finished(exchange(), Outcome(State.DELIVERED, "201"), answer(201), 0.010)
    tally.heartbeat(1, 0.002)
    tally.heartbeat(1, 0.002)
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 1, 300, 200))
    assert tally.heartbeats == 2
    assert (tally.attempts, tally.reused, tally.requests_per_connection.most) == (1, 0, 1)
    assert (tally.statuses, tally.latency.count, records(tally)) == ({201: 1}, 1, (1, 0, 0, 0))


def test_what_reuse_has_saved_goes_by_the_quickest_full_handshake() -> None:
    tally = Tally()
    for seconds, is_resumed in ((0.050, False), (0.001, True), (9.0, False), (0.040, False)):
        tally.connection_opened(ConnectionOpened(1, "127.0.0.1:443", seconds, "TLSv1.3", is_resumed))
    assert tally.estimated_seconds_saved(100.0) == 0.0
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 1001, 0, 0))
    tally.connection_closed(ConnectionClosed(2, CloseReason.FINISHED, 1, 0, 0))
    assert tally.estimated_seconds_saved(100.0) == pytest.approx(1000 * 0.040, rel=1 / 256)


@pytest.mark.parametrize(
    ("tls_version", "dial_seconds", "handshake_seconds"),
    [
        (None, 0.5, 0.030),
        ("TLSv1.3", 0.5, 0.060),
        ("TLSv1.2", 0.5, 0.090),
        # A longer way than this has not been seen.
        ("TLSv1.2", 0.045, 0.045),
    ],
)
def test_a_handshake_takes_its_round_trips_and_not_what_the_dial_had_to_wait_for(
    tls_version: str | None, dial_seconds: float, handshake_seconds: float
) -> None:
    tally = Tally()
    opened = ConnectionOpened(1, "127.0.0.1:80", dial_seconds, tls_version, round_trip_seconds=0.030)
    tally.connection_opened(opened)
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 101, 0, 0))
    assert tally.estimated_seconds_saved(1000.0) == pytest.approx(100 * handshake_seconds, rel=1 / 256)


def test_requests_at_a_time_would_have_dialled_at_a_time() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:80", 0.040))
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 1001, 0, 0))
    for _ in range(1000):
        tally.finished(exchange(), Outcome(State.DELIVERED, "201"), answer(201), 0.2)
    # 200 s of waiting in 10 s.
    assert tally.estimated_seconds_saved(10.0) == pytest.approx(1000 * 0.040 / 20, rel=1 / 256)
    assert tally.estimated_seconds_saved(1000.0) == pytest.approx(1000 * 0.040, rel=1 / 256)
    assert tally.estimated_seconds_saved(0.0) == 0.0


def test_in_cleartext_every_dial_is_a_full_one() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:80", 0.010))
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 11, 0, 0))
    assert tally.estimated_seconds_saved(1.0) == pytest.approx(0.1)
    assert tally.tls_full == 0


def test_without_a_full_handshake_nothing_is_known_of_what_was_saved() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:443", 0.010, "TLSv1.3", tls_resumed=True))
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 11, 0, 0))
    assert tally.estimated_seconds_saved(1.0) == 0.0


def test_connections_are_counted_by_protocol_and_requests_over_http_2_as_streams() -> None:
    tally = Tally()
    h2, http_1_1 = HttpVersion.HTTP_2, HttpVersion.HTTP_1_1
    for number, version in enumerate((h2, http_1_1, h2)):
        tally.connection_opened(ConnectionOpened(number, "127.0.0.1:80", 0.01, http_version=version))
        tally.connection_closed(ConnectionClosed(number, CloseReason.FINISHED, 10, 0, 0, version))
    assert tally.protocols == {h2: 2, http_1_1: 1}
    assert (tally.streams, tally.reused) == (20, 27)


def test_connections_and_their_bytes() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:443", 0.02, "TLSv1.3"))
    tally.connection_opened(ConnectionOpened(2, "127.0.0.1:443", 0.01, "TLSv1.3", tls_resumed=True))
    tally.connection_opened(ConnectionOpened(3, "127.0.0.1:80", 0.01))
    assert (tally.opened, tally.tls_full, tally.tls_resumed) == (3, 1, 1)
    assert tally.open_connections == 3
    tally.connection_closed(ConnectionClosed(1, CloseReason.FINISHED, 5, 1000, 500))
    tally.connection_closed(ConnectionClosed(2, CloseReason.FINISHED, 5, 2000, 700))
    assert tally.open_connections == 1
    tally.connection_closed(ConnectionClosed(3, CloseReason.RESET, 0, 30, 0))
    assert tally.open_connections == 0
    assert tally.closed == {CloseReason.FINISHED: 2, CloseReason.RESET: 1}
    assert (tally.bytes_sent, tally.bytes_received) == (3030, 1200)


def test_failed_dials_are_no_connections() -> None:
    tally = Tally()
    tally.dial_failed("connection refused")
    tally.dial_failed("connection refused")
    assert tally.failed_dials == {"connection refused": 2}
    assert (tally.opened, tally.open_connections) == (0, 0)


def test_a_tally_listens_to_connections() -> None:
    observer: ConnectionObserver = Tally()
    observer.dial_failed("timed out")
