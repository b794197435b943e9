"""The schedule under any options, with a server, connections and a user that do whatever comes to mind."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_world import FakeObserver, FakeRecorder, FakeSupply, World, rejection

from livepost.config import Limits
from livepost.delivery.brake import BrakeState
from livepost.delivery.lane import Lane
from livepost.delivery.rate import BURST_SECONDS, parse_rate
from livepost.delivery.retry import RetryPolicy
from livepost.delivery.schedule import Schedule
from livepost.events import CloseReason
from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Record, Sent, State
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions
from livepost.wire.message import Exchange

CONNECTIONS = 4
KEYS = 3

ANSWERS: tuple[tuple[int, tuple[tuple[bytes, bytes], ...]], ...] = (
    (201, ()),
    (201, ((b"x-ratelimit-remaining", b"0"), (b"x-ratelimit-reset", b"7"))),
    (201, ((b"ratelimit", b'"a";r=3;t=10'),)),
    (303, ((b"location", b"/other"),)),
    (307, ((b"location", b"/other"),)),
    (307, ((b"location", b"http://other.test/"),)),
    (401, ()),
    (404, ()),
    (408, ()),
    (409, ()),
    (429, ((b"retry-after", b"3"),)),
    (500, ()),
    (503, ()),
    (999, ()),
)
UNPROCESSED = {408, 421, 425, 429, 503}
MARK_OF = {
    State.DELIVERED: DELIVERED,
    State.REJECTED: REJECTED,
    State.IN_DOUBT: IN_DOUBT,
    State.UNSENT: UNSENT,
}


class Ends(FakeObserver):
    """Knows how each record ended."""

    def __init__(self, on_call: Callable[[], None]) -> None:
        super().__init__(on_call)
        self.of: dict[int, State] = {}

    def _tell(self, words: str) -> None:
        number, state = words.split(maxsplit=1)
        if not state.startswith("retried"):
            assert int(number) not in self.of, "a record ended twice"
            self.of[int(number)] = State(state.partition(":")[0])
        super()._tell(words)


class Simulation:
    """Takes steps, and keeps to the rules itself."""

    def __init__(
        self, options: dict[str, Any], method: bytes, seed: int, on_call: Callable[[], None]
    ) -> None:
        self.retry: RetryOptions = options["retry"]
        self.pace: PaceOptions = options["pace"]
        self.order: OrderOptions = options["order"]
        self.is_safe = method == b"PUT" or self.retry.at_least_once or self.retry.idempotency_key is not None
        self.ends = Ends(on_call)
        self.recorder = FakeRecorder()
        self.world = World(
            FakeSupply(ended=False),
            RetryPolicy.of(self.retry, random.Random(seed).uniform),
            self.ends,
            recorder=self.recorder,
            method=method,
            limits=Limits(CONNECTIONS),
            **options,
        )
        self.started = self.world.now
        self.in_flight: list[Exchange] = []
        self.made = 0
        self.may_go: set[int] = set()
        """Numbers of records that were never given out, or may be again for what came of that."""
        self.waits_in_doubt: set[int] = set()
        self.fields: dict[int, object] = {}
        self.begun: list[int] = []
        """Numbers in the order of first attempts."""
        self.attempts = 0
        self.is_stopped = False

    @property
    def works(self) -> list[Schedule | Lane]:
        return [self.world.schedule, *self.world.lanes.values()]

    def take(self, step: str, choice: int) -> None:
        if step == "arrive" and not self.world.finishes:
            self.arrive(choice)
        elif step == "pull":
            self.pull(choice % CONNECTIONS + 1)
        elif step == "answer" and self.in_flight:
            self.answer(self.in_flight.pop(choice % len(self.in_flight)), *ANSWERS[choice % len(ANSWERS)])
        elif step == "fail" and self.in_flight:
            self.fail(choice)
        elif step == "dial" and not self.in_flight and not self.world.finishes:
            self.dial_failed()
        elif step == "wait":
            self.world.advance(choice / 4)
        self.check()

    def arrive(self, choice: int) -> None:
        for _ in range(choice % 4):
            self.made += 1
            self.may_go.add(self.made)
            body = b'{"key": %d}' % (self.made % KEYS)
            is_fit = (self.made + choice) % 5 > 0
            item = Record(self.made, body, "-", self.made) if is_fit else rejection(self.made)
            self.world.supply.items.append(item)
        self.world.schedule.arrived()

    def pull(self, limit: int) -> None:
        was_stopped = self.is_stopped
        for work in self.works:
            pulled = work.pull(limit, self.world.now)
            assert len(pulled) <= limit
            for exchange in pulled:
                assert not was_stopped
                assert not self.world.finishes
                self.begin(exchange)
            self.in_flight += pulled

    def begin(self, exchange: Exchange) -> None:
        number = exchange.record.number
        self.may_go.remove(number)
        self.waits_in_doubt.discard(number)
        assert exchange.sent_at == self.world.now
        assert exchange.tries <= self.retry.retry
        assert self.fields.setdefault(number, exchange.fields) == exchange.fields, "the key of an attempt"
        assert bool(exchange.fields) == (self.retry.idempotency_key is not None)
        if exchange.attempts == 1:
            self.begun.append(number)
        self.attempts += 1
        if self.pace.rate is not None:
            rate = parse_rate(self.pace.rate)
            passed = self.world.now - self.started
            assert self.attempts <= max(1.0, rate * BURST_SECONDS) + rate * passed + 1e-3

    def answer(self, exchange: Exchange, status: int, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        number = exchange.record.number
        keeps_trying = status in UNPROCESSED or (status == 409 and self.retry.idempotency_key is not None)
        is_doubtful = status in (500, 999)
        is_followed = status in (303, 307)
        if keeps_trying or is_followed or (is_doubtful and self.is_safe):
            self.may_go.add(number)
        if is_doubtful or status == 303 or exchange.has_doubt:
            self.waits_in_doubt.add(number)
        self.world.answer(exchange, status, *fields)

    def fail(self, choice: int) -> None:
        exchange = self.in_flight.pop(choice % len(self.in_flight))
        sent = (Sent.NOTHING, Sent.REFUSED, Sent.SOME, Sent.ALL)[choice % 4]
        may_be_processed = sent in (Sent.SOME, Sent.ALL)
        if not may_be_processed or self.is_safe:
            self.may_go.add(exchange.record.number)
        if may_be_processed or exchange.has_doubt:
            self.waits_in_doubt.add(exchange.record.number)
        self.world.fail(exchange, sent, cause=CloseReason.TIMEOUT if choice % 3 else None)

    def dial_failed(self) -> None:
        delay = self.world.schedule.dial_failed(self.world.now)
        if delay is None:
            self.stop()
        else:
            assert delay > 0

    def stop(self) -> None:
        self.is_stopped = True
        self.world.schedule.stop()

    def check(self) -> None:
        """What holds at any time."""
        self.is_stopped = self.is_stopped or bool(self.world.errors)
        flying = {exchange.record.number for exchange in self.in_flight}
        assert len(flying) == len(self.in_flight), "given out twice at a time"
        marks = self.recorder.marks
        for number in range(1, self.made + 1):
            if number in flying:
                assert marks[number] == IN_FLIGHT
            elif number in self.ends.of:
                assert marks[number] == MARK_OF[self.ends.of[number]]
            else:
                assert marks[number] == (IN_FLIGHT if number in self.waits_in_doubt else UNSENT)
        self.check_order()
        brake = self.world.policies.gate._brake
        if brake.state in (BrakeState.PROBING, BrakeState.REOPENING):
            assert 0 <= brake._under_way <= len(self.in_flight)

    def check_order(self) -> None:
        if self.order.ordered:
            assert len(self.in_flight) <= 1
            assert self.begun == sorted(self.begun)
        elif self.order.order_key is not None:
            for key in range(KEYS):
                begun = [number for number in self.begun if number % KEYS == key]
                assert begun == sorted(begun)
            under_way = Counter(exchange.record.number % KEYS for exchange in self.in_flight)
            assert set(under_way.values()) <= {1}

    def run_to_the_end(self) -> None:
        """The server is well; connections ask after each answer, and else only when they are woken."""
        world = self.world
        world.end()
        self.check()
        self.wake()
        for _ in range(50 * self.made + 100):
            if self.in_flight:
                self.answer(self.in_flight.pop(0), 201, ())
                self.check()
                self.pull(1)
            elif world.finishes:
                return
            else:
                assert world.reminders, "nothing would ever happen again"
                world.until_reminded()
                self.check()
                self.wake()
        raise AssertionError("it does not come to an end")

    def wake(self) -> None:
        for work in self.works:
            while work.waiting and len(self.in_flight) < CONNECTIONS:
                pulled = work.pull(1, self.world.now)
                for exchange in pulled:
                    self.begin(exchange)
                self.in_flight += pulled
                self.check()


OPTIONS = st.fixed_dictionaries(
    {
        "retry": st.builds(
            RetryOptions,
            retry=st.integers(0, 4),
            retry_max_time=st.sampled_from([None, 5.0]),
            idempotency_key=st.sampled_from([None, None, "Idempotency-Key"]),
            at_least_once=st.booleans(),
        ),
        "outcome": st.just(OutcomeOptions(location=True)),
        "pace": st.builds(
            PaceOptions,
            rate=st.sampled_from([None, None, "2/s", "30/s", "1000/s"]),
            give_up_after=st.sampled_from([None, 20.0]),
            start_timeout=st.sampled_from([None, 5.0]),
        ),
        "order": st.sampled_from(
            [
                OrderOptions(),
                OrderOptions(ordered=True, on_key_failure="skip"),
                OrderOptions(ordered=True, on_key_failure="stop"),
                OrderOptions(order_key="/key", on_key_failure="skip"),
                OrderOptions(order_key="/key", on_key_failure="stop"),
            ]
        ),
    }
)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["arrive", "arrive", "pull", "pull", "pull", "answer", "answer", "fail", "dial", "wait"]
        ),
        st.integers(0, 41),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(
    options=OPTIONS,
    method=st.sampled_from([b"POST", b"PUT"]),
    seed=st.integers(0, 9),
    steps=STEPS,
    stop_at=st.integers(0, 120),
    stops_by_observer=st.booleans(),
)
def test_every_record_ends_once_whatever_happens(
    options: dict[str, Any],
    method: bytes,
    seed: int,
    steps: list[tuple[str, int]],
    stop_at: int,
    stops_by_observer: bool,
) -> None:
    """Random batches, answers, failures and pauses, and a stop somewhere, perhaps from within a call."""
    calls = itertools.count(1)

    def on_call() -> None:
        if stops_by_observer and next(calls) == stop_at:
            simulation.stop()

    simulation = Simulation(options, method, seed, on_call)
    for position, (step, choice) in enumerate(steps):
        if position == stop_at and not stops_by_observer:
            simulation.stop()
        simulation.take(step, choice)
    simulation.run_to_the_end()
    world, made = simulation.world, simulation.made
    assert world.finishes == 1
    assert not world.supply.items
    assert world.schedule.read == made
    assert sorted(simulation.ends.of) == list(range(1, made + 1))
    assert world.observer.states.total() == made
    assert sorted(world.observer.told) == sorted(simulation.ends.told)
