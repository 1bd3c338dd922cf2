"""Prints how far correct code lies from the reference, by quantity: what the tolerances are made from.

    python -m bench.correct_errors WORKLOAD SIZE BACKEND…

One process per backend, because frameworks disturb each other; artifacts come from the cache.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import backends
from backends.base import Request
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.suite import Suite
from host.topology import usable_cpus
from workloads.catalog import load, phases_of


def main(workload_name: str, size: str, backend: str) -> None:
    """Prints one line per phase and quantity: worst error and worst scale, each with its tensor."""
    from bench.child import artifacts, verify
    from workloads.tolerance import Tolerance

    adapter = backends.get(backend)
    workload = load(workload_name, size)
    threads = len(usable_cpus())
    anything = dict.fromkeys(verify.QUANTITIES, Tolerance(float("inf"), float("inf"), 0, 0))
    suite = Suite(Cache(default_root(os.environ), print), Path(tempfile.mkdtemp()), Effort(0, 0, 0, 1))
    adapter.load(threads)
    for phase in phases_of(workload_name):
        cell = Cell(workload_name, size, phase, backend, workload.batch, workload.sequence, "fp32", threads)
        entries = suite.entries(cell, workload, adapter)
        parameters = artifacts.map_arrays(entries["parameters"].path / "parameters.safetensors")
        batches = artifacts.load_batches(entries["batches"].path / "batches.safetensors")
        graph = entries["graph"].path / "step.onnx" if "graph" in entries else None
        step = adapter.prepare(Request(workload, phase, "fp32", threads, 0, parameters, batches, graph))
        step.compile()
        found, _ = verify.observe(step, phase, parameters)
        deviations = verify.compare(found, artifacts.load_expected(entries["expected"].path), anything).deviations
        for quantity in verify.QUANTITIES:
            line = f"{workload_name} {size} {phase} {backend:16} {quantity:16}"
            for measure in ("error", "scale"):
                ours = [d for d in deviations if (d.quantity, d.measure) == (quantity, measure)]
                if ours:
                    worst = max(ours, key=lambda d: d.value)
                    line += f" {measure} {worst.value:.1e} ({worst.tensor})"
            if "error" in line:
                print(line)
        step.close()


if __name__ == "__main__":
    for name in sys.argv[3:]:
        if len(sys.argv) == 4:
            main(sys.argv[1], sys.argv[2], name)
        else:
            os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", "bench.correct_errors", *sys.argv[1:3], name])
