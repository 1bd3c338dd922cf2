"""Burner: what a process that computes beside a group does to its numbers, against what the marks say."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median

from bench.cell import Cell
from bench.parent.cache import Cache, default_root
from bench.parent.children.control import Control
from bench.parent.children.group import Group
from bench.parent.plans.presets import PRESETS
from bench.parent.record import Launch
from bench.parent.suite import Suite
from host.topology import usable_cpus
from results.record.vocabulary import QUALITIES
from workloads.catalog import load

STEP = ("mlp", "train")
BACKENDS = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
STRENGTHS = (0.0, 0.1, 0.25, 0.5, 1.0, 0.0)
"""Parts of a core that the burner takes; nothing at the begin and at the end, which say what the number is."""
BURN = """
import sys, time
part, period = float(sys.argv[1]), 0.05
while True:
    end = time.perf_counter() + part * period
    while time.perf_counter() < end:
        pass
    time.sleep((1 - part) * period)
"""
MOST_UNSEEN = 0.1


@contextmanager
def burning(part: float) -> Iterator[None]:
    """Has another process take this part of a core meanwhile."""
    if not part:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BURN, str(part)]) as burner:
        try:
            yield
        finally:
            burner.kill()


def launches(suite: Suite, cells: list[Cell], number: int, part: float) -> list[Launch]:
    """Returns what comes of the cells, measured side by side while something burns; the control began before it."""
    control = Control(usable_cpus(), suite.logs / "control.log")
    control.begin()
    try:
        with burning(part):
            readies = [suite.ready(cell) for cell in cells]
            found = Group(suite.effort, Random(number), control=control).run(readies)
            return [suite.concluded(ready, found[ready.cell]) for ready in readies]
    finally:
        control.close()


def half_width(launch: Launch) -> float:
    """Returns the half of the interval of a launch's latency."""
    low, middle, high = (launch.columns[f"latency_{name}_s"] for name in ("ci_low", "p50", "ci_high"))
    return float("inf") if low is None else float(max(high / middle, middle / low) - 1)


def main() -> int:
    (name, phase), threads = STEP, len(usable_cpus())
    workload = load(name)
    cells = [
        Cell(name, workload.size, phase, backend, workload.batch, workload.sequence, "fp32", threads)
        for backend in BACKENDS
    ]
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(folder), PRESETS["quick"].effort)
        suite.prepare(cells)
        found = [launches(suite, cells, number, part) for number, part in enumerate(STRENGTHS)]
    quiet = [
        median(of[i].columns["latency_p50_s"] for of, part in zip(found, STRENGTHS, strict=True) if not part)
        for i in range(len(cells))
    ]
    moved = unseen = marked = quiet_marked = 0
    caught: dict[str, list[str]] = {}
    for of, part in zip(found, STRENGTHS, strict=True):
        for cell, launch, seconds in zip(cells, of, quiet, strict=True):
            by = launch.columns["latency_p50_s"] / seconds - 1
            half, verdict = half_width(launch), launch.verdict
            is_marked = QUALITIES.index(verdict.quality) > 0
            has_moved = bool(part) and abs(by) > max(half, 0.03)
            moved, unseen = moved + has_moved, unseen + (has_moved and not is_marked)
            marked, quiet_marked = marked + is_marked, quiet_marked + (is_marked and not part)
            for flag in verdict.flags:
                caught.setdefault(flag, []).append(f"{part:.0%} {cell.backend} ({by:+.0%})")
            kept, left_out = (launch.columns[name] for name in ("rounds_n", "rounds_left_out"))
            print(
                f"  {part:4.0%} of a core, {cell.backend:16} {by:+6.1%} ±{half:.1%}, {kept} rounds and {left_out}"
                f" left out: {verdict.quality}, {' '.join(verdict.flags)}",
                flush=True,
            )
    for flag, cases in sorted(caught.items()):
        print(f"    {flag}: {', '.join(cases)}")
    is_good = unseen <= MOST_UNSEEN * max(1, moved) and not quiet_marked
    print(
        f"  {moved} numbers moved by more than their interval, {unseen} of them unmarked; {marked} marked,"
        f" {quiet_marked} of them with nothing beside them   {'ok' if is_good else 'MISSED'}"
    )
    return 0 if is_good else 1
