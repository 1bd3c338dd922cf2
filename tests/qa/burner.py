"""Burner: a process that computes beside a run is flagged in every cell, every time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fakes.door import bench, run_in

RUNS = 5
CELL = ("--preset", "quick", "--workloads", "mlp", "--backends", "onnxruntime_cpu", "--phases", "infer")
FLAGS = {"other_load", "overloaded"}


def flags_of_launches(folder: Path) -> list[set[str]]:
    """Returns the flags of each launch of a quick run of one workload."""
    bench(*CELL, "--benchmark-max-time", "2", "--results-dir", "runs", cwd=folder)
    launches = run_in(folder / "runs").launches
    return [set((launch["columns"].get("flags") or "").split()) for launch in launches]


def main() -> int:
    flagged = total = 0
    for _ in range(RUNS):
        with (
            tempfile.TemporaryDirectory() as folder,
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner,
        ):
            try:
                found = flags_of_launches(Path(folder))
            finally:
                burner.kill()
        total += len(found)
        flagged += sum(bool(flags & FLAGS) for flags in found)
    with tempfile.TemporaryDirectory() as folder:
        calm = flags_of_launches(Path(folder))
    print(f"{flagged} of {total} launches beside a burner were flagged   {'ok' if flagged == total else 'MISSED'}")
    print(f"without one: {', '.join(' '.join(sorted(flags)) or 'no flag' for flags in calm)}")
    return 0 if flagged == total > 0 else 1
