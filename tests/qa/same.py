"""Same: two runs of the suite back to back give the same answer twice, or say that the machine was disturbed."""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

from results.record.row import Row, cell_of
from results.record.run import find_runs, read_run
from tests.fakes.door import bench

WITHIN = 0.05
SHARE_WITHIN = 0.95
MOST_DIFFERENT = 0.01
NIGHT_SIGMA = 0.03
"""How far a cell moves between two runs on a shared virtual machine, as a standard deviation: a prior, until there is
a history of the machine's own."""
Z_99 = 2.576


def numbers(rows: tuple[Row, ...]) -> dict[tuple[object, ...], tuple[float, str]]:
    """Returns (latency, quality) of each cell that has a number of work."""
    return {
        cell_of(row): (row["latency_p50_s"], str(row["quality"]))
        for row in rows
        if row["status"] == "ok" and row["verification"] == "passed" and isinstance(row["latency_p50_s"], float)
    }


def main() -> int:
    if found := [Path(word) for word in sys.argv[2:] if Path(word).is_dir()]:
        runs = found
    else:
        folder = Path(tempfile.mkdtemp(prefix="samestep-same-"))
        for _ in range(2):
            bench("--preset", "quick", "--results-dir", "runs", cwd=folder)
        runs = list(find_runs(folder / "runs"))
    first, second = (numbers(read_run(run).rows) for run in runs[-2:])
    both = sorted(set(first) & set(second), key=str)
    valid = [cell for cell in both if first[cell][1] == second[cell][1] == "valid"]
    change = {cell: math.log(second[cell][0] / first[cell][0]) for cell in both}
    for cell in both:
        mark = "valid" if cell in valid else f"{first[cell][1]}, {second[cell][1]}"
        print(f"  {' '.join(str(part) for part in cell if part is not None):70} {change[cell]:+7.2%}  {mark}")
    share = len(valid) / len(both) if both else 0.0
    print(f"{len(valid)} of {len(both)} cells valid in both runs ({share:.0%})")
    if share < 0.5:
        print("under half: NOT SHOWN, the machine was too disturbed")
        return 2
    within = sum(abs(change[cell]) <= WITHIN for cell in valid) / len(valid)
    limit = Z_99 * math.sqrt(2) * NIGHT_SIGMA
    different = sum(abs(change[cell]) > limit for cell in valid) / len(valid)
    good = within >= SHARE_WITHIN and different <= MOST_DIFFERENT
    print(
        f"of the valid: {within:.0%} within ±{WITHIN:.0%}, {different:.0%} called different (beyond ±{limit:.1%})",
        end="",
    )
    print(f"   {'ok' if good else 'MISSED'}")
    return 0 if good else 1
