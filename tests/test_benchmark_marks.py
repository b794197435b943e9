"""The benchmark of the marks runs and says what it measured; whether it is fast is for a quiet machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "marks.py"


def test_it_tells_what_marking_costs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "--records", "5000", "--rounds", "1"],
        capture_output=True,
        text=True,
    )
    assert shown.stderr == ""
    costs = [float(cost) for cost in re.findall(r"([0-9.]+) µs(?:  \(target|\n)", shown.stdout)]
    assert len(costs) == 2
    assert costs[0] > 0
    assert shown.returncode == (costs[0] > 0.3)
    assert list(tmp_path.iterdir()) == []
