"""How a whole run stands, whatever became of it in which process, in words for people."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from livepost.mark import IN_DOUBT, REJECTED
from livepost.runs.letters import FILE_OF
from livepost.runs.listing import Description
from livepost.runs.marks import Counts
from livepost.runs.run import Run


@dataclass(frozen=True, slots=True)
class Standing:
    """A run at one moment."""

    path: Path
    records: int | None
    """None while it is not known how many there are."""
    counts: Counts

    @classmethod
    def of(cls, run: Run) -> Self:
        """As it is now, in the hands of this process."""
        return cls(run.path, run.manifest.records, run.states.counts())

    @classmethod
    def described(cls, run: Description) -> Self:
        """As it was seen from outside."""
        return cls(run.path, run.manifest.records, run.counts)

    @property
    def unsent(self) -> int | None:
        return None if self.records is None else self.records - self.counts.marked

    @property
    def is_complete(self) -> bool:
        """Every record of the input was delivered, rejected, or is in doubt."""
        return self.unsent == 0 and not self.counts.in_flight

    @property
    def is_delivered(self) -> bool:
        """No record that was dealt with is rejected, or in doubt."""
        return not (self.counts.rejected or self.counts.in_doubt or self.counts.in_flight)

    def number_of(self, mark: int) -> int:
        """How many are rejected, or in doubt."""
        return {REJECTED: self.counts.rejected, IN_DOUBT: self.counts.in_doubt}[mark]

    def as_dict(self) -> dict[str, int]:
        """For `run.json`: the records by what became of them, as far as that is known."""
        counts = self.counts
        known = {"delivered": counts.delivered, "rejected": counts.rejected, "in_doubt": counts.in_doubt}
        if counts.in_flight:
            known["in_flight"] = counts.in_flight
        if self.unsent is not None:
            known["unsent"] = self.unsent
        return known

    def __str__(self) -> str:
        counts = self.counts
        total = "" if self.records is None else f" of {self.records:,}"
        others = {
            "rejected": counts.rejected,
            "in doubt": counts.in_doubt,
            "in flight when it was interrupted": counts.in_flight,
            "unsent": self.unsent or 0,
        }
        parts = [f"{number:,} {name}" for name, number in others.items() if number]
        return ", ".join([f"{counts.delivered:,}{total} delivered", *parts])

    def where_the_rest_is(self) -> list[str]:
        """A line for each file of letters that counts, and one with the command that sends them again."""
        names = {REJECTED: "rejected", IN_DOUBT: "in doubt"}
        found = [mark for mark in names if self.number_of(mark)]
        lines = [f"{self.number_of(mark):,} {names[mark]}: {self.path / FILE_OF[mark]}" for mark in found]
        if found:
            flags = " ".join("--" + names[mark].replace(" ", "-") for mark in found)
            lines.append(f"to send them again: livepost retry {quoted(self.path)} {flags}")
        return lines


def quoted(path: Path) -> str:
    """As a shell takes it."""
    return shlex.quote(str(path))
