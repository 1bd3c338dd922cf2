"""Prints how far correct code lies from the reference, and from what is predicted for it.

    python -m bench.correct_errors WORKLOAD SIZE BACKEND[:OPTION=VALUE…]… [--precision LIST] [--threads LIST]

One process for each, because frameworks disturb each other; artifacts come from the cache. A line per phase,
precision and quantity: the worst tensor, and the largest ratio to what is predicted: 8 is the tolerance. The exit
status is 1 where one of them fails; the others are printed all the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import backends
from backends.base import Adapter
from bench.cell import Cell
from bench.effort import ONE_STEP
from bench.parent.cache import Cache, default_root
from bench.parent.plans.plan import default_cell
from bench.parent.suite import Suite
from host.topology import usable_cpus
from workloads.catalog import phases_of
from workloads.precision import DEFAULT, PRECISIONS, precision_of
from workloads.recipes.int8 import why_undefined


def main(arguments: Sequence[str]) -> int:
    """Prints the deviations of each backend and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.correct_errors", description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("size")
    parser.add_argument("backends", nargs="+", metavar="BACKEND")
    parser.add_argument("--phase", help="only this one")
    parser.add_argument("--precision", default=DEFAULT.name, help=f"of: {', '.join(PRECISIONS)}")
    parser.add_argument("--threads", default=str(len(usable_cpus())))
    given = parser.parse_args(arguments)
    phases = phases_of(given.workload) if given.phase is None else (given.phase,)
    asked = [
        (name, phase, precision, threads)
        for name in given.backends
        for precision in given.precision.split(",")
        for threads in given.threads.split(",")
        for phase in phases
    ]
    if len(asked) == 1:
        ((name, phase, precision, threads),) = asked
        cell = default_cell(given.workload, given.size, phase, name.partition(":")[0], int(threads))
        with tempfile.TemporaryDirectory() as logs:
            suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(logs), ONE_STEP)
            print_cell(replace(cell, precision=precision), name, suite)
        return 0
    failed = []
    for name, phase, precision, threads in asked:
        command = [sys.executable, "-m", "bench.correct_errors", given.workload, given.size, name]
        command += ["--phase", phase, "--precision", precision, "--threads", threads]
        if (status := subprocess.run(command, check=False).returncode) != 0:
            failed.append(f"{name} {phase} {precision} (status {status})")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def print_cell(cell: Cell, named: str, suite: Suite) -> None:
    """Prints one line per quantity, or why the backend has none."""
    adapter = backends.get(cell.backend)
    refusal = adapter.why_unsupported(cell.phase, cell.precision)
    undefined = why_undefined(cell.load_workload().programs[cell.phase], precision_of(cell.precision))
    if why := refusal[1] if refusal else undefined:
        print(f"{cell.workload} {cell.size} {cell.phase} {cell.precision} {named:16} {why}", flush=True)
        return
    options = dict(part.split("=", 1) for part in named.partition(":")[2].split(":") if part)
    print_quantities(cell, named, adapter, suite, options)


def print_quantities(cell: Cell, named: str, adapter: Adapter, suite: Suite, options: dict[str, str]) -> None:
    """Prints one line per quantity: the worst error and scale, each with its tensor, and their ratios to predicted."""
    from bench.child import noise
    from bench.child.checks import verify
    from bench.child.expected import load_expected
    from bench.child.settings import request_of, setting_of
    from workloads.tolerance import FACTOR, tolerances

    setting = setting_of(cell, adapter.chosen_options(options))
    entries = {name: entry.path for name, entry in suite.entries(cell, setting.workload, adapter).items()}
    adapter.load(setting)
    request = request_of(setting, adapter, entries)
    step = adapter.prepare(request)
    step.compile()
    observed, _ = verify.observe(step, request.program, request.parameters)
    expected = load_expected(entries["expected"])
    allowed = tolerances(noise.load(entries["noise"]), setting.precision)
    deviations = verify.compare(observed, expected, allowed).deviations
    deviations += verify.compare_update(request.program, observed, request.parameters).deviations
    title = f"{cell.workload} {cell.size} {cell.phase} {cell.precision} t{cell.threads} {named:16}"
    for quantity, measure in dict.fromkeys((one.quantity, one.measure) for one in deviations):
        ours = [one for one in deviations if (one.quantity, one.measure) == (quantity, measure)]
        worst = max(ours, key=lambda one: one.value / one.tolerance)
        ratios = sorted(FACTOR * one.value / one.tolerance for one in ours)
        print(
            f"{title} {quantity:16} {measure:9} {worst.value:.1e} of {worst.tolerance:.1e} ({worst.tensor}),"
            f" real/predicted {ratios[len(ratios) // 2]:.2g}, at most {ratios[-1]:.2g} of {FACTOR:g}, n {len(ratios)}",
            flush=True,
        )
    step.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
