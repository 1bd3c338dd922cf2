"""Peaks: the chip's limits as the harness measures them are at least what hand-written loops of their shape reach."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

import backends
from backends.base import Request
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment
from bench.parent.suite import Suite
from host.topology import usable_cpus
from tests.fakes.door import ROOT
from tests.print_fidelity import BARE
from tests.qa.others import cell_of, request_of
from workloads.catalog import LIMITS, load
from workloads.count import count

ROUNDS, SECONDS = 3, 2.0
LEAST = 0.97
"""Two medians of one and the same loop differ by as much on a shared machine."""
EFFORT = Effort(warm_up_s=1.0, warm_up_steps=2, budget_s=SECONDS, min_rounds=5)


def bare_numpy(request: Request) -> Callable[[int], object]:
    """Returns a loop's body in plain NumPy, of the workloads that NumPy has an operation for."""
    operands = [*request.batches[0].values(), *request.parameters.values()]
    a, b = (np.array(x, np.float32) for x in operands)
    out = np.empty_like(a)
    call = np.matmul if request.workload.name == "matmul" else np.add
    return lambda i: call(a, b, out=out)


LOOPS: dict[str, Callable[[Request], Callable[[int], object]]] = {"numpy": bare_numpy, **BARE}


def by_hand_s(loop: str, name: str) -> float:
    """Returns the median of a hand-written loop, in this process."""
    os.sched_setaffinity(0, usable_cpus())
    suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(tempfile.mkdtemp()), EFFORT)
    backend = "torch_cpu" if loop == "numpy" else loop
    request = request_of(suite, cell_of(backend, name))
    if loop != "numpy":
        backends.get(backend).load(request)
    run = LOOPS[loop](request)
    for i in range(3):
        run(i)
    found: list[float] = []
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        run(len(found))
        found.append(perf_counter() - start)
    return median(found)


def in_child(loop: str, name: str) -> float:
    """Returns the same, of a process of its own."""
    environment = child_environment(os.environ, len(usable_cpus()))
    command = [sys.executable, "-m", "tests.qa.peaks", loop, name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def in_harness(loop: str, name: str, suite: Suite) -> float:
    """Returns the seconds of a step as `results/record/limits.py` reads them from a row."""
    row = suite.outcome(cell_of(loop, name))
    if row["status"] != "ok":
        raise RuntimeError(f"{name} on {loop}: {row['status']}: {row['reason']}")
    full_s: float = load(name).batch / row["throughput_samples_per_s"]
    return full_s if name == "stream" else min(float(row["latency_p50_s"]), full_s)


def main() -> int:
    good = True
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(Cache(default_root(os.environ), print), Path(logs), EFFORT)
        for name in (name for name in LIMITS if "infer" in load(name).programs):
            counts = count(load(name).programs["infer"])
            work, unit = (counts.minimum_bytes, "GB/s") if name == "stream" else (counts.flops, "GFLOP/s")
            ours: dict[str, list[float]] = {}
            theirs: dict[str, list[float]] = {}
            for number in range(ROUNDS):
                for loop in LOOPS:
                    for is_ours in (True, False) if number % 2 else (False, True):
                        if loop == "numpy" and (is_ours or name == "conv"):
                            continue
                        seconds = in_harness(loop, name, suite) if is_ours else in_child(loop, name)
                        (ours if is_ours else theirs).setdefault(loop, []).append(work / seconds / 1e9)
            for loop, rates in theirs.items():
                beside = f"harness {median(ours[loop]):.4g}, " if loop in ours else ""
                print(f"{name:7} {loop:16} {beside}by hand {median(rates):.4g} {unit}")
            peak, who = max((median(rates), loop) for loop, rates in ours.items())
            best = max(median(rates) for rates in theirs.values())
            good &= peak >= LEAST * best
            verdict = "ok" if peak >= LEAST * best else "MISSED"
            print(
                f"{name:7} peak {peak:.4g} {unit} ({who}), {peak / best:.3f} of the best loop   {verdict}", flush=True
            )
    return 0 if good else 1


if __name__ == "__main__":
    print(by_hand_s(*sys.argv[1:]))
