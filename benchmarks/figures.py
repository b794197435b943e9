"""From single runs to the figures that are shown: medians, ratios, and whether a target was met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

CPU_OF_GO_AT_MOST = 0.5
RATE_OF_WRK_AT_LEAST = 0.5
TLS_RATE_OF_GO_AT_LEAST = 2.0
HTTP2_CPU_OF_GO_AT_MOST = 0.25
HTTP2_RATE_OF_H2LOAD_AT_LEAST = 0.4
HTTP2_RATE_OF_HTTP1_AT_LEAST = 1.0
PEAK_BYTES_BELOW = 60_000_000
PEAK_GROWTH_AT_MOST = 1.1
"""What "the same peak memory" for ten times the records means."""
VERSION_SECONDS_BELOW = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one peer in one round."""

    scenario: str
    peer: str
    round: int
    delivered: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    connections: int
    """Accepted by the server during the run."""
    server_cpu_seconds: float
    other_cores: float
    """How many cores whatever else runs on the machine kept busy meanwhile: noise."""

    @property
    def records_per_second(self) -> float:
        return self.delivered / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Client CPU per record."""
        return self.cpu_seconds / self.delivered * 1e6

    @property
    def handshakes_per_1000(self) -> float:
        return self.connections / self.delivered * 1000

    @property
    def server_busy(self) -> float:
        """Part of its core that the server used."""
        return self.server_cpu_seconds / self.seconds


Figure = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of one ratio per round, and how far the rounds lie apart."""

    median: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what was measured."""

    target: str
    measured: str
    met: bool | None
    """None where it could not be measured."""


def of(samples: Sequence[Sample], scenario: str, peer: str) -> list[Sample]:
    """The runs of one peer in one scenario."""
    return [sample for sample in samples if sample.scenario == scenario and sample.peer == peer]


def middle(samples: Sequence[Sample], figure: Figure) -> float:
    """The median of a figure over the rounds; there must be at least one."""
    return median(map(figure, samples))


def ratio(above: Sequence[Sample], below: Sequence[Sample], figure: Figure) -> Ratio | None:
    """`figure` of `above` in terms of `below`: a ratio for each round in which both ran.

    Runs of one round are neighbours in time, so what disturbs the machine mostly cancels out.
    None where they share no round.
    """
    base = {sample.round: figure(sample) for sample in below}
    ratios = [figure(sample) / base[sample.round] for sample in above if base.get(sample.round)]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


def speed_verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    """The targets that compare livepost with its peers, for the scenarios that were run."""
    scenarios = {sample.scenario for sample in samples}
    verdicts = []
    if "http" in scenarios:
        mine = of(samples, "http", "livepost")
        cpu = ratio(mine, of(samples, "http", "go"), lambda sample: sample.cpu_microseconds)
        rate = ratio(mine, of(samples, "http", "wrk"), lambda sample: sample.records_per_second)
        verdicts = [
            _at_most(f"client CPU per record at most {CPU_OF_GO_AT_MOST} of Go's", cpu, CPU_OF_GO_AT_MOST),
            _at_least(f"records/s at least {RATE_OF_WRK_AT_LEAST} of wrk's", rate, RATE_OF_WRK_AT_LEAST),
        ]
    if "tls" in scenarios:
        mine = of(samples, "tls", "livepost")
        rate = ratio(mine, of(samples, "tls", "go"), lambda sample: sample.records_per_second)
        target = f"over TLS records/s at least {TLS_RATE_OF_GO_AT_LEAST:g} times Go's"
        verdicts.append(_at_least(target, rate, TLS_RATE_OF_GO_AT_LEAST))
    return verdicts


def http2_verdicts(samples: Sequence[Sample], scenario: str, *, has_http1: bool) -> list[Verdict]:
    """The targets for one connection over HTTP/2; `has_http1` says that the server speaks HTTP/1.1, too."""
    mine = of(samples, scenario, "livepost")

    def compared(peer: str, figure: Figure) -> Ratio | None:
        return ratio(mine, of(samples, scenario, peer), figure)

    def rate(sample: Sample) -> float:
        return sample.records_per_second

    verdicts = [
        _at_most(
            f"{scenario}: client CPU per record at most {HTTP2_CPU_OF_GO_AT_MOST} of Go's",
            compared("go", lambda sample: sample.cpu_microseconds),
            HTTP2_CPU_OF_GO_AT_MOST,
        ),
        _at_least(
            f"{scenario}: records/s at least {HTTP2_RATE_OF_H2LOAD_AT_LEAST} of h2load's",
            compared("h2load", rate),
            HTTP2_RATE_OF_H2LOAD_AT_LEAST,
        ),
    ]
    if has_http1:
        verdicts.append(
            _at_least(
                f"{scenario}: faster than livepost over HTTP/1.1 with 64 connections",
                compared("livepost-http1", rate),
                HTTP2_RATE_OF_HTTP1_AT_LEAST,
            )
        )
    return verdicts


def memory_verdicts(few: int, few_peak: int, many: int, many_peak: int) -> list[Verdict]:
    """The targets for peak memory in bytes, with `few` and with `many` records."""
    growth = many_peak / few_peak
    limit = f"{PEAK_BYTES_BELOW / 1e6:.0f} MB"
    return [
        Verdict(
            f"peak memory under {limit}",
            f"{few_peak / 1e6:.1f} MB for {few} records",
            few_peak < PEAK_BYTES_BELOW,
        ),
        Verdict(
            f"the same for {many // few} times the records: growth at most {PEAK_GROWTH_AT_MOST}",
            f"{many_peak / 1e6:.1f} MB for {many} records, growth {growth:.2f}",
            growth <= PEAK_GROWTH_AT_MOST,
        ),
    ]


def startup_verdict(seconds: Sequence[float], bare: Sequence[float]) -> Verdict:
    """The target for `livepost --version`; `bare` is what the interpreter alone takes."""
    return Verdict(
        f"livepost --version under {VERSION_SECONDS_BELOW * 1000:.0f} ms",
        f"{median(seconds) * 1000:.0f} ms (of which the bare interpreter {median(bare) * 1000:.0f} ms)",
        median(seconds) < VERSION_SECONDS_BELOW,
    )


def _at_most(target: str, measured: Ratio | None, limit: float) -> Verdict:
    return Verdict(target, _shown(measured), None if measured is None else measured.median <= limit)


def _at_least(target: str, measured: Ratio | None, limit: float) -> Verdict:
    return Verdict(target, _shown(measured), None if measured is None else measured.median >= limit)


def _shown(measured: Ratio | None) -> str:
    if measured is None:
        return "not measured: livepost and this peer did not both run"
    return f"{measured.median:.2f} (rounds from {measured.smallest:.2f} to {measured.largest:.2f})"
