"""Whole runs with pauses, against servers that let connections be idle, old and much used only so far."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import ssl
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from whole_runs import DIRECT, counts, numbers, options, run

from livepost.config import InputOptions, LivenessOptions, RouteOptions, TlsOptions
from livepost.deliver import Result, deliver
from livepost.model import Record, Rejection
from livepost.records.source import FileSource, ObjectSource
from livepost.rehearsal.limits import Hint, IdleEnding, ServerLimits
from livepost.rehearsal.server import PracticeServer

BURST = 20
HTTP_2 = RouteOptions(proxy="", http2_prior_knowledge=True)


class Bursts:
    """Records in bursts of 20, the first at once, each other one after a pause in seconds."""

    bytes_total = None
    bytes_read = 0

    def __init__(self, pauses: Sequence[float]) -> None:
        self._pauses = pauses

    @property
    def records(self) -> int:
        return BURST * (1 + len(self._pauses))

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        for burst, pause in enumerate((0.0, *self._pauses)):
            time.sleep(pause)
            first = 1 + burst * BURST
            yield [Record(n, b"%d" % n, "-", n) for n in range(first, first + BURST)]


def deliver_bursts(
    limits: ServerLimits,
    pauses: Sequence[float],
    *,
    http2: bool = False,
    may_cross: bool = False,
    **groups: Any,
) -> tuple[Result, PracticeServer]:
    """All records are delivered, each once, with no attempt that failed."""
    groups.setdefault("route", HTTP_2 if http2 else DIRECT)
    server = PracticeServer(limits=limits, http2=http2)
    results = []

    async def main() -> None:
        source = Bursts(pauses)
        async with server:
            result = await deliver(source, options(f"{server.url}/api", 1, **groups))
        assert counts(result) == (source.records, 0, 0, 0)
        assert server.stats.requests == source.records
        # Refused: provably never received, so it was sent again.
        assert set(result.summary.retries) <= ({"refused"} if may_cross else set())
        assert result.summary.failed_dials == {}
        results.append(result)

    run(main())
    return results[0], server


def closed(result: Result) -> dict[str, int]:
    return dict(result.summary.connections.closed)


either_protocol = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])


@either_protocol
def test_pauses_below_the_idle_limit_cost_nothing(http2: bool) -> None:
    result, server = deliver_bursts(ServerLimits(idle_timeout=0.6), [0.2] * 8, http2=http2)
    assert server.stats.connections == 1
    assert closed(result) == {"finished": 1}


@either_protocol
def test_pauses_above_the_idle_limit_cost_one_connection_each(http2: bool) -> None:
    result, server = deliver_bursts(ServerLimits(idle_timeout=0.2), [0.4] * 4, http2=http2)
    assert server.stats.connections == 5
    assert closed(result) == {"server_idle": 4, "finished": 1}


@either_protocol
def test_pauses_at_the_idle_limit_lose_nothing(http2: bool) -> None:
    """The first pause shows the limit, so that no request comes near to it."""
    pauses = [0.3] + [0.2 + step * 0.0005 for step in (-4, -2, -1, 0, 0, 1, 2, 4)]
    result, server = deliver_bursts(ServerLimits(idle_timeout=0.2), pauses, http2=http2)
    if http2:
        # Over which a PING shows that it is there, or meets its end.
        assert 2 <= server.stats.connections <= 10
    else:
        assert server.stats.connections == 10
        assert closed(result).get("expired", 0) + closed(result)["server_idle"] == 9


@either_protocol
def test_where_the_limit_is_not_known_one_crossing_at_most_is_in_doubt(http2: bool) -> None:
    """It shows the limit to those that follow."""
    server = PracticeServer(limits=ServerLimits(idle_timeout=0.2), http2=http2)
    source = Bursts([0.2 + step * 0.0005 for step in (-4, -2, -1, 0, 0, 1, 2, 4)])

    async def main() -> None:
        async with server:
            route = HTTP_2 if http2 else DIRECT
            result = await deliver(source, options(f"{server.url}/api", 1, route=route))
        delivered, rejected, in_doubt, unsent = counts(result)
        assert (delivered + in_doubt, rejected, unsent) == (source.records, 0, 0)
        assert in_doubt <= (BURST if http2 else 1)

    run(main())


def test_a_hint_is_kept_to() -> None:
    """T is 1 s, so the margin 0.5 s: after 0.7 s the connection is replaced, after 0.2 s it is not."""
    limits = ServerLimits(idle_timeout=1.4, hint=Hint.TIMEOUT)
    result, server = deliver_bursts(limits, [0.2, 0.7, 0.2, 0.7])
    assert server.stats.connections == 3
    assert closed(result) == {"expired": 2, "finished": 1}


def test_over_http_2_a_doubtful_connection_is_asked_by_a_ping() -> None:
    """The limit was learned from one close; later pauses are too near to it, and PINGs show it is there."""
    limits = ServerLimits(idle_timeout=0.8)
    result, server = deliver_bursts(limits, [1.0, 0.6, 0.6, 0.6], http2=True)
    assert server.stats.connections == 2
    assert closed(result) == {"server_idle": 1, "finished": 1}


def test_with_a_safe_path_a_doubtful_connection_is_asked() -> None:
    limits = ServerLimits(idle_timeout=1.4, hint=Hint.TIMEOUT)
    liveness = LivenessOptions(keepalive_path="/health")
    result, server = deliver_bursts(limits, [0.7, 0.7, 0.7], liveness=liveness)
    assert server.stats.connections == 1
    assert closed(result) == {"finished": 1}


@either_protocol
def test_heartbeats_keep_connections_alive_while_more_may_come(http2: bool) -> None:
    liveness = LivenessOptions(keepalive_path="/health", keepalive_every=0.15)
    _, server = deliver_bursts(
        ServerLimits(idle_timeout=0.4, pings_count=False), [1.0, 1.0], liveness=liveness, http2=http2
    )
    assert server.stats.connections == 1


def test_heartbeats_keep_the_connection_of_a_program_that_stays_open_alive() -> None:
    """Somebody puts objects into a queue, now and then."""
    objects: queue.Queue[object] = queue.Queue()
    liveness = LivenessOptions(keepalive_path="/health", keepalive_every=0.15, no_memory=True)

    async def main() -> None:
        async with PracticeServer(limits=ServerLimits(idle_timeout=0.4)) as server:
            source = ObjectSource(iter(objects.get, None))
            settings = options(f"{server.url}/api", liveness=liveness)
            run = asyncio.create_task(deliver(source, settings))
            for number in (1, 2):
                objects.put({"id": number})
                await asyncio.sleep(1.0)
                assert server.stats.requests == number
            objects.put(None)
            result = await run
            assert counts(result) == (2, 0, 0, 0)
            assert server.stats.connections == 1
            assert result.summary.connections.heartbeats >= 6

    run(main())


@pytest.mark.parametrize("ending", [IdleEnding.RESET, IdleEnding.FORGET])
def test_other_idle_ends_cost_no_record_once_asked_first(ending: IdleEnding) -> None:
    """A PING meets the end, and not a record."""
    limits = ServerLimits(idle_timeout=4.2, idle_ending=ending)
    _, server = deliver_bursts(limits, [4.5], http2=True)
    assert server.stats.connections == 2


@either_protocol
def test_a_cap_is_learned_and_connections_are_handed_over_before_it(http2: bool) -> None:
    limits = ServerLimits(max_requests=100)
    # Until it is known, HTTP/2 has streams beyond it refused.
    result, server = deliver_bursts(limits, [0.0] * 49, http2=http2, may_cross=http2)
    assert 10 <= server.stats.connections <= 11
    # The first two show that it is a cap.
    assert closed(result)["server_announced"] == 2
    assert closed(result)["server_cap"] >= 7


@pytest.mark.parametrize("connections", [1, 8])
def test_a_cap_that_is_not_announced_is_learned_and_then_kept_to(connections: int) -> None:
    """A connection that ends without a word may take a request along, so it is not let come so far."""

    async def main() -> None:
        async with PracticeServer(limits=ServerLimits(max_requests=25, announces=False)) as server:
            settings = options(f"{server.url}/api", connections)
            first = await deliver(numbers(2_000), settings)
            # By two generations of connections it is found out.
            assert first.summary.records.in_doubt <= 2 * connections
            before = server.stats.connections
            second = await deliver(numbers(2_000), settings)
            assert counts(second) == (2_000, 0, 0, 0)
            assert second.summary.retries == {}
            assert 80 <= server.stats.connections - before <= 80 + connections
            assert closed(second)["limit_reached"] >= 80 - connections
            assert set(closed(second)) <= {"limit_reached", "finished"}

    run(main())


def test_connections_are_replaced_before_the_age_asked_for() -> None:
    liveness = LivenessOptions(max_connection_age=0.3)
    result, server = deliver_bursts(ServerLimits(), [0.05] * 24, liveness=liveness)
    assert 3 <= server.stats.connections <= 10
    assert closed(result)["too_old"] == server.stats.connections - 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@either_protocol
def test_every_redial_resumes_its_tls_session(
    authority: Authority, version: ssl.TLSVersion, http2: bool
) -> None:
    context = authority.server_context()
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    server = PracticeServer(ssl_context=context, limits=ServerLimits(idle_timeout=0.2), http2=http2)

    async def main() -> None:
        async with server:
            result = await deliver(
                Bursts([0.4] * 3),
                options(f"{server.url}/api", 1, tls=TlsOptions(cacert=str(authority.ca_file))),
            )
        assert counts(result) == (4 * BURST, 0, 0, 0)
        assert (result.summary.connections.tls_full, result.summary.connections.tls_resumed) == (1, 3)
        assert (server.stats.handshakes, server.stats.resumed) == (4, 3)
        assert server.stats.http2 == (4 if http2 else 0)

    run(main())


def remembered() -> list[dict[str, Any]]:
    folder = Path(os.environ["XDG_CACHE_HOME"], "livepost", "servers")
    return [json.loads(file.read_text()) for file in folder.glob("*.json")]


def test_what_was_learned_is_remembered_for_the_next_run() -> None:
    _, server = deliver_bursts(ServerLimits(idle_timeout=0.6), [0.8, 0.8])
    (known,) = remembered()
    assert known["server"] == server.url
    assert known["facts"]["idle_limit"]["source"] == "learned"
    assert known["facts"]["idle_limit"]["value"] == pytest.approx(0.6, abs=0.11)
    # At 0.4 s it is within the margin now, where a run that knows nothing would use it again.
    limits = ServerLimits(idle_timeout=0.6)

    async def main() -> None:
        async with PracticeServer(port=server.port, limits=limits) as again:
            result = await deliver(Bursts([0.4]), options(f"{again.url}/api", 1))
            assert counts(result) == (2 * BURST, 0, 0, 0)
            assert closed(result) == {"expired": 1, "finished": 1}

    run(main())


def test_nothing_is_remembered_if_that_is_not_wanted() -> None:
    deliver_bursts(ServerLimits(idle_timeout=0.2), [0.4], liveness=LivenessOptions(no_memory=True))
    assert remembered() == []


def test_a_memory_that_cannot_be_kept_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    result, _ = deliver_bursts(ServerLimits(idle_timeout=0.2), [0.4])
    (warning,) = result.warnings
    assert warning.startswith("what was learned of the server cannot be kept in ")


def test_the_last_connections_are_not_replaced_although_the_end_of_the_input_is_not_read(
    tmp_path: Path,
) -> None:
    """16 connections that wear at different times would leave about half of the last ones unused."""
    file = tmp_path / "records.ndjson"
    # So large that the last block is read when 2 000 are still to be sent at the most.
    file.write_bytes(b"".join(b'{"id": %d, "text": "%s"}\n' % (n, b"x" * 100) for n in range(4_000)))
    server = PracticeServer(limits=ServerLimits(max_requests=50))

    async def main() -> None:
        source = FileSource([str(file)], InputOptions())
        source.check()
        async with server:
            result = await deliver(source, options(f"{server.url}/api", 16))
        assert counts(result) == (4_000, 0, 0, 0)

    run(main())
    assert 80 <= server.stats.connections <= 84
