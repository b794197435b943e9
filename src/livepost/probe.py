"""`livepost probe` as a library: what is worth knowing of a server before a large run.

    options = DeliveryOptions(target=parse_target("https://example.com/api"))
    findings = asyncio.run(Probe(options, ProbeOptions()).run())
    print(recommend(findings))

Only HEAD, GET and OPTIONS are sent.  First contact is made, and errors there are a delivery's; then the
handshakes are tried one after the other; then everything that takes long is measured at the same time.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Protocol

from livepost.clock import Clock, WallClock, monotonic, utc_now
from livepost.config import DeliveryOptions
from livepost.errors import LivepostError
from livepost.events import HttpVersion
from livepost.probing.cap import CapMeasure
from livepost.probing.contact import Met, ask_for_hint, meet
from livepost.probing.conversation import NoAnswer
from livepost.probing.display import Display, NoDisplay
from livepost.probing.findings import Findings, LookUp
from livepost.probing.handshakes import look_up_addresses, time_tcp, try_addresses, try_tls
from livepost.probing.idle import IdleMeasure
from livepost.probing.opening import Opener
from livepost.probing.options import ProbeOptions
from livepost.probing.ping import PingMeasure
from livepost.probing.samples import Samples
from livepost.target import Target, parse_target

# A server of HTTP/1.1 refuses the preface of HTTP/2 at once, or never says anything.
_PREFACE_SECONDS = 3.0


class _Measure(Protocol):
    """What takes long: it can be looked at while it runs."""

    label: str
    troubles: list[str]

    async def run(self) -> None: ...

    def status(self) -> str: ...


class Probe:
    """One probe of `options.target`.  Await `run` once; `stop` may be called meanwhile, on the same loop.

    Of `options` only the target, headers, timeouts, TLS and route count.  Raises ConfigurationError if
    they cannot work.
    """

    def __init__(
        self,
        options: DeliveryOptions,
        asked: ProbeOptions,
        *,
        display: Display | None = None,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        target = _probed(options.target, asked.path)
        self._asked = asked
        self._display = display or NoDisplay()
        self._clock = clock
        self._wall_clock = wall_clock
        self._samples = Samples(wall_clock)
        self._opener = Opener(dataclasses.replace(options, target=target), self._samples, clock)
        for method in asked.methods:
            self._opener.head(method)
        path, query, _ = target.path.partition("?")
        proxy = self._opener.proxy
        self._findings = Findings(
            url=str(target),
            path=path + query,
            started=wall_clock(),
            via_proxy=None if proxy is None else proxy.host_and_port,
        )
        self._doing: tuple[_Measure, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def run(self) -> Findings:
        """Find out everything, or what there is time for until `stop`.

        Raises DialError if there is no connection, and DestinationError if the server does not answer in
        HTTP: then nothing can be found out.
        """
        started = self._clock()
        self._task = asyncio.create_task(self._find_out())
        showing = asyncio.create_task(self._show(started))
        self._display.start()
        try:
            if not self._is_stopped:
                await self._task
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
        finally:
            await _end(showing)
            self._display.stop()
        self._learned(
            seconds=self._clock() - started,
            round_trip=self._samples.round_trip(),
            clock_skew=self._samples.clock_skew(),
            connections_opened=self._samples.connections,
            requests_sent=self._samples.requests_sent,
        )
        return self._findings

    def stop(self) -> None:
        """Wait no longer: `run` returns what is known so far."""
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _show(self, started: float) -> None:
        interval = self._display.interval_seconds
        while interval is not None:
            await asyncio.sleep(interval)
            doing = {measure.label: measure.status() for measure in self._doing}
            self._display.tick(self._clock() - started, doing or {"handshakes": "under way"})

    def _learned(self, **what: Any) -> None:
        self._findings = dataclasses.replace(self._findings, **what)

    def _had_trouble(self, trouble: str) -> None:
        self._learned(troubles=(*self._findings.troubles, trouble))

    async def _find_out(self) -> None:
        look_up = await look_up_addresses(self._opener)
        self._learned(look_up=look_up)
        opener, met = await self._meet()
        self._learned(
            connected_to=met.address,
            contact=met.contact,
            http2_settings=met.settings,
            keep_alive_hint=met.hint or await ask_for_hint(opener, met.head),
        )
        await self._try_handshakes(look_up, met)
        if met.contact.keeps_alive:
            await self._measure(opener, met)
        self._learned(is_complete=True)

    async def _meet(self) -> tuple[Opener, Met]:
        """First contact in the version of HTTP that a delivery would speak, or in the one to recommend."""
        opener, methods, route = self._opener, self._asked.methods, self._opener.options.route
        is_given = route.http1_1 or route.http2_prior_knowledge
        if opener.target.is_tls and not is_given:
            try:
                return opener, await meet(opener, methods)
            except NoAnswer as error:
                other = opener.changed(http1_1=True)
                try:
                    met = await meet(other, methods)
                except LivepostError:
                    raise self._not_http(error) from None
                self._had_trouble(f"HTTP/2: {error}")
                return other, met
        if not is_given and opener.proxy is None:
            # One way or the other, and if in neither, HTTP/1.1 says why.
            other = opener.changed(http2_prior_knowledge=True)
            met_in_http2 = await _try_preface(other, methods)
            self._learned(is_http2_without_tls=met_in_http2 is not None)
            if met_in_http2 is not None:
                return other, met_in_http2
        try:
            return opener, await meet(opener, methods)
        except NoAnswer as error:
            raise self._not_http(error) from None

    def _not_http(self, error: NoAnswer) -> NoAnswer:
        host = self._opener.target.host_and_port
        if self._opener.options.route.http2_prior_knowledge:
            return NoAnswer(f"{host} does not answer in HTTP/2: {error}", "try --http1.1")
        if error.was_silence:
            return NoAnswer(f"{host} takes connections, but {error}", error.hint)
        return NoAnswer(f"{host} does not answer in HTTP: {error}", "check the port, and http or https")

    async def _try_handshakes(self, look_up: LookUp | None, met: Met) -> None:
        try:
            if look_up is not None:
                self._learned(look_up=await try_addresses(self._opener, look_up))
            if self._opener.target.is_tls:
                tls = await try_tls(self._opener, met.http_version, met.head, self._wall_clock())
                self._learned(tls=tls)
            else:
                await time_tcp(self._opener)
        except (LivepostError, OSError) as error:
            self._had_trouble(f"handshakes: {error}")

    async def _measure(self, opener: Opener, met: Met) -> None:
        """Everything that takes long, at the same time; what is known counts, also when it is cancelled."""
        asked = self._asked
        idle = IdleMeasure(opener, met.head, asked.max_wait)
        cap = CapMeasure(opener, met.head, asked.max_requests, asked.max_wait)
        pings: PingMeasure | None = None
        if met.http_version is HttpVersion.HTTP_2:
            pings = PingMeasure(opener, met.head, asked.max_wait, lambda: idle.limit_seconds)
        self._doing = (idle, cap) if pings is None else (idle, cap, pings)
        try:
            async with asyncio.TaskGroup() as group:
                for measure in self._doing:
                    group.create_task(measure.run())
        finally:
            self._learned(idle=idle.found(), cap=cap.found(), pings=None if pings is None else pings.found())
            for measure in self._doing:
                for trouble in dict.fromkeys(measure.troubles):
                    self._had_trouble(trouble)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _try_preface(opener: Opener, methods: tuple[str, ...]) -> Met | None:
    """First contact in HTTP/2 without TLS; None if the server does not speak it."""
    try:
        async with asyncio.timeout(_PREFACE_SECONDS):
            return await meet(opener, methods[:1])
    except (NoAnswer, TimeoutError):
        return None


def _probed(target: Target, path: str | None) -> Target:
    if path is None:
        return target
    other = parse_target(f"{target.scheme}://{target.host_and_port}{path}")
    return dataclasses.replace(target, path=other.path)
