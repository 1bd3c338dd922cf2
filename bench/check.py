"""Starts one backend in child processes and runs one tiny, verified step of each phase: `samestep backends --check`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import backends
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, UnsafeCache, default_root
from bench.parent.suite import Suite
from host.home import NoHomeError
from host.topology import usable_cpus
from workloads.catalog import CATALOG, is_run_by, load

ONE_STEP = Effort(warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1, least_s=0.0)


def check(name: str) -> bool:
    """Prints one line per phase and returns whether each phase that the backend supports is `ok`."""
    adapter = backends.get(name)
    workload = load(next(w for w in CATALOG if is_run_by(w, adapter.workloads)), "tiny")
    good = True
    try:
        cache = Cache(default_root(os.environ), lambda text: None)
    except (UnsafeCache, NoHomeError) as error:
        print(f"{'':18} {error}", flush=True)
        return False
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(cache, Path(logs), ONE_STEP)
        for phase in adapter.phases:
            shape = (workload.batch, workload.sequence)
            cell = Cell(workload.name, workload.size, phase, name, *shape, "fp32", len(usable_cpus()))
            row = suite.outcome(cell)
            said = f"{row['launch_s']:.1f} s" if row["status"] == "ok" else row["reason"]
            print(f"{'':18} {phase}: {row['status']} ({said})", flush=True)
            good &= row["status"] in ("ok", "unsupported", "known_failure")
    return good
