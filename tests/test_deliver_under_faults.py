"""Whole runs against a server that fails on purpose: what was told agrees with what the server did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from whole_runs import IMPATIENT, Log, counts, options, run

from livepost.config import RequestOptions, Timeouts
from livepost.deliver import Delivery
from livepost.model import State
from livepost.policy import PaceOptions, RetryOptions
from livepost.records.source import ObjectSource
from livepost.rehearsal.fault_plan import FaultScript, HeadSeen
from livepost.rehearsal.faults import TRAITS, Fault, FaultKind, FromNow, Place, TimeForm, fault_of_status
from livepost.rehearsal.record_log import Entry
from livepost.rehearsal.reply import After
from livepost.rehearsal.server import PracticeServer

RECORDS = 24
TIMEOUTS = Timeouts(max_time=0.3)
SOON = PaceOptions(max_retry_after=0.1)

FAULTS = {
    "reset before reading": Fault(FaultKind.RESET_BEFORE_READING),
    "close before reading": Fault(FaultKind.CLOSE_BEFORE_READING),
    "reset after reading": Fault(FaultKind.RESET_AFTER_READING),
    "close after reading": Fault(FaultKind.CLOSE_AFTER_READING),
    "reset after processing": Fault(FaultKind.RESET_AFTER_PROCESSING),
    "close after processing": Fault(FaultKind.CLOSE_AFTER_PROCESSING),
    "never": Fault(FaultKind.NEVER),
    "never and not processed": Fault(FaultKind.NEVER, processed=False),
    "late": Fault(FaultKind.LATE, delay_seconds=0.02),
    "too late": Fault(FaultKind.LATE, delay_seconds=0.6),
    "trickle": Fault(FaultKind.TRICKLE, interval_seconds=0.0001),
    "cut head": Fault(FaultKind.CUT_HEAD),
    "cut head in the status": Fault(FaultKind.CUT_HEAD, cut_bytes=10),
    "cut body": Fault(FaultKind.CUT_BODY),
    "cut body, then silence": Fault(FaultKind.CUT_BODY, then=After.KEEP),
    "garbage": Fault(FaultKind.GARBAGE),
    "garbage and not processed": Fault(FaultKind.GARBAGE, processed=False),
    "announce close": Fault(FaultKind.ANNOUNCE_CLOSE),
    "close after answer": Fault(FaultKind.CLOSE_AFTER_ANSWER),
    "reset after answer": Fault(FaultKind.RESET_AFTER_ANSWER),
    "usual": Fault(FaultKind.USUAL),
    "503": fault_of_status(503),
    "503, back in 0 s": fault_of_status(503, (b"Retry-After", b"0")),
    "503, back in 1 s": fault_of_status(503, (b"Retry-After", b"1")),
    "503, back at a date": fault_of_status(503, (b"Retry-After", FromNow(TimeForm.HTTP_DATE, 1))),
    "503, back at a date gone by": fault_of_status(503, (b"Retry-After", FromNow(TimeForm.HTTP_DATE, -60))),
    "503, back at no date": fault_of_status(503, (b"Retry-After", b"soon")),
    "429 of the draft": fault_of_status(429, (b"RateLimit", b'"a";r=0;t=1')),
    "429 of the older fields": fault_of_status(
        429, (b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Reset", FromNow(TimeForm.EPOCH_SECONDS, 1))
    ),
    "408": fault_of_status(408),
    "425": fault_of_status(425),
    "421, then closed": Fault(FaultKind.STATUS, status=421, then=After.CLOSE),
    "413 early": Fault(FaultKind.STATUS, status=413, early=True),
    "413 early, then reset": Fault(FaultKind.STATUS, status=413, early=True, then=After.RESET),
    "404": fault_of_status(404),
    "500": fault_of_status(500),
    "500 and processed": Fault(FaultKind.STATUS, status=500, processed=True),
    "504 and processed": Fault(FaultKind.STATUS, status=504, processed=True),
    "outage": Fault(FaultKind.OUTAGE, lasts_seconds=0.1),
    "refuse": Fault(FaultKind.REFUSE, lasts_seconds=0.1),
    "no accept": Fault(FaultKind.NO_ACCEPT, lasts_seconds=0.1),
}
OF_CONNECTIONS = {
    "reset on accept": Fault(FaultKind.RESET_ON_ACCEPT),
    "close on accept": Fault(FaultKind.CLOSE_ON_ACCEPT),
}


def test_there_is_a_fault_of_every_kind() -> None:
    struck = {fault.kind for fault in (*FAULTS.values(), *OF_CONNECTIONS.values())}
    assert struck == set(FaultKind)


def striking(fault: Fault) -> Callable[[HeadSeen], Fault | None]:
    """Every fourth request; the listener once, which lasts."""

    def choose(head: HeadSeen) -> Fault | None:
        if TRAITS[fault.kind].place is Place.LISTENER:
            return fault if head.number == 5 else None
        return fault if head.number % 4 == 2 else None

    return choose


async def states_under(
    faults: FaultScript, retry: RetryOptions, method: str = "POST"
) -> tuple[dict[int, State], Counter[object]]:
    """How each record ended, and how often the server has processed it; what holds in any case is checked."""
    entries: list[Entry] = []
    log = Log()
    async with PracticeServer(faults=faults, log=entries.append) as server:
        delivery = Delivery(
            ObjectSource([{"id": number} for number in range(1, RECORDS + 1)]),
            options(
                f"{server.url}/api",
                2,
                timeouts=TIMEOUTS,
                pace=SOON,
                retry=retry,
                request=RequestOptions(method=method),
            ),
            observers=[log],
            policy=IMPATIENT,
        )
        async with asyncio.timeout(20):
            result = await delivery.run()
    assert result.error is None
    told = Counter(log.states.values())
    assert counts(result) == tuple(
        told[state] for state in (State.DELIVERED, State.REJECTED, State.IN_DOUBT, State.UNSENT)
    )
    assert len(log.states) == result.summary.records.read == RECORDS
    assert result.summary.attempts == sum(result.summary.retries.values()) + RECORDS
    return log.states, Counter(entry.record for entry in entries if entry.processed)


def check_that_nothing_was_sent_twice(states: dict[int, State], processed: Counter[object]) -> None:
    for number, state in states.items():
        assert state is not State.UNSENT, "the server came back"
        if state is State.DELIVERED:
            assert processed[number] == 1
        elif state is State.REJECTED:
            assert processed[number] == 0
        else:
            assert processed[number] <= 1


@pytest.mark.parametrize("name", FAULTS)
def test_by_default_no_record_is_processed_twice_and_all_that_may_be_lost_are_in_doubt(name: str) -> None:
    async def main() -> None:
        fault = FAULTS[name]
        states, processed = await states_under(FaultScript(striking(fault)), RetryOptions())
        check_that_nothing_was_sent_twice(states, processed)
        ends = set(states.values())
        if TRAITS[fault.kind].place is not Place.LISTENER:
            assert (State.REJECTED in ends) == (fault.status in (404, 413))
        if name.startswith(("4", "503")) and fault.status not in (404, 413):
            assert ends == {State.DELIVERED}

    run(main())


@pytest.mark.parametrize("name", OF_CONNECTIONS)
def test_connections_that_are_of_no_use_lose_nothing(name: str) -> None:
    async def main() -> None:
        connections: Iterable[Fault | None] = [OF_CONNECTIONS[name], None, OF_CONNECTIONS[name]] * 5
        states, processed = await states_under(FaultScript(connections=connections), RetryOptions())
        check_that_nothing_was_sent_twice(states, processed)
        assert processed.total() >= RECORDS - 5, "one in doubt for each connection at most"

    run(main())


@pytest.mark.parametrize("name", FAULTS)
def test_where_it_is_safe_to_repeat_all_are_delivered_that_the_server_takes(name: str) -> None:
    async def main() -> None:
        fault = FAULTS[name]
        retry = RetryOptions(at_least_once=True)
        states, processed = await states_under(FaultScript(striking(fault)), retry)
        refused = {number for number, state in states.items() if state is not State.DELIVERED}
        # Where a reset destroys the first answer, a doubt remains that a refusal does not remove.
        doubts = {State.IN_DOUBT} if name == "413 early, then reset" else set()
        assert set(states.values()) <= {State.DELIVERED, State.REJECTED, *doubts}
        assert bool(refused) == (fault.status in (404, 413))
        for number in states:
            assert (processed[number] == 0) == (number in refused)

    run(main())


def test_with_keys_that_the_server_honours_each_record_is_processed_once() -> None:
    async def main() -> None:
        entries: list[Entry] = []
        faults = FaultScript(striking(Fault(FaultKind.RESET_AFTER_PROCESSING)))
        async with PracticeServer(faults=faults, log=entries.append, idempotent=True) as server:
            delivery = Delivery(
                ObjectSource([{"id": number} for number in range(1, RECORDS + 1)]),
                options(f"{server.url}/api", 2, retry=RetryOptions(idempotency_key="Idempotency-Key")),
                policy=IMPATIENT,
            )
            result = await delivery.run()
        assert counts(result) == (RECORDS, 0, 0, 0)
        processed = Counter(entry.record for entry in entries if entry.processed)
        assert processed == Counter(range(1, RECORDS + 1))
        replayed = [entry for entry in entries if entry.replayed]
        assert len(replayed) >= 6
        keys = {entry.record: entry.key for entry in entries}
        assert all(entry.key == keys[entry.record] for entry in entries)
        assert len(set(keys.values())) == RECORDS

    run(main())
