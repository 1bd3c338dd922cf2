"""What conformance asks of an adapter in a fresh interpreter: `conformance_child.py JOB`, answered as one JSON line.

A job is `{"ask": "probe" or "lifetime", "adapter": module, "paths": […]}`; for a lifetime also its cell and entries.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from backends.base import Step

HEAVY = ("torch", "jax", "jaxlib", "tensorflow", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy", "pandas")
"""What importing and probing must not load, beside the adapter's own distributions."""

SAME_BATCH = 1e-3
"""Outputs of one batch agree to this part of their norm in any precision; those of two random batches do not."""


def _world() -> dict[str, Any]:
    """Returns what importing and probing must leave as it is."""
    return {
        "environment variables": dict(os.environ),
        "current folder": str(Path.cwd()),
        "files in it": sorted(path.name for path in Path().iterdir()),
        "sys.path": list(sys.path),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def probe(job: dict[str, Any]) -> dict[str, Any]:
    """Returns what importing and probing loaded, what the probe said, twice, and what it changed."""
    import backends
    from backends._outside import probe_faults

    before = _world()
    adapter = backends.load_adapter(job["adapter"])
    answers = [adapter.probe(), adapter.probe()]
    after = _world()
    # The adapter's own package may be among them, for its version; it must be imported to be asked.
    runtimes = {name.replace("-", "_").lower() for name in adapter.distributions} - {job["adapter"].partition(".")[0]}
    faults = list(dict.fromkeys(fault for answer in answers for fault in probe_faults(answer)))
    return {
        "loaded": sorted(({*HEAVY} | runtimes) & set(sys.modules)),
        "faults": faults,
        "said": [] if faults else [asdict(answer) for answer in answers],
        "changed": [name for name, value in before.items() if after[name] != value],
    }


def lifetime(job: dict[str, Any]) -> dict[str, Any]:
    """Returns what a step does wrong that was verified and timed: steps out of order, and closing it twice."""
    import backends
    from bench.cell import Cell
    from bench.child.trial import measure_cell
    from bench.effort import Effort

    adapter = backends.load_adapter(job["adapter"])
    entries = {kind: Path(path) for kind, path in job["entries"].items()}
    once = Effort(warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1)
    cell = Cell(**job["cell"])
    step, columns = measure_cell(adapter, cell, entries, once, lambda stage: None)
    program = cell.load_workload().programs[cell.phase]
    faults = rotation_faults(step) if adapter.verifiable and not program.state else []
    step.close()
    step.close()
    return {"faults": faults, "effective": columns["effective"]}


def rotation_faults(step: Step) -> list[str]:
    """Returns where step `i` does not take batch `i % n`, looked at out of order."""
    import numpy as np
    from numpy.typing import NDArray

    from workloads.specs import N_BATCHES

    def outputs(i: int) -> NDArray[np.float64]:
        step.step(i)
        step.sync()
        return np.concatenate([np.array(a, np.float64).ravel() for _, a in sorted(step.outputs().items())])

    first = {i: outputs(i) for i in range(N_BATCHES)}
    faults = []
    for i in (3 * N_BATCHES + 1, N_BATCHES, 5 * N_BATCHES - 1):
        later = outputs(i)
        near = [b for b, a in first.items() if np.linalg.norm(later - a) <= SAME_BATCH * np.linalg.norm(a)]
        if near != [i % N_BATCHES]:
            faults.append(f"step({i}) must run batch {i % N_BATCHES} of {N_BATCHES}; its outputs are those of {near}")
    return faults


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    sys.path += [path for path in request["paths"] if path not in sys.path]
    answer = {"probe": probe, "lifetime": lifetime}[request["ask"]](request)
    print("\n" + json.dumps(answer), flush=True)
    os._exit(0)  # runtimes are known to crash in their exit handlers
