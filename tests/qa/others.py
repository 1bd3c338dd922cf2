"""Others: the same step by others' tools, same file and settings, in interleaved pairs of processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import backends
from backends._graphs import ONNX, ONNX_FILE
from backends.base import Request
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment
from bench.parent.suite import Suite
from host.topology import usable_cpus
from tests.fakes.steps import request_in
from tests.print_fidelity import BARE, ROOT, interval
from workloads.catalog import load

PAIRS = 8
SECONDS = 3
WORKLOAD = "mlp"
EFFORT = Effort(warm_up_s=2.0, warm_up_steps=5, budget_s=SECONDS, min_rounds=10)
LATENCY_WITHIN = (0.97, 1.03)
THROUGHPUT_LEAST = 0.97


@dataclass(frozen=True)
class Comparison:
    """One of our numbers beside one of theirs: a time in seconds, or steps per second."""

    name: str
    backend: str
    is_rate: bool
    theirs: Callable[[Request], float]


def benchmark_app(request: Request, hint: str) -> str:
    """Returns what OpenVINO's own tool prints for the graph, in our precision; its threads are those of the process.

    It refuses to be told its threads beside a hint.
    """
    tool = Path(sysconfig.get_path("scripts")) / "benchmark_app"
    command = [
        tool,
        "-m",
        str(request.artifacts[ONNX.name] / ONNX_FILE),
        "-d",
        "CPU",
        "-hint",
        hint,
        "-t",
        str(SECONDS),
    ]
    command += ["-infer_precision", "f32", *(["-api", "sync"] if hint == "latency" else [])]
    environment = child_environment(os.environ, request.threads)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def app_latency_s(request: Request) -> float:
    found = re.search(r"Median:\s+([\d.]+) ms", benchmark_app(request, "latency"))
    assert found
    return float(found[1]) * 1e-3


def app_steps_per_s(request: Request) -> float:
    said = benchmark_app(request, "throughput")
    count, duration = (re.search(pattern, said) for pattern in (r"Count:\s+(\d+)", r"Duration:\s+([\d.]+) ms"))
    assert count
    assert duration
    return int(count[1]) / (float(duration[1]) * 1e-3)


def bare_s(backend: str) -> Callable[[Request], float]:
    """Returns what times the hand-written loop of `tests/print_fidelity.py`, in a process of its own."""

    def run(request: Request) -> float:
        command = [sys.executable, "-m", "tests.qa.others", backend]
        environment = child_environment(os.environ, request.threads)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout.splitlines()[-1]))

    return run


COMPARISONS = (
    Comparison("benchmark_app -hint latency -api sync", "openvino_cpu", False, app_latency_s),
    Comparison("benchmark_app -hint throughput", "openvino_cpu", True, app_steps_per_s),
    Comparison("a bare ONNX Runtime loop", "onnxruntime_cpu", False, bare_s("onnxruntime_cpu")),
    Comparison("torch.utils.benchmark.Timer", "torch_cpu", False, bare_s("torch_cpu")),
    Comparison("a bare JAX loop", "jax_cpu", False, bare_s("jax_cpu")),
)


def cell_of(backend: str, name: str = WORKLOAD) -> Cell:
    workload = load(name)
    return Cell(name, workload.size, "infer", backend, workload.batch, None, "fp32", len(usable_cpus()))


def request_of(suite: Suite, cell: Cell) -> Request:
    """Returns what the adapter is asked for in the cell, with its options at their defaults."""
    adapter, workload = backends.get(cell.backend), cell.load_workload()
    entries = suite.entries(cell, workload, adapter)
    return request_in(entries, adapter, workload, "infer", cell.threads, options=adapter.chosen_options({}))


def time_bare(backend: str) -> float:
    """Returns the median of the bare loop, in this process."""
    suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(tempfile.mkdtemp()), EFFORT)
    request = request_of(suite, cell_of(backend))
    backends.get(backend).load(request)
    run = BARE[backend](request)
    for i in range(20):
        run(i)
    if backend == "torch_cpu":
        from torch.utils.benchmark import Timer

        timer = Timer("run(0)", globals={"run": run}, num_threads=request.threads)
        return float(timer.blocked_autorange(min_run_time=SECONDS).median)
    found, end, i = [], perf_counter() + SECONDS, 0
    while perf_counter() < end:
        start = perf_counter()
        run(i)
        found.append(perf_counter() - start)
        i += 1
    return median(found)


def main() -> int:
    print(f"{WORKLOAD} infer, {PAIRS} pairs in ABBA order, {SECONDS} s each; ratio ours/theirs, median and interval")
    good = True
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(Cache(default_root(os.environ), print), Path(logs), EFFORT)
        for comparison in COMPARISONS:
            good &= compared(comparison, suite)
    return 0 if good else 1


def compared(comparison: Comparison, suite: Suite) -> bool:
    """Prints a line and returns whether our number is as good as theirs."""
    cell = cell_of(comparison.backend)
    request = request_of(suite, cell)

    def ours() -> float:
        row = suite.run(cell).columns
        if row.get("reason_code") == "disturbed":
            row = suite.run(cell).columns
        if row["status"] != "ok":
            raise RuntimeError(f"{cell.title}: {row['status']}: {row['reason']}")
        rate: float = row["throughput_samples_per_s"] / cell.batch
        latency: float = row["latency_p50_s"]
        return rate if comparison.is_rate else latency

    ratios = []
    for pair in range(PAIRS):
        if pair % 2:
            b = comparison.theirs(request)
            a = ours()
        else:
            a = ours()
            b = comparison.theirs(request)
        ratios.append(a / b)
    low, high = interval(ratios)
    least, most = (THROUGHPUT_LEAST, float("inf")) if comparison.is_rate else LATENCY_WITHIN
    good = high >= least and low <= most
    what = "steps/s" if comparison.is_rate else "latency"
    said = f"{median(ratios):.3f}  [{low:.3f}, {high:.3f}]"
    print(f"{comparison.name:40} {what:8} {said}  {'ok' if good else 'MISSED'}", flush=True)
    return good


if __name__ == "__main__":
    print(json.dumps(time_bare(sys.argv[1])))
