"""Prints whether training in a precision goes the way that its rounding allows, step after step.

    python -m bench.curves gpt2 resnet50 --precision bf16 --backends torch_cpu jax_cpu [--csv FILE] [--plot FILE]

The first steps of a cell are verified tensor by tensor; two hundred are not, since rounding makes every run its own.
But the noisy reference may be trained as well (`backends._torch_noise`): its curves, one for each seed, say how far
correct runs spread. A runtime's loss is held against their mean, in their standard deviations.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import backends
from bench.cell import Cell
from bench.effort import ONE_STEP
from bench.parent.cache import Cache, default_root
from bench.parent.plans.plan import default_cell
from bench.parent.suite import Suite
from host.topology import usable_cpus

STEPS, SEEDS = 200, 16
WITHIN = 6.0
"""So many standard deviations from the mean a loss may lie. Hundreds are looked at, and Student's t of 15, which they
follow where nothing is wrong, exceeds it once in 40,000."""
Curves = dict[str, list[float]]


def main(arguments: Sequence[str]) -> int:
    """Prints a line per workload and backend; returns 1 where a curve leaves the spread."""
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=["gpt2", "resnet50"])
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--backends", nargs="+", default=["torch_cpu", "jax_cpu"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.only:
        cell = Cell(**json.loads(given.only))
        print(json.dumps(curve_of(cell, given.steps) if cell.backend else noisy_curves(cell, given.steps)))
        return 0
    found: dict[str, Curves] = {}
    strayed = False
    for workload in given.workloads:
        cell = default_cell(workload, given.size, "train", given.backends[0], len(usable_cpus()))
        columns = {"workload": workload, "size": given.size, "phase": "train", "batch": cell.batch}
        columns |= {"sequence": cell.sequence, "precision": given.precision, "threads": cell.threads}
        curves: Curves = _child(columns | {"backend": ""}, given.steps)
        for backend in given.backends:
            curves |= _child(columns | {"backend": backend}, given.steps)
            strayed |= not told(workload, backend, curves)
        found[workload] = curves
    if given.csv:
        write(found, given.csv)
    if given.plot:
        plot(found, given.plot, given.precision)
    return int(strayed)


def _child(columns: Mapping[str, Any], steps: int) -> Curves:
    """Returns the curves of a process of its own: no two runtimes in one."""
    command = [sys.executable, "-m", "bench.curves", "--steps", str(steps), "--only", json.dumps(columns)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    curves: Curves = json.loads(done.stdout.splitlines()[-1])
    return curves


def told(workload: str, backend: str, curves: Curves) -> bool:
    """Prints how far a backend's curve lies from those of the noise, and returns whether that is within the spread."""
    noisy = [curve for name, curve in curves.items() if name.startswith("noise")]
    ours = curves[backend]
    off = []
    for i, loss in enumerate(ours):
        values = [curve[i] for curve in noisy]
        off.append(abs(loss - fmean(values)) / max(stdev(values), 1e-12))
    worst = max(range(len(off)), key=off.__getitem__)
    print(
        f"{workload} {backend}: loss {ours[0]:.4f} to {ours[-1]:.4f} in {len(ours)} steps, off by"
        f" {fmean(off):.2f} standard deviations of {len(noisy)} noisy references on average, at most {off[worst]:.2f}"
        f" (step {worst})",
        flush=True,
    )
    return off[worst] <= WITHIN


def curve_of(cell: Cell, steps: int) -> Curves:
    """Returns the losses of a backend's step."""
    from bench.child.settings import request_of, setting_of

    adapter = backends.get(cell.backend)
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(logs), ONE_STEP)
        setting = setting_of(cell, adapter.chosen_options({}))
        entries = {name: one.path for name, one in suite.entries(cell, setting.workload, adapter).items()}
        adapter.load(setting)
        step = adapter.prepare(request_of(setting, adapter, entries))
        step.compile()
        losses = []
        for i in range(steps):
            step.step(i)
            step.sync()
            losses.append(float(step.outputs()["loss"]))
        step.close()
    return {cell.backend: losses}


def noisy_curves(cell: Cell, steps: int) -> Curves:
    """Returns the losses of the noisy reference, for each seed."""
    import torch

    from backends._torch_noise import Noise, NoisyOps
    from backends._torch_ops import to_torch
    from bench.child.settings import setting_of
    from workloads import data

    setting, cpu = setting_of(cell), torch.device("cpu")
    program = setting.program
    initial = {n: to_torch(a, cpu, torch.float64) for n, a in data.make_parameters(setting.workload).items()}
    made = data.make_batches(setting.workload)
    batches = [{name: to_torch(a, cpu, torch.float64) for name, a in batch.items()} for batch in made]
    curves: Curves = {}
    for seed in range(SEEDS):
        ops = NoisyOps(Noise(setting.precision, seed))
        constants = program.constants_of(initial)
        state = program.initial_state(initial, lambda shape: torch.zeros(shape, dtype=torch.float64))
        losses = []
        with torch.no_grad():
            for i in range(steps):
                outputs, state = program.step(ops, constants, state, batches[i % len(batches)])
                losses.append(float(outputs["loss"]))
        curves[f"noise {seed}"] = losses
    return curves


def write(found: Mapping[str, Curves], path: Path) -> None:
    """Writes a line per workload, curve and step."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("workload", "curve", "step", "loss"))
        for workload, curves in found.items():
            for name, losses in curves.items():
                table.writerows((workload, name, i, f"{loss:.7g}") for i, loss in enumerate(losses))


def plot(found: Mapping[str, Curves], path: Path, precision: str) -> None:
    """Draws a panel per workload: each loss in standard deviations of the noisy references from their mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(found), 3.6), layout="constrained")
    for axes, (workload, curves) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        noisy = [curve for name, curve in curves.items() if name.startswith("noise")]
        middles = [(fmean(losses), max(stdev(losses), 1e-12)) for losses in zip(*noisy, strict=True)]
        for name, losses in curves.items():
            is_noise = name.startswith("noise")
            label = f"{len(noisy)} noisy references" if name == "noise 0" else None if is_noise else name
            off = [(loss - middle) / spread for loss, (middle, spread) in zip(losses, middles, strict=True)]
            axes.plot(off, color="0.8" if is_noise else None, linewidth=0.8 if is_noise else 1.2, label=label)
        ends = f"loss {middles[0][0]:.3g} to {middles[-1][0]:.3g}"
        axes.set(title=f"{workload}, {precision}: {ends}", xlabel="step", ylabel="standard deviations from their mean")
        axes.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
