"""A misbehaving server as a whole: its outages, its account, its memory of keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from practice_stats import stats
from raw_client import RawClient, get, post

from livepost.rehearsal.fault_plan import FaultPlan, FaultScript, Rule, When
from livepost.rehearsal.faults import Fault, FaultKind, fault_of_status
from livepost.rehearsal.ledger import Counts
from livepost.rehearsal.record_log import Entry
from livepost.rehearsal.server import PracticeServer

Serve = Callable[[PracticeServer], RawClient]

pytestmark = pytest.mark.usefixtures("each_loop")


def wait_until_it_answers(dial: Callable[[], RawClient]) -> RawClient:
    while True:
        try:
            return dial()
        except ConnectionRefusedError:
            time.sleep(0.005)


def test_an_outage_resets_what_is_open_and_refuses_until_it_ends(serve: Serve) -> None:
    outage = Fault(FaultKind.OUTAGE, lasts_seconds=0.3)
    log: list[Entry] = []
    server = PracticeServer(faults=FaultScript([None, None, outage]), log=log.append)
    first = serve(server)
    with RawClient.dial(server.port) as second:
        assert [first.ask(post()).status, second.ask(post()).status] == [201, 201]
        begun = time.monotonic()
        second.send(post())
        assert [first.ending(), second.ending()] == ["reset", "reset"]
    with pytest.raises(ConnectionRefusedError):
        RawClient.dial(server.port)
    with wait_until_it_answers(lambda: RawClient.dial(server.port)) as third:
        assert time.monotonic() - begun >= 0.28, "timers may be a little early"
        assert third.ask(post()).json == {"id": 3, "connection": 3, "request_on_connection": 1}
    assert server.counts == Counts(3, 2, 0, {"outage": 1})
    assert [(line.processed, line.fault) for line in log] == [
        (True, None),
        (True, None),
        (False, "outage"),
        (True, None),
    ]


def test_connects_may_be_refused_while_what_is_open_lives_on(serve: Serve) -> None:
    refuse = Fault(FaultKind.REFUSE, lasts_seconds=0.3)
    server = PracticeServer(faults=FaultScript([None, refuse]))
    client = serve(server)
    assert [client.ask(post()).status for _ in range(2)] == [201, 201]
    with pytest.raises(ConnectionRefusedError):
        RawClient.dial(server.port)
    assert client.ask(post()).status == 201
    wait_until_it_answers(lambda: RawClient.dial(server.port)).__exit__(None, None, None)
    assert server.counts == Counts(3, 2, 0, {"refuse": 1})


def test_connections_may_wait_to_be_accepted(serve: Serve) -> None:
    wait = Fault(FaultKind.NO_ACCEPT, lasts_seconds=0.3)
    server = PracticeServer(faults=FaultScript([wait]))
    client = serve(server)
    begun = time.monotonic()
    assert client.ask(post()).status == 201
    with RawClient.dial(server.port) as waiting:
        waiting.send(post())
        assert client.ask(get("/stats")).json["connections"] == 1
        assert waiting.answer().json["connection"] == 2
    assert time.monotonic() - begun >= 0.28, "timers may be a little early"


def test_an_outage_may_begin_with_the_server(serve: Serve) -> None:
    faults = FaultPlan([Rule(Fault(FaultKind.REFUSE, lasts_seconds=0.3))])
    with PracticeServer(faults=faults).run_in_thread() as server:
        with pytest.raises(ConnectionRefusedError):
            RawClient.dial(server.port)
        with wait_until_it_answers(lambda: RawClient.dial(server.port)) as client:
            assert client.ask(post()).status == 201


@pytest.mark.parametrize("kind", [FaultKind.OUTAGE, FaultKind.NO_ACCEPT])
def test_a_server_may_be_stopped_in_an_outage(kind: FaultKind) -> None:
    faults = FaultPlan([Rule(Fault(kind))])
    with PracticeServer(faults=faults).run_in_thread() as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_unix_socket_refuses_too(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = PracticeServer(
        unix_socket=path, faults=FaultScript([None, Fault(FaultKind.OUTAGE, lasts_seconds=0.3)])
    )

    def dial() -> RawClient:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return RawClient(sock)

    with server.run_in_thread():
        with dial() as client:
            assert client.ask(post()).status == 201
            client.send(post())
            assert client.ending() in ("closed", "reset")
        with pytest.raises(ConnectionRefusedError):
            dial()
        with wait_until_it_answers(dial) as again:
            assert again.ask(post()).status == 201
    assert not Path(path).exists()


def test_rules_strike_by_number_over_all_connections(serve: Serve) -> None:
    server = PracticeServer(faults=FaultPlan([Rule(fault_of_status(503), When(every=3))]))
    first = serve(server)
    with RawClient.dial(server.port) as second:
        statuses = [client.ask(post()).status for client in (first, second, first, second, first, second)]
    assert statuses == [201, 201, 503, 201, 201, 503]
    assert server.counts == Counts(4, 3, 0, {"503": 2})


def test_a_repeated_key_is_answered_with_its_first_answer_even_if_that_was_lost(serve: Serve) -> None:
    log: list[Entry] = []
    faults = FaultScript([Fault(FaultKind.RESET_AFTER_PROCESSING)])
    server = PracticeServer(faults=faults, log=log.append, idempotent=True)
    first = serve(server)
    first.send(post(b'{"id": 9}', 'Idempotency-Key: "k"'))
    assert first.ending() == "reset"
    with RawClient.dial(server.port) as second:
        answer = second.ask(post(b'{"id": 9}', "Idempotency-Key: k"))
        assert (answer.status, answer.json["id"], answer.json["connection"]) == (201, 1, 1)
        assert second.ask(post(b'{"id": 8}', "Idempotency-Key: k")).status == 422
        assert second.ask(post(b'{"id": 8}')).json["id"] == 2
        stats = second.ask(get("/stats")).json
    assert (stats["processed"], stats["duplicates"], stats["replayed"]) == (2, 0, 1)
    assert [(line.record, line.key, line.processed, line.replayed, line.status) for line in log] == [
        (9, '"k"', True, False, None),
        (9, "k", False, True, 201),
        (8, "k", False, False, 422),
        (8, None, True, False, 201),
    ]


def test_a_plain_server_keeps_no_account(serve: Serve) -> None:
    server = PracticeServer()
    client = serve(server)
    client.ask(post())
    assert server.counts is None
    assert client.ask(get("/stats")).json == stats(1, 1)
