"""A user's own model in this process: its folder made, and a step of it held against the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

import backends
from backends.base import Adapter, Request
from bench.artifacts import BATCHES, EXPECTED, NOISE_OF_GRAPH, PARAMETERS, artifacts_for
from bench.child.checks.proof import Proof
from bench.child.expected import load_expected
from bench.child.own.module import make
from tests.fakes.steps import allowed_in, request_in
from tests.fakes.steps import make as make_artifact
from workloads.own.folder import load
from workloads.precision import FP32, Precision
from workloads.workload import Workload


def own(reference: str, folder: Path, batch: int | None = None, inputs: Path | None = None) -> Workload:
    """Returns the workload of what a factory gives, made as its child makes it."""
    folder.mkdir()
    asked = {"name": reference.partition(":")[2], "reference": reference, "batch": batch}
    make(asked | {"inputs": None if inputs is None else str(inputs)}, folder)
    return load(str(folder))


def each_once(tmp_path_factory: Any) -> Callable[[str], Workload]:
    """Returns a function from the name of a factory to its workload, which makes each once."""

    @cache
    def made(reference: str) -> Workload:
        with torch.random.fork_rng():
            return own(reference, tmp_path_factory.mktemp("own") / "model")

    return made


@cache
def shared(model: str, phase: str, precision: Precision = FP32) -> dict[str, Path]:
    """Returns the folders of what every backend's step is held against, made once beside the model's."""
    workload, made = load(model), {}
    for artifact in (PARAMETERS, BATCHES, EXPECTED, NOISE_OF_GRAPH):
        (path := Path(model).with_name(f"{Path(model).name}-{phase}-{precision.name}-{artifact.name}")).mkdir()
        make_artifact(artifact, workload, phase, path, made, precision)
        made[artifact.name] = path
    return made


@cache
def loaded_once(adapter: str) -> set[str]:
    """Returns whether the adapter was loaded here: torch sets its threads but once in a process."""
    return set()


def loaded(adapter: Adapter, request: Request) -> None:
    """Loads the adapter, the first time."""
    if not (seen := loaded_once(adapter.name)):
        adapter.load(request)
        seen.add(adapter.name)


def proven(
    adapter: str | Adapter, workload: Workload, phase: str, folder: Path, precision: Precision = FP32
) -> dict[str, Any]:
    """Returns the columns of the verification of a step, whose artifacts are made in `folder`; raises as it does."""
    chosen = backends.load_adapter(f"backends.{adapter}") if isinstance(adapter, str) else adapter
    assert phase not in workload.refused, workload.refused[phase]
    folder.mkdir(exist_ok=True)
    wanted = artifacts_for(chosen, precision, workload.programs[phase])
    assert workload.given is not None
    made = dict(shared(workload.given.folder, phase, precision))
    plain = {} if precision == FP32 else load_expected(shared(workload.given.folder, phase)[EXPECTED.name])
    for artifact in wanted:
        if artifact.name not in made:
            (path := folder / artifact.name).mkdir()
            make_artifact(artifact, workload, phase, path, made, precision)
            made[artifact.name] = path
    request = replace(request_in(made, chosen, workload, phase, torch.get_num_threads()), precision=precision)
    loaded(chosen, request)
    step = chosen.prepare(request)
    step.compile()
    proof = Proof(chosen, request, load_expected(made["expected"]), allowed_in(made, precision), plain)
    columns, _ = proof.before(step)
    elements = proof.elements(step)
    step.step(0)
    step.sync()
    assert proof.after(step, elements) in ("passed", "before only")
    return columns
