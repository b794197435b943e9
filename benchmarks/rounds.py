"""Rounds: every peer in turn against the same server, each run one sample."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import data
import machine
import measure
from figures import Sample
from peers import Job, Peer, Result, UnreadableResultError
from scenarios import Scenario

FIRST_RUN_SECONDS = 2
"""How long a timed peer runs at first; then as long as it takes for as many records as the others."""
LONGEST_RUN_SECONDS = 10


def progress(text: str) -> None:
    """A line for who waits, on stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Rounds:
    """Runs peers and keeps their samples; what went wrong is kept as sentences."""

    directory: Path
    client_core: int
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _seconds: dict[tuple[str, str], int] = field(default_factory=dict)

    def run(self, scenario: Scenario, peers: Sequence[Peer], records: int, rounds: int) -> None:
        """Run all peers `rounds` times."""
        for round_number in range(1, rounds + 1):
            # Every other round backwards: nobody always follows the same peer, and those that are
            # compared stay neighbours in time.
            for peer in peers if round_number % 2 else reversed(peers):
                count = max(1, round(records * peer.shares[scenario.is_tls]))
                sample = self.one(scenario, peer, self.file(count), count, round_number)
                if sample is not None:
                    progress(
                        f"{scenario.key} round {round_number} of {rounds}: {peer.key:14}"
                        f"{sample.records_per_second:>9.0f}/s {sample.cpu_microseconds:>8.1f} µs"
                    )

    def one(
        self, scenario: Scenario, peer: Peer, file: Path, count: int, round_number: int, key: str = ""
    ) -> Sample | None:
        """Run one peer once; None, and a problem noted, if it did not deliver every record.

        The sample goes under `key`, if that is given, or the scenario's.
        """
        key = key or scenario.key
        job = Job(
            url=scenario.url,
            file=file,
            connections=scenario.at_once,
            seconds=self._seconds.get((key, peer.key), FIRST_RUN_SECONDS),
            certificate=scenario.certificate,
            is_http2=scenario.is_http2,
            http1_url=scenario.http1_url,
        )
        accepted, server, busy = _counters(scenario)
        try:
            ended = measure.run(peer.command(job), self.client_core, self.directory)
            result = _checked(peer, ended, count)
        except (UnreadableResultError, measure.TooSlowError) as error:
            self.problems.append(f"{peer.key}, {key}, round {round_number}: {error}")
            progress(self.problems[-1])
            return None
        accepted_then, server_then, busy_then = _counters(scenario)
        other_seconds = (busy_then - busy) - (server_then - server) - ended.cpu_seconds
        sample = Sample(
            scenario=key,
            peer=peer.key,
            round=round_number,
            delivered=result.delivered,
            seconds=ended.wall_seconds if result.seconds is None else result.seconds,
            cpu_seconds=ended.cpu_seconds if result.cpu_seconds is None else result.cpu_seconds,
            peak_bytes=ended.peak_bytes,
            connections=accepted_then - accepted,
            server_cpu_seconds=server_then - server,
            other_cores=max(0.0, other_seconds / ended.wall_seconds),
        )
        self.samples.append(sample)
        wanted_seconds = round(count / sample.records_per_second)
        self._seconds[key, peer.key] = min(max(wanted_seconds, 1), LONGEST_RUN_SECONDS)
        return sample

    def file(self, count: int) -> Path:
        """A file of so many records, made once."""
        path = self.directory / f"{count}.ndjson"
        return path if path.exists() else data.write(path, count)


def _counters(scenario: Scenario) -> tuple[int, float, float]:
    server = scenario.server
    return server.connections_accepted(), server.cpu_seconds(), machine.busy_seconds()


def _checked(peer: Peer, ended: measure.Run, count: int) -> Result:
    """What the peer delivered, or UnreadableResultError if that is not every record."""
    if ended.exit_code:
        said = (ended.stderr or ended.stdout).strip()[-300:]
        raise UnreadableResultError(f"exit code {ended.exit_code}: {said}")
    result = peer.read(ended.stdout)
    enough = result.delivered > 0 if peer.is_timed else result.delivered == count
    if result.failed or not enough:
        raise UnreadableResultError(f"{result.delivered} of {count} delivered, {result.failed} failed")
    return result
