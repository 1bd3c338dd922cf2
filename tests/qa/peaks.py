"""Peaks: what the harness measures as the chip's limits is at least what hand-written loops of the same shape reach."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from bench.cache import Cache, default_root
from bench.cell import Cell
from bench.effort import Effort
from bench.environment import child_environment, usable_cpus
from bench.suite import Suite
from tests.fakes.door import ROOT
from workloads.catalog import LIMITS, load
from workloads.count import count

ROUNDS, SECONDS = 3, 2.0
LEAST = 0.97
"""Two medians of one and the same loop differ by as much on a shared machine."""
EFFORT = Effort(warm_up_s=1.0, warm_up_steps=2, budget_s=SECONDS, min_rounds=5, least_s=SECONDS)
RUNTIMES = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")


def arrays(name: str) -> list[Any]:
    """Returns two operands of the workload's shapes."""
    workload = load(name)
    shapes = [spec.shape for spec in (*workload.inputs, *workload.parameters)]
    return [np.random.default_rng(i).standard_normal(shape, np.float32) for i, shape in enumerate(shapes)]


def in_numpy(name: str) -> Callable[[], object]:
    a, b = arrays(name)
    out = np.empty_like(a)
    return (lambda: np.matmul(a, b, out=out)) if name == "matmul" else (lambda: np.add(a, b, out=out))


def in_torch(name: str) -> Callable[[], object]:
    import torch

    torch.set_num_threads(len(usable_cpus()))
    a, b = (torch.from_numpy(x) for x in arrays(name))
    out = torch.empty_like(a)
    calls = {
        "matmul": lambda: torch.mm(a, b, out=out),
        "conv": lambda: torch.nn.functional.conv2d(a, b, padding=1),
        "stream": lambda: torch.add(a, b, out=out),
    }
    return torch.inference_mode()(calls[name])


def in_jax(name: str) -> Callable[[], object]:
    import jax

    a, b = (jax.device_put(x) for x in arrays(name))
    calls = {
        "matmul": lambda x, y: jax.numpy.matmul(x, y, precision="highest"),
        "conv": lambda x, y: jax.lax.conv(x, y, (1, 1), "SAME"),
        "stream": lambda x, y: x + y,
    }
    run = jax.jit(calls[name])
    return lambda: run(a, b).block_until_ready()


LOOPS = {"numpy": in_numpy, "torch": in_torch, "jax": in_jax}


def seconds_of(loop: str, name: str) -> float:
    """Returns the median of a hand-written loop, in this process."""
    run = LOOPS[loop](name)
    found: list[float] = []
    run()
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        run()
        found.append(perf_counter() - start)
    return median(found)


def by_hand(name: str) -> dict[str, float]:
    """Returns the seconds of each hand-written loop, each in a process of its own."""
    environment = child_environment(os.environ, len(usable_cpus()))
    found = {}
    for loop in LOOPS:
        if (loop, name) == ("numpy", "conv"):
            continue  # NumPy has none
        command = [sys.executable, "-m", "tests.qa.peaks", loop, name]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        found[loop] = float(done.stdout.splitlines()[-1])
    return found


def in_harness(name: str, suite: Suite) -> dict[str, float]:
    """Returns the seconds of a step on each backend, as its row has them: the better of latency and throughput."""
    workload, found = load(name), {}
    for backend in RUNTIMES:
        shape = (workload.batch, workload.sequence, "fp32", len(usable_cpus()))
        row = suite.outcome(Cell(name, workload.size, "infer", backend, *shape))
        if row["status"] != "ok":
            raise RuntimeError(f"{name} on {backend}: {row['status']}: {row['reason']}")
        full_s = workload.batch / row["throughput_samples_per_s"]
        found[backend] = full_s if name == "stream" else min(row["latency_p50_s"], full_s)  # as in results/limits.py
    return found


def main() -> int:
    good = True
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(Cache(default_root(os.environ), print), Path(logs), EFFORT)
        for name in LIMITS:
            counts = count(load(name), "infer")
            work, unit = (counts.minimum_bytes, "GB/s") if name == "stream" else (counts.flops, "GFLOP/s")
            ours: dict[str, list[float]] = {}
            theirs: dict[str, list[float]] = {}
            for number in range(ROUNDS):
                measured = [
                    (ours, lambda name=name: in_harness(name, suite)),
                    (theirs, lambda name=name: by_hand(name)),
                ]
                for seen, measure in measured if number % 2 == 0 else measured[::-1]:
                    for key, seconds in measure().items():
                        seen.setdefault(key, []).append(work / seconds / 1e9)
            best = [max((median(rates), key) for key, rates in seen.items()) for seen in (ours, theirs)]
            for what, seen in (("harness", ours), ("by hand", theirs)):
                print(f"{name:7} {what}: " + ", ".join(f"{key} {median(rates):.4g}" for key, rates in seen.items()))
            ratio = best[0][0] / best[1][0]
            good &= ratio >= LEAST
            verdict = "ok" if ratio >= LEAST else "MISSED"
            peak, who = best[0]
            print(f"{name:7} peak {peak:.4g} {unit} ({who}), {ratio:.3f} of the best loop   {verdict}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    os.sched_setaffinity(0, usable_cpus())
    print(seconds_of(*sys.argv[1:]))
