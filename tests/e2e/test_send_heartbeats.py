"""`livepost send -` as a process, with a pipe into which something is written only now and then."""

from __future__ import annotations

import queue
import time

from command import started

from livepost.rehearsal.limits import Hint, ServerLimits
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

IDLE_SECONDS = 2
PAUSE_SECONDS = 2.6


def connections_used(*arguments: str) -> tuple[int, int, int]:
    """Of which connection the second of two records was which request, and how many heartbeats there were."""
    seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
    limits = ServerLimits(idle_timeout=IDLE_SECONDS, hint=Hint.TIMEOUT)
    server = PracticeServer(limits=limits, on_request=seen.put)
    with server.run_in_thread():
        to = ("--to", f"{server.url}/api", "--no-memory", "--json")
        with started("send", "-", *to, *arguments) as command:
            command.write(b"1\n")
            assert seen.get(timeout=30).connection == 1
            time.sleep(PAUSE_SECONDS)
            command.write(b"2\n")
            while (second := seen.get(timeout=30)).method != b"POST":
                assert (second.method, second.path) == (b"GET", b"/health")
            command.end_input()
            ended = command.ended()
    assert (ended.code, ended.summary["records"]["delivered"]) == (0, 2)
    return second.connection, second.request_on_connection, ended.summary["connections"]["heartbeats"]


def test_heartbeats_keep_the_connection_while_standard_input_is_open() -> None:
    connection, request, heartbeats = connections_used(
        "--keepalive-path", "/health", "--keepalive-every", "auto"
    )
    assert connection == 1
    assert request == 2 + heartbeats
    assert heartbeats >= 1


def test_nobody_asks_for_heartbeats_unless_told_to() -> None:
    assert connections_used() == (2, 1, 0)
