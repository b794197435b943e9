"""What came of bursts around a server's idle limit, and whether that is what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idle_servers import Counts, IdleServer
from reuse_plan import BurstPlan, Seen, Setting, least_handshakes

ALLOWED_EXCESS = 0.05


@dataclass(frozen=True, slots=True)
class Host:
    """A running server, and what was measured of it."""

    server: IdleServer
    version: str
    setting: Setting
    memory: Path
    """The cache directory of the probe."""
    known_limit: float
    """Seconds; as measured, or as the server says."""

    @property
    def name(self) -> str:
        cap = "" if self.setting.cap is None else f", {self.setting.cap:,}"
        return f"{self.version} ({self.setting.name}: {self.setting.limit} s{cap})"


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of one conversation."""

    server: str
    mode: str
    cycles: int
    sent: int
    in_doubt: int
    rejected: int
    stale: int
    twice: int
    lost: int
    handshakes: int
    least: int
    heartbeats: int
    closed: dict[str, int]

    @property
    def is_clean(self) -> bool:
        return not (self.in_doubt or self.rejected or self.stale or self.twice or self.lost)

    @property
    def excess(self) -> float:
        return self.handshakes / self.least - 1


def figures(
    host: Host, plan: BurstPlan, summary: dict[str, Any], receipts: Sequence[dict[str, Any]], counts: Counts
) -> Figures:
    """From livepost's summary and receipts, and from what the server counted."""
    used: list[set[int]] = [set() for _ in range(1 + len(plan.pauses))]
    for receipt in receipts:
        if receipt["connection"] is not None:
            used[plan.burst_of(receipt["n"])].add(receipt["connection"])
    before: set[int] = set()
    cycles, new = 0, []
    for connections in used:
        cycles += len(connections & before)
        new.append(len(connections - before))
        before |= connections
    records, closed = summary["records"], summary["connections"]["closed"]
    heartbeats = summary["connections"]["heartbeats"]
    ended = closed.get("server_idle", 0) + closed.get("reset", 0)
    alive = closed.get("finished", 0)
    full = closed.get("server_announced", 0) + closed.get("server_cap", 0)
    seen = Seen(new, ended, alive, full, heartbeats, host.known_limit)
    return Figures(
        host.name,
        plan.mode.value,
        cycles,
        plan.sent,
        records["in_doubt"],
        records["rejected"] + records["unsent"],
        sum(summary["retries"].values()),
        counts.requests - counts.different,
        max(0, records["delivered"] - counts.different),
        max(counts.connections, summary["connections"]["opened"]),
        least_handshakes(plan, seen),
        heartbeats,
        closed,
    )


def shown(rows: Sequence[Figures]) -> list[str]:
    """A table of all conversations, and their sums."""
    heads = f"{'cycles':>8}{'doubt':>7}{'rejected':>10}{'stale':>7}{'twice':>7}{'handshakes':>12}"
    lines = [f"{'':<52}{heads}{'least':>8}{'excess':>8}"]
    for row in rows:
        name = f"{row.server}, {row.mode}"
        lines.append(
            f"{name:<52}{row.cycles:>8,}{row.in_doubt:>7,}{row.rejected:>10,}{row.stale:>7,}{row.twice:>7,}"
            f"{row.handshakes:>12,}{row.least:>8,}{row.excess:>8.1%}"
        )
    if rows:
        sums = [sum(getattr(row, name) for row in rows) for name in ("cycles", "in_doubt", "rejected")]
        sums += [sum(row.stale for row in rows), sum(row.twice for row in rows)]
        made, least = sum(row.handshakes for row in rows), sum(row.least for row in rows)
        cycles, doubt, rejected, stale, twice = sums
        lines.append(
            f"{'all':<52}{cycles:>8,}{doubt:>7,}{rejected:>10,}{stale:>7,}{twice:>7,}"
            f"{made:>12,}{least:>8,}{made / least - 1:>8.1%}"
        )
    return lines


def missed(rows: Sequence[Figures], cycles_wanted: int) -> list[str]:
    """Which conditions of the proof are not met, a sentence each."""
    cycles = sum(row.cycles for row in rows)
    told = [] if cycles >= cycles_wanted else [f"{cycles:,} cycles are fewer than {cycles_wanted:,}"]
    told += [
        f"{row.server}, {row.mode}: not every record was delivered once, at the first attempt"
        for row in rows
        if not row.is_clean
    ]
    told += [
        f"{row.server}, {row.mode}: {row.excess:.1%} more handshakes than the least"
        for row in rows
        if round(row.excess, 9) > ALLOWED_EXCESS
    ]
    return told


def shown_crossings(crossings: Sequence[Figures]) -> list[str]:
    """What became of records that met an unknown limit, for each server and mode."""
    rows: dict[str, list[Figures]] = {}
    for row in crossings:
        rows.setdefault(f"{row.server}, {row.mode}", []).append(row)
    return [
        f"{'unknown limit, met for the first time':<52}{'records':>8}{'doubt':>7}{'stale':>7}",
        *(
            f"{name:<52}{sum(row.sent for row in row_group) // 3:>8,}"
            f"{sum(row.in_doubt for row in row_group):>7,}{sum(row.stale for row in row_group):>7,}"
            for name, row_group in rows.items()
        ),
    ]
