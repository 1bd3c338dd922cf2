"""What it takes to prepare a step in the test's own process: settings, requests, artifacts made by the real makers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from backends.base import Adapter, Artifact, Request, Setting
from bench.artifacts import BATCHES, CACHES, CODES, EXPECTED, NOISE, PARAMETERS, batches_of, handed_over
from bench.child import noise
from bench.child.checks import predicted, verify
from bench.child.checks.proof import Proof, WrongResult
from bench.child.settings import request_of
from workloads.catalog import load
from workloads.deviation import quantity_of
from workloads.ops import Array, Ops, Parameters
from workloads.optim import Optimizer
from workloads.precision import FP32, Precision
from workloads.program import Update
from workloads.tolerance import Tolerance, tolerances
from workloads.workload import Workload

MADE = (PARAMETERS, BATCHES, EXPECTED, NOISE)


def setting(workload: Workload, phase: str = "infer", threads: int = 1, **more: Any) -> Setting:
    """Returns a setting in fp32."""
    return Setting(workload, phase, FP32, threads, **more)


def make_in(
    folder: Path, workload: Workload, phase: str, artifacts: Iterable[Artifact] = MADE, precision: Precision = FP32
) -> dict[str, Path]:
    """Makes the artifacts, each in a folder of its own below `folder`, and returns those folders by name.

    In 8 bits the codes are made behind parameters and batches, and read in the place of the former; what goes on from a
    prompt has its caches there.
    """
    folders: dict[str, Path] = {}
    first, *others = artifacts
    program = workload.programs[phase]
    others = [batches_of(program) if one is BATCHES else one for one in others]
    goes_on = [CACHES] if program.prompt is not None else []
    codes = [CODES] if precision.is_quantized else []
    in_order = [first, *others[:1], *codes, *goes_on, *others[1:]]
    for artifact in in_order:
        (path := folder / artifact.name).mkdir()
        make(artifact, workload, phase, path, handed_over(folders), precision)
        folders[artifact.name] = path
    return handed_over(folders)


def make(
    artifact: Artifact,
    workload: Workload,
    phase: str,
    folder: Path,
    inputs: Mapping[str, Path],
    precision: Precision = FP32,
) -> Any:
    """Has the artifact's own maker write into `folder`, as a child of the suite would."""
    module, _, function = artifact.maker.partition(":")
    return getattr(import_module(module), function)(
        replace(setting(workload, phase), precision=precision), folder, inputs
    )


def allowed_in(folders: Mapping[str, Any], precision: Precision = FP32) -> dict[str, Tolerance]:
    """Returns how far each tensor may lie off, from folders, or from entries of the cache, by artifact."""
    return tolerances(noise.load(getattr(folders["noise"], "path", folders["noise"])), precision)


def request_in(
    entries: Mapping[str, Any], adapter: Adapter, workload: Workload, phase: str, threads: int = 1, **more: Any
) -> Request:
    """Returns the request of a step from folders, or from entries of the cache, by artifact."""
    folders = {name: getattr(entry, "path", entry) for name, entry in entries.items()}
    return request_of(setting(workload, phase, threads, **more), adapter, folders)


def update_of(workload: Workload) -> Update:
    """Returns loss and rule of the workload's training."""
    update = workload.programs["train"].update
    assert update is not None
    return update


def infer(workload: Workload, ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
    """Returns the outputs of the workload's inference."""
    return workload.programs["infer"].outputs_of(ops, p, {}, batch)


def loss(workload: Workload, ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
    """Returns loss and next buffers of the workload's training."""
    return update_of(workload).loss(ops, p, batch)


def rule_of(workload: Workload) -> Optimizer:
    """Returns the rule by which the workload is trained."""
    return update_of(workload).rule


def with_threads(threads: int) -> Setting:
    """Returns a setting of some workload, for what looks at its threads alone."""
    return setting(load("mlp", "tiny"), threads=threads)


def widest(workload: Workload) -> dict[str, float]:
    """Returns by quantity the largest error that any tensor of the workload may have in fp32, of what is predicted."""
    errors: dict[str, float] = {}
    for phase in workload.programs:
        stored, why = predicted.find(workload, phase, FP32)
        assert stored is not None, why
        for key, bound in tolerances(stored, FP32).items():
            errors[quantity_of(key)] = max(errors.get(quantity_of(key), 0.0), bound.error)
    return errors


def verdict(adapter, given):
    """Returns the reason code by which a step is refused, None where it passes.

    `given` are its request, what is expected, the bounds, and what float32 computes.
    """
    request, expected, allowed, plain = given
    step = adapter.prepare(request)
    step.compile()
    try:
        Proof(adapter, request, expected, allowed, plain).before(step)
    except WrongResult as wrong:
        return wrong.code
    except verify.Refused as refused:
        return refused.code
    return None
