from __future__ import annotations

import pytest

from livepost.cli.handshake_limit import too_many_handshakes
from livepost.errors import LivepostError
from livepost.events import CloseReason, ConnectionClosed, ConnectionOpened
from livepost.report.summary import Connections, summarize
from livepost.report.tally import Tally


def run_of(records: int, *ends: CloseReason) -> Connections:
    """What the connections came to of so many records over connections that ended so."""
    tally = Tally()
    tally.records_delivered = records
    for number, reason in enumerate(ends, 1):
        tally.connection_opened(ConnectionOpened(number, "127.0.0.1:80", 0.01))
        tally.connection_closed(ConnectionClosed(number, reason, 1, 0, 0))
    return summarize(tally, read=records, seconds=1.0).connections


def excess(connections: Connections, limit: float | None) -> LivepostError:
    error = too_many_handshakes(connections, limit)
    assert error is not None
    return error


def test_without_a_limit_any_number_will_do() -> None:
    assert too_many_handshakes(run_of(1, CloseReason.FINISHED), None) is None


@pytest.mark.parametrize(("limit", "is_exceeded"), [(1.0, True), (3.9, True), (4.0, False), (1000.0, False)])
def test_a_limit_may_be_reached_but_not_exceeded(limit: float, is_exceeded: bool) -> None:
    connections = run_of(500, CloseReason.FINISHED, CloseReason.FINISHED)
    assert (too_many_handshakes(connections, limit) is not None) is is_exceeded


def test_a_run_that_sent_nothing_exceeds_no_limit() -> None:
    assert too_many_handshakes(run_of(0), 0.001) is None


def test_it_says_how_many_there_were_and_how_many_may_be() -> None:
    error = excess(run_of(1, CloseReason.FINISHED), 2.501)
    assert str(error) == (
        "there were 1,000 handshakes per 1,000 records, more than the 2.501 of --max-handshakes-per-1000"
    )


def test_the_hint_is_for_what_ended_most_connections() -> None:
    off, idle = CloseReason.KEEPALIVE_OFF, CloseReason.SERVER_IDLE
    assert excess(run_of(9, off, off, idle), 1).hint == "leave out --no-keepalive"
    assert "--keepalive-path PATH" in excess(run_of(9, CloseReason.EXPIRED), 1).hint
    assert "--keepalive-every auto" in excess(run_of(9, off, idle, idle), 1).hint


@pytest.mark.parametrize("reason", CloseReason)
def test_there_is_a_hint_whatever_ended_the_connections(reason: CloseReason) -> None:
    assert excess(run_of(9, reason), 1).hint
