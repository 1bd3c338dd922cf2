"""Overhead: what the harness itself costs per step, with much output and with little."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from tests.fakes.door import bench, run_in

RUNS = 21
MOST_S = 1e-6
MOST_DIFFERENCE_S = 0.1e-6
CELL = (
    "--preset",
    "smoke",
    "--workloads",
    "mlp",
    "--backends",
    "null",
    "-k",
    "null and infer",
    "--results-dir",
    "runs",
)


def null_step_s(*arguments: str) -> float:
    """Returns the median step of `null` in a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = bench(*CELL, *arguments, cwd=Path(folder))
        if done.returncode:
            raise RuntimeError(f"the run failed:\n{done.stdout[-2000:]}")
        (row,) = run_in(Path(folder) / "runs").rows
        value = row["latency_p50_s"]
        assert isinstance(value, float)
        return value


def main() -> int:
    pairs = [(null_step_s("-vv"), null_step_s("-q")) for _ in range(RUNS)]
    much, little = (median(values) for values in zip(*pairs, strict=True))
    difference = abs(median(a - b for a, b in pairs))
    good = much <= MOST_S and little <= MOST_S and difference <= MOST_DIFFERENCE_S
    print(f"a step of null: {much * 1e9:.1f} ns with -vv, {little * 1e9:.1f} ns with -q, medians of {RUNS} runs each")
    print(f"median of the differences: {difference * 1e9:.1f} ns   {'ok' if good else 'MISSED'}")
    return 0 if good else 1
