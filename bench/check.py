"""Starts one backend in child processes and runs one tiny, verified step of each phase: `samestep backends --check`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import backends
from bench.effort import ONE_STEP
from bench.parent.cache import Cache, UnsafeCache, default_root
from bench.parent.plans.plan import default_cell
from bench.parent.suite import Suite
from host.home import NoHomeError
from host.topology import usable_cpus
from workloads.catalog import CATALOG, is_run_by, phases_of


def check(name: str) -> bool:
    """Prints one line per phase and returns whether each phase that the backend supports is `ok`."""
    adapter = backends.get(name)
    workload = next(one for one in CATALOG if is_run_by(one, adapter.workloads))
    good = True
    try:
        cache = Cache(default_root(os.environ), lambda text: None)
    except (UnsafeCache, NoHomeError) as error:
        print(f"{'':18} {error}", flush=True)
        return False
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(cache, Path(logs), ONE_STEP)
        for phase in phases_of(workload):
            row = suite.outcome(default_cell(workload, "tiny", phase, name, len(usable_cpus())))
            outcome = f"{row['launch_s']:.1f} s" if row["status"] == "ok" else row["reason"]
            print(f"{'':18} {phase}: {row['status']} ({outcome})", flush=True)
            good &= row["status"] in ("ok", "unsupported", "known_failure")
    return good
