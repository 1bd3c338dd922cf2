"""The workloads by name. The folder `workloads/models` is the registry: a file there is a workload.

A file has `SIZES` (by name, `tiny` among them), `PUBLISHED` (the size that is measured), `BATCHES` and `SEQUENCES` (by
size; None where samples are no sequences), and `build(size, batch, sequence)`. It may have `KIND` (`model` unless it
says `limit` or `control`), `SHAPES` (of preset `full`) and `SUITES`: those that it is in, each with the phases that it
has there (None: all). Where it says nothing a model is in `core` with all, and a limit in every suite: what bounds the
chip bounds it in all of them, and a share of a peak is of the same peak. All are in `all`. Other packages bring modules
like these by entry points (`workloads.own.outside`), in no other suite than they name. Where it decodes it has
`SERVINGS` (by size), and `DEPTHS`, (batch, depth) of preset `full`: then `build` takes a `depth`, and returns the
workload that decodes at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from workloads import models
from workloads.generate import GENERATE, generating, tokens_at
from workloads.own import outside
from workloads.tuning import DISTILL, DPO, GRPO, LORA, TUNED
from workloads.tuning.distill import distill
from workloads.tuning.lora import RANK, lora
from workloads.tuning.options import with_options
from workloads.tuning.policies import dpo, grpo
from workloads.workload import Workload

KINDS = ("model", "limit", "control")
FIRST_SUITE, EVERY = "core", "all"


def _kind(model: ModuleType) -> str:
    kind = getattr(model, "KIND", KINDS[0])
    if kind not in KINDS:
        raise ValueError(f"{model.__name__}: KIND is {kind!r}; expected one of: {', '.join(KINDS)}")
    return str(kind)


def _suites(model: ModuleType, every: Iterable[str] = (FIRST_SUITE,)) -> Mapping[str, tuple[str, ...] | None]:
    """Returns the suites that a file is in; where it says nothing, a limit is in `every`, others are in the first."""
    is_ours = model.__name__.startswith(f"{models.__name__}.")
    silent = dict.fromkeys(every if _kind(model) == "limit" else (FIRST_SUITE,) if is_ours else ())
    suites: Mapping[str, tuple[str, ...] | None] = getattr(model, "SUITES", silent)
    return suites


REFUSED: dict[str, str] = {}
"""Why a workload that another package brings cannot be run, by its name."""


def _models() -> dict[str, ModuleType]:
    names = sorted(path.stem for path in Path(models.__path__[0]).glob("*.py") if path.stem[0] != "_")
    modules = {name: import_module(f"{models.__name__}.{name}") for name in names}
    others = outside.found(modules)
    REFUSED.update(others.refused)
    modules |= others.modules
    return dict(sorted(modules.items(), key=lambda item: (KINDS.index(_kind(item[1])), item[0])))


def _of_kind(kind: str) -> tuple[str, ...]:
    return tuple(name for name, model in CATALOG.items() if _kind(model) == kind)


CATALOG: Mapping[str, ModuleType] = _models()
"""The file of each workload: models first, then limits, then controls, each in alphabetical order."""
MODELS = _of_kind("model")
LIMITS = _of_kind("limit")
"""What bounds the chip: run before the models, whose numbers are held against them."""
DECODING = tuple(name for name, model in CATALOG.items() if hasattr(model, "SERVINGS"))
"""Those that decode, at a depth."""
CONTROLS = _of_kind("control")
"""Run in every run, by the backends that name them: they tell a slow machine from a slow runtime."""


_NAMED = tuple(dict.fromkeys((FIRST_SUITE, *(suite for model in CATALOG.values() for suite in _suites(model)))))
SUITES: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    suite: {name: _suites(model, _NAMED)[suite] for name, model in CATALOG.items() if suite in _suites(model, _NAMED)}
    for suite in _NAMED
} | {EVERY: dict.fromkeys(name for name in CATALOG if name not in CONTROLS)}
"""The workloads by suite, each with the phases that it has there; None: all. A run takes the first where none is asked
for. The last has all but the controls."""


def is_run_by(workload: str, named: tuple[str, ...] | None) -> bool:
    """Returns whether a backend that names these workloads has cells of this one: None is all but the controls."""
    return workload in ((*MODELS, *LIMITS) if named is None else named)


_POLICIES = {DPO: dpo, GRPO: grpo}


@cache
def phases_of(name: str) -> tuple[str, ...]:
    """Returns the names of the workload's programs, those of decoding, generating and tuning last."""
    return (*load(name, "tiny").programs, *deep_phases(name), *((GENERATE,) if name in DECODING else ()), *_tuned(name))


def _tuned(name: str) -> tuple[str, ...]:
    """Returns the names of the workload's phases of tuning: by adapters, by preferences, and where it has a teacher."""
    adapted = (LORA, *_POLICIES) if hasattr(CATALOG[name], "ADAPTED") else ()
    return (*adapted, *((DISTILL,) if hasattr(CATALOG[name], "TEACHERS") else ()))


@cache
def trains(name: str, phase: str) -> bool:
    """Returns whether the workload updates parameters in the phase."""
    program = at(name, "tiny", phase).programs.get(phase)
    return program is not None and program.update is not None


def rank_of(phase: str) -> int | None:
    """Returns the rank of a phase's adapters where nobody asks for another; None where it has none."""
    return RANK if phase == LORA else None


@cache
def deep_phases(name: str) -> tuple[str, ...]:
    """Returns the names of the programs that a workload has at a depth."""
    servings = getattr(CATALOG[name], "SERVINGS", None)
    return tuple(load(name, "tiny", depth=servings["tiny"].depth).programs) if servings else ()


def depth_of(name: str, size: str, phase: str) -> int | None:
    """Returns the depth of a workload's phase where nobody asks for another; None where the phase has none."""
    return CATALOG[name].SERVINGS[size].depth if phase in deep_phases(name) else None


def generated_of(name: str, size: str, phase: str) -> int | None:
    """Returns how many tokens a phase generates where nobody asks for another number; None where it generates none."""
    return tokens_at(size) if phase == GENERATE and name in DECODING else None


def at(name: str, size: str, phase: str) -> Workload:
    """Returns the workload that has the phase, at the size, in every shape's default."""
    return load(
        name,
        size,
        depth=depth_of(name, size, phase),
        generated=generated_of(name, size, phase),
        tuned=phase if phase in TUNED else None,
    )


def phases() -> tuple[str, ...]:
    """Returns the names of all programs that some workload has."""
    return tuple(dict.fromkeys(phase for name in CATALOG for phase in phases_of(name)))


def why_refused(name: str) -> str:
    """Returns why a workload that another package brings is not known, for the end of a sentence; else nothing."""
    return f"; {REFUSED[name]}" if name in REFUSED else ""


def load(
    name: str,
    size: str | None = None,
    batch: int | None = None,
    sequence: int | None = None,
    depth: int | None = None,
    generated: int | None = None,
    tuned: str | None = None,
    rank: int | None = None,
    accumulate: int = 1,
    checkpoint: str | None = None,
) -> Workload:
    """Returns the workload `name`; what is not given is the published size and its default batch.

    With `depth` it is the one that decodes at that many tokens, with `generated` the one that generates so many behind
    prompts of `sequence`, with `tuned` the one of that phase of training, `rank` being that of its adapters. Training
    steps have the options `accumulate` and `checkpoint`. Raises ValueError for an unknown name or size, a batch below
    1, and what the model cannot take.
    """
    if name not in CATALOG:
        raise ValueError(f"unknown workload {name!r}; known: {', '.join(CATALOG)}{why_refused(name)}")
    model = CATALOG[name]
    size = size or model.PUBLISHED
    if size not in model.SIZES:
        raise ValueError(f"unknown size {size!r} of {name}; known: {', '.join(model.SIZES)}")
    for dimension, value in (
        ("batch", batch),
        ("sequence", sequence),
        ("depth", depth),
        ("generated", generated),
        ("rank", rank),
        ("accumulate", accumulate),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{dimension} must be at least 1, got {value}")
    if (depth is not None or generated is not None) and name not in DECODING:
        what = "decode: it has no depth" if generated is None else "generate"
        raise ValueError(f"{name} does not {what}; workloads that do: {', '.join(DECODING)}")
    if depth is not None:
        deep: Workload = model.build(size, batch or model.BATCHES[size], None, depth)
        return replace(deep, source=model.__name__)
    if model.SEQUENCES is None:
        sequence = None
    elif sequence is None:
        sequence = model.SEQUENCES[size]
    workload: Workload = model.build(size, batch or model.BATCHES[size] * accumulate, sequence)
    workload = replace(workload, source=model.__name__)
    if tuned is not None:
        workload = _tuned_to(workload, tuned, rank)
    if generated is None:
        return with_options(workload, accumulate, checkpoint)
    assert sequence is not None
    reached = max(sequence + generated, model.SERVINGS[size].window + 1)
    return generating(workload, model.build(size, workload.batch, None, reached), sequence, generated)


def _tuned_to(workload: Workload, phase: str, rank: int | None) -> Workload:
    """Returns the workload of a phase of training that comes after the one of all parameters."""
    model = CATALOG[workload.name]
    if phase == LORA:
        return lora(workload, model.ADAPTED, rank)
    if phase in _POLICIES:
        return _POLICIES[phase](workload)
    if workload.size not in model.TEACHERS:
        known = ", ".join(model.TEACHERS)
        raise ValueError(f"{workload.name} {workload.size} has no teacher to be distilled from; sizes that do: {known}")
    return distill(workload, model.build(model.TEACHERS[workload.size], workload.batch, workload.sequence))
