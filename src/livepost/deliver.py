"""A whole run: the rooms put together, from a source of records to the summary.

This is the library's entrance:

    options = DeliveryOptions(target=parse_target("http://localhost:8080/api"))
    result = asyncio.run(deliver(ObjectSource([{"name": "John"}]), options))
    print(result.summary.to_json())
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from livepost.clock import Clock, monotonic
from livepost.config import DeliveryOptions
from livepost.delivery.account import DeliveryObserver
from livepost.delivery.detour import Detours
from livepost.delivery.guarded_observer import GuardedObserver
from livepost.delivery.lane import Lane
from livepost.delivery.policies import Policies
from livepost.delivery.request import make_keepalive_head, make_request_head
from livepost.delivery.retry import RetryPolicy
from livepost.delivery.schedule import Schedule
from livepost.errors import DestinationError, DialError, LivepostError, PermanentDialError
from livepost.events import CloseReason, HttpVersion
from livepost.headway import records_to_come, take_snapshot
from livepost.net.acquaintances import Acquaintances
from livepost.net.deadlines import Alarm, Deadlines
from livepost.net.dial import Dialer
from livepost.net.idle_places import IdlePlaces
from livepost.net.origin import Origin
from livepost.net.poller import Poller
from livepost.net.pool import Pool
from livepost.net.proxy import forwarder_of, proxy_of
from livepost.net.surroundings import Surroundings
from livepost.net.suspend import running_clock
from livepost.net.work import Work
from livepost.recording import RecordedSource, Recording
from livepost.records.feed import RecordFeed
from livepost.records.source import Source
from livepost.report.progress import NoProgress, Progress
from livepost.report.summary import Summary, summarize
from livepost.report.tally import Tally, Trouble
from livepost.runs.run import Run
from livepost.target import Target
from livepost.wire.http1 import Http1Machine
from livepost.wire.machine import Machine
from livepost.wire.message import Exchange, RequestHead

_FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.  The summary always holds, whatever happened."""

    summary: Summary
    error: LivepostError | None
    """What ended the run before its time, or None."""
    was_stopped: bool
    """`Delivery.stop` or `abort` was called before the run had ended."""
    was_reached: bool
    """At least one connection to the target was made."""
    read_to_end: bool
    """The whole input was read, so the summary speaks of all of it."""
    troubles: tuple[Trouble, ...]
    """The first few records that were not delivered, and why."""
    warnings: tuple[str, ...] = ()
    """What else a person should know, a sentence each."""


async def deliver(
    source: Source,
    options: DeliveryOptions,
    *,
    observers: Sequence[DeliveryObserver] = (),
    progress: Progress | None = None,
) -> Result:
    """Deliver every record of `source` and say what became of each.

    `observers` are told of each record as it ends.  Raises ConfigurationError before anything is
    sent.  Every later LivepostError, also one that an observer raised, is in the result; whatever
    else an observer, the source or a dial raises comes out of here, once what was in flight has ended.
    """
    return await Delivery(source, options, observers=observers, progress=progress).run()


class Delivery:
    """One run.  Await `run` once; `stop` and `abort` may be called meanwhile, on the same loop."""

    def __init__(
        self,
        source: Source,
        options: DeliveryOptions,
        *,
        observers: Sequence[DeliveryObserver] = (),
        progress: Progress | None = None,
        policy: RetryPolicy | None = None,
        run_id: uuid.UUID | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._source = source
        self._options = options
        self._recording: Recording | None = None
        self._clock = clock
        proxy = proxy_of(options.route, options.target)
        self._head = make_request_head(options, None if options.target.is_tls else proxy)
        self._policies = Policies.of(
            options,
            self._head,
            run_id or uuid.uuid4(),
            now=clock(),
            wall_clock=time.time,
            retry=policy,
        )
        self._dialer = Dialer(options, proxy, clock)
        self._keepalive_head = make_keepalive_head(
            options, self._head, None if options.target.is_tls else proxy
        )
        self._acquaintances = Acquaintances(
            options.liveness,
            clock=clock,
            running=running_clock(),
            wall_clock=time.time,
            environment=os.environ,
        )
        self._tally = Tally()
        self._observers: list[DeliveryObserver] = [self._tally]
        for observer in observers:
            self.observe(observer)
        self._progress = progress or NoProgress()
        self._error: LivepostError | None = None
        self._crash: Exception | None = None
        self._was_stopped = False
        self._finished = asyncio.Event()

    def observe(self, observer: DeliveryObserver) -> None:
        """Tell this observer, too; to be called before `run`."""
        self._observers.append(GuardedObserver(observer, self._went_wrong))

    def record_in(self, run: Run, source: Source | None = None) -> None:
        """Keep in this directory how records end; to be called before `run`.

        `source` takes the place of the one given before, and reserves in the directory what it yields.
        The directory has the identity given as `run_id`, and stays open at the end.
        """
        self._source = source or self._source
        is_sent_again = self._policies.rules.is_safe_to_repeat and isinstance(self._source, RecordedSource)
        self._recording = Recording(run, self._went_wrong, is_sent_again=is_sent_again)

    async def run(self) -> Result:
        """Deliver everything, or as much as can be."""
        self._loop = asyncio.get_running_loop()
        started = self._clock()
        self._feed = RecordFeed(self._source, loop=self._loop, on_arrival=self._on_arrival)
        order, retries = self._policies.order, self._policies.retries
        if order is not None and isinstance(self._source, RecordedSource):
            self._source.tell_undelivered(order.ended_before)
        self._schedule = Schedule(
            self._feed,
            self._head,
            self._policies,
            self._observers,
            recorder=self._recording,
            detours=Detours(
                *(self._options.target, self._head, retries.ready, self._open_lane),
                functools.partial(forwarder_of, self._options.route),
            ),
            remind=self._remind,
            on_failed=self.fail,
            on_finished=self._finished.set,
        )
        with Deadlines(self._clock, self._loop.call_later) as deadlines:
            self._deadlines = deadlines
            self._reminder = Alarm(self._on_due)
            self._idle_places = IdlePlaces(self._options.limits, self._loop.call_soon)
            self._pools = [self._open_pool(self._options, self._dialer, self._schedule, self._keepalive_head)]
            try:
                self._feed.start()
                with self._ticking(started), self._flushing():
                    await self._finished.wait()
            finally:
                await self._close_pools()
                self._feed.close()
                self._acquaintances.store()
        if self._crash is not None:
            raise self._crash
        input_error = self._feed.error  # Raises a defect of the source, whatever else ended the run.
        read = self._schedule.read
        if isinstance(self._source, RecordedSource):
            read += self._source.put_in_doubt
            self._tally.records_in_doubt += self._source.put_in_doubt
        summary = summarize(self._tally, read=read, seconds=self._clock() - started)
        return Result(
            summary,
            self._error or input_error,
            self._was_stopped,
            self._pools[0].opened > 0,
            self._feed.reached_end,
            tuple(self._tally.troubles),
            tuple(self._acquaintances.problems),
        )

    def _open_pool(
        self,
        options: DeliveryOptions,
        dialer: Dialer,
        work: Work,
        keepalive_head: RequestHead | None = None,
    ) -> Pool:
        origin = Origin.of(options.target, proxy_of(options.route, options.target), options.route.unix_socket)
        poller = Poller(work, self._clock, self._loop)
        pool = Pool(
            dialer,
            self._make_machine,
            options.limits,
            Surroundings(work, options.timeouts, self._deadlines, self._clock, poller, self._tally),
            self._loop,
            to_come=lambda: records_to_come(self._source, self._feed),
            redial_delay=lambda error, failures: self._redial_delay(pool, error, failures),
            on_unreachable=self.fail,
            on_crash=self._went_wrong,
            knowledge=self._acquaintances.meet(
                origin,
                is_safe_to_repeat=self._policies.rules.is_safe_to_repeat,
                keepalive_head=keepalive_head,
            ),
            idle_places=self._idle_places,
        )
        return pool

    def _make_machine(self, version: HttpVersion) -> Machine:
        limit = self._options.max_response_bytes
        if version is HttpVersion.HTTP_1_1:
            return Http1Machine(max_response_bytes=limit)
        # Imported where it is needed: it takes 10 ms.
        from livepost.wire.http2 import Http2Machine

        return Http2Machine(max_response_bytes=limit, most_open=self._most_open)

    @property
    def _most_open(self) -> int:
        """How many requests may be open on one connection, if the server takes as many."""
        limits = self._options.limits
        if limits.disable_keep_alives:
            return 1
        if self._policies.rules.is_safe_to_repeat:
            return limits.max_conns_per_host
        return min(limits.max_conns_per_host, self._options.retry.max_in_doubt)

    def _open_lane(self, target: Target) -> deque[Exchange]:
        """Connections to where a redirect leads, and the queue of what they carry."""
        options = self._options.elsewhere(target)
        queue = self._policies.retries.new_queue()
        try:
            dialer = Dialer(options, proxy_of(options.route, options.target), self._clock)
        except LivepostError as error:
            # A certificate or a proxy that only the other scheme needs.
            self.fail(error)
        else:
            self._pools.append(self._open_pool(options, dialer, Lane(self._schedule, queue)))
        return queue

    async def _close_pools(self) -> None:
        for pool in self._pools:
            pool.close(CloseReason.STOPPED if self._was_stopped or self._error else CloseReason.FINISHED)
        for pool in self._pools:
            await pool.wait_closed()

    def stop(self) -> None:
        """Take no further records; what is in flight may finish."""
        self._was_stopped = True
        self._stop_taking()

    def abort(self) -> None:
        """Close every connection now; what is in flight ends in doubt."""
        self.stop()
        for pool in self._pools:
            pool.close(CloseReason.STOPPED)

    def fail(self, error: LivepostError) -> None:
        """End the run early because of `error`; what is in flight may finish."""
        self._error = self._error or error
        self._stop_taking()

    def _went_wrong(self, error: Exception) -> None:
        """An observer or a dial raised this."""
        if isinstance(error, LivepostError):
            self.fail(error)
        else:
            self._crash = self._crash or error
            self._stop_taking()

    def _stop_taking(self) -> None:
        self._feed.stop()
        self._schedule.stop()

    def _on_arrival(self) -> None:
        self._schedule.arrived()
        self._pools[0].wake()

    def _remind(self, seconds: float) -> None:
        self._deadlines.set(self._reminder, self._clock() + seconds)

    def _on_due(self, now: float) -> None:
        self._schedule.release_due(now)
        for pool in self._pools:
            pool.wake()

    def _redial_delay(self, pool: Pool, error: DialError, failures: int) -> float | None:
        """How long to leave a target alone that could not be dialled; None to give up."""
        if isinstance(error, PermanentDialError):
            return None
        if pool.alive:
            return self._policies.retry.redial_delay(failures)
        delay = self._schedule.dial_failed(self._clock())
        if delay is None:
            self.fail(self._gave_up(error))
        return delay

    def _gave_up(self, error: DialError) -> LivepostError:
        """Of a server that was never reached it matters why, of another one for how long it was away."""
        reason = self._policies.gate.error
        if reason is None or not self._pools[0].opened:
            return error
        return DestinationError(f"{reason}: {error}", reason.hint)

    @contextlib.contextmanager
    def _flushing(self) -> Iterator[None]:
        """Let others read in the run directory why records were not delivered, soon after they were not."""
        recording = self._recording
        timer: asyncio.TimerHandle | None = None

        def flush_again(recording: Recording) -> None:
            recording.flush()
            wait(recording)

        def wait(recording: Recording) -> None:
            nonlocal timer
            timer = self._loop.call_later(_FLUSH_SECONDS, flush_again, recording)

        try:
            if recording is not None:
                wait(recording)
            yield
        finally:
            if timer is not None:
                timer.cancel()

    @contextlib.contextmanager
    def _ticking(self, started: float) -> Iterator[None]:
        """Keep the progress display up to date meanwhile."""
        progress = self._progress
        timer: asyncio.TimerHandle | None = None

        def tick() -> None:
            nonlocal timer
            given = self._schedule.read + self._feed.waiting
            seconds = self._clock() - started
            progress.tick(take_snapshot(self._source, self._tally, given=given, seconds=seconds))
            wait()

        def wait() -> None:
            nonlocal timer
            if progress.interval_seconds is not None:
                timer = self._loop.call_later(progress.interval_seconds, tick)

        try:
            progress.start()
            wait()
            yield
        finally:
            if timer is not None:
                timer.cancel()
            progress.stop()
