"""Prints how far correct code lies from the reference, by quantity: what the tolerances are made from.

    python -m bench.correct_errors WORKLOAD SIZE BACKEND…

One process per backend, because frameworks disturb each other; artifacts come from the cache. The exit status is 1
where one of them fails; the others are printed all the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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


def main(arguments: Sequence[str]) -> int:
    """Prints the deviations of each backend and returns the exit status."""
    if len(arguments) < 3:
        print("expected WORKLOAD SIZE BACKEND…", file=sys.stderr)
        return 2
    workload, size, *names = arguments
    if len(names) == 1:
        with tempfile.TemporaryDirectory() as logs:
            print_backend(workload, size, names[0], Suite(Cache(default_root(os.environ), print), Path(logs), ONE_STEP))
        return 0
    failed = []
    for name in names:
        command = [sys.executable, "-m", "bench.correct_errors", workload, size, name]
        if (status := subprocess.run(command, check=False).returncode) != 0:
            failed.append(f"{name} (status {status})")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def print_backend(workload: str, size: str, backend: str, suite: Suite) -> None:
    """Prints one line per phase that the backend supports and quantity."""
    adapter = backends.get(backend)
    for phase in phases_of(workload):
        cell = default_cell(workload, size, phase, backend, len(usable_cpus()))
        if refusal := adapter.why_unsupported(phase, cell.precision):
            print(f"{workload} {size} {phase} {backend:16} {refusal[1]}")
        else:
            print_phase(cell, adapter, suite)


def print_phase(cell: Cell, adapter: Adapter, suite: Suite) -> None:
    """Prints one line per quantity: worst error and worst scale, each with its tensor."""
    from bench.child.checks import verify
    from bench.child.expected import load_expected
    from bench.child.settings import request_of, setting_of
    from workloads.tolerance import Tolerance

    setting = setting_of(cell, adapter.chosen_options({}))
    entries = {name: entry.path for name, entry in suite.entries(cell, setting.workload, adapter).items()}
    adapter.load(setting)
    request = request_of(setting, adapter, entries)
    step = adapter.prepare(request)
    step.compile()
    computed, _ = verify.observe(step, request.program, request.parameters)
    expected = load_expected(entries["expected"])
    quantities = tuple(dict.fromkeys(map(verify.quantity_of, expected)))
    anything = dict.fromkeys(quantities, Tolerance(float("inf"), float("inf"), 0, 0))
    deviations = verify.compare(computed, expected, anything).deviations
    for quantity in quantities:
        line = f"{cell.workload} {cell.size} {cell.phase} {cell.backend:16} {quantity:16}"
        for measure in ("error", "scale"):
            ours = [d for d in deviations if (d.quantity, d.measure) == (quantity, measure)]
            if ours:
                worst = max(ours, key=lambda d: d.value)
                line += f" {measure} {worst.value:.1e} ({worst.tensor})"
        if "error" in line:
            print(line)
    step.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
