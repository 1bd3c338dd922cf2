"""What it takes to run the fake adapter in a child: its cell, and cache entries made without any framework."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Artifact
from bench.artifacts import BATCHES, EXPECTED, NOISE, PARAMETERS
from bench.cell import Cell
from bench.child import noise
from bench.child.expected import save_expected
from bench.effort import Effort
from bench.parent.cache import Cache, Entry, entry_name
from bench.parent.suite import Suite
from tests.fakes.faulty import Faulty
from tests.fakes.steps import make
from workloads.precision import FP32
from workloads.summary import summarize

CELL = Cell("mlp", "tiny", "infer", "faulty", 4, None, "fp32", threads=1)
EFFORT = Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.0, min_rounds=2)


def filled_cache(root: Path) -> Cache:
    """Returns a cache with all that `CELL` needs; what its step shall compute is made up."""
    cache, workload = Cache(root, lambda text: None), CELL.load_workload()

    def ensure(artifact: Artifact, make: Callable[[Path], Any]) -> Entry:
        name = entry_name(artifact, workload, CELL.phase, FP32)
        return cache.ensure(name, lambda folder: (make(folder) or {}) | {"seconds": 0.0})

    def ensure_real(artifact: Artifact) -> Entry:
        return ensure(artifact, lambda folder: make(artifact, workload, CELL.phase, folder, inputs))

    inputs: dict[str, Path] = {}
    inputs["parameters"] = ensure_real(PARAMETERS).path
    ensure_real(BATCHES)
    made_up = {"output.0.logits": summarize(np.ones((4, 5)))}
    ensure(EXPECTED, lambda folder: save_expected(made_up, folder))
    ensure(NOISE, lambda folder: (folder / noise.FILE).write_text('{"output.0.logits": [1e-6, 1e-7]}') and None)
    return cache


def faulty_suite(cache: Cache, logs: Path, **more: Any) -> Suite:
    """Returns a suite whose every backend is the fake one."""
    adapter = Faulty()
    return Suite(cache, logs, EFFORT, find_adapter=lambda name: adapter, **more)
