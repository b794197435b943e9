"""How figures are written down: plain text, at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from figures import Ratio, Sample, Verdict, middle, of, ratio

BASES = ("livepost", "go", "wrk")
"""The peer that the others are compared with: the first of these that ran, else the first that did."""
WIDTH = 100
QUIET_CORES = 0.1
"""More other work than this is worth a warning."""

_HEADS = (
    f"{'':26}    ratio of       records   CPU µs      handshakes      server    peak",
    f"{'':26}   speed     CPU        /s  /record      total   /1 000    busy      MB",
)


def number(value: float) -> str:
    """`1234567` as `1 234 567`."""
    return f"{value:,.0f}".replace(",", " ")


@dataclass(frozen=True, slots=True)
class Speeds:
    """A table of peers, ratios first; those that did not run say why."""

    labels: Mapping[str, str]
    """What to call each peer, in the order of the rows."""
    missing: Mapping[str, str]
    peak_floor_bytes: int

    def lines(self, title: str, samples: Sequence[Sample], scenario: str) -> list[str]:
        """The table of one scenario, of those that were to take part in it or did."""
        ran = [key for key in self.labels if of(samples, scenario, key)]
        base = next((key for key in BASES if key in ran), ran[0] if ran else "")
        lines = ["", title, f"ratios are in terms of {self.labels.get(base, 'nobody')}"]
        lines += _HEADS
        for key, label in self.labels.items():
            if key in ran:
                lines.append(self._row(label, of(samples, scenario, key), of(samples, scenario, base)))
            else:
                lines.append(f"{label:26} {self.missing.get(key, 'no run succeeded, see the problems')}")
        return lines + _noise([sample.other_cores for sample in samples if sample.scenario == scenario])

    def _row(self, label: str, mine: Sequence[Sample], base: Sequence[Sample]) -> str:
        peak = max(sample.peak_bytes for sample in mine)
        at_most = "≤" if peak < self.peak_floor_bytes * 1.05 else ""
        return (
            f"{label:26}"
            f" {_times(ratio(mine, base, lambda sample: sample.records_per_second)):>7}"
            f" {_times(ratio(mine, base, lambda sample: sample.cpu_microseconds)):>7}"
            f" {number(middle(mine, lambda sample: sample.records_per_second)):>9}"
            f" {middle(mine, lambda sample: sample.cpu_microseconds):>8.1f}  "
            f" {number(middle(mine, lambda sample: sample.connections)):>8}"
            f" {middle(mine, lambda sample: sample.handshakes_per_1000):>8.2f}"
            f" {middle(mine, lambda sample: sample.server_busy):>7.0%}"
            f" {at_most + format(peak / 1e6, '.1f'):>7}"
        )


def verdicts(found: Sequence[Verdict]) -> list[str]:
    """Each target, what was measured, and whether it was met."""
    words = {True: "met   ", False: "MISSED", None: "?     "}
    lines = ["", "Targets"]
    for verdict in found:
        lines += [f"  {words[verdict.met]}  {verdict.target}", f"          {verdict.measured}"]
    return lines


def _noise(cores: Sequence[float]) -> list[str]:
    if not cores:
        return []
    warning = ": the figures are noisy" if max(cores) > QUIET_CORES else ""
    return [f"other work meanwhile: {fmean(cores):.2f} cores on average, {max(cores):.2f} at most{warning}"]


def _times(found: Ratio | None) -> str:
    return "-" if found is None else f"{found.median:.2f}"
