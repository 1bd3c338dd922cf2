"""The workload in a folder that a child has made of a user's own model: `model.json`, its tensors, its batches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workloads.program import Checks, Program, Work
from workloads.specs import N_BATCHES
from workloads.workload import Workload

MODEL_FILE = "model.json"
SIZE = "own"
"""The size of what has but one."""
PHASES = ("infer", "train")
"""The programs that a user's model can have, in order."""


@cache
def load(path: str) -> Workload:
    """Returns the workload in the folder. What made it says by its `kind` how it is read."""
    described = json.loads((Path(path) / MODEL_FILE).read_text())
    if described["kind"] == "module":
        from workloads.own.module import workload_of

        return workload_of(described, Path(path))
    if described["kind"] == "onnx_file":
        from workloads.own import onnx_file

        return onnx_file.workload_of(described, Path(path))
    raise ValueError(f"{path}: a model of the kind {described['kind']!r}; known: module, onnx_file")


def phases_of(path: str) -> tuple[str, ...]:
    """Returns the phases that the model in the folder was made for: without those that it lacks what it takes for."""
    return tuple(json.loads((Path(path) / MODEL_FILE).read_text())["phases"])


def failed(name: str, batch: int, why: str) -> Workload:
    """Returns what stands for a model that could not be made: each of its programs is refused."""
    return refused(name, batch, dict.fromkeys(PHASES, why))


def refused(name: str, batch: int, why: Mapping[str, str], **more: Any) -> Workload:
    """Returns a workload whose programs, by phase, are refused for the reasons `why`."""
    programs = {phase: nothing(batch) for phase in why}
    return Workload(name, SIZE, batch, None, (), {}, programs, refused=dict(why), **more)


def nothing(batch: int) -> Program:
    """Returns the program that stands where there is none."""
    return Program((), lambda ops, constants, state, batch: ({}, {}), Checks(N_BATCHES, "output"), Work(batch))
