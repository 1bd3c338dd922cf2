"""From options to cells: presets, the choice of backends, workloads and shapes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import backends
from bench.cell import Cell, Side
from bench.parent.own import asked, made
from bench.parent.own.cells import cells_of
from bench.parent.plans import ladder, services, shapes, training
from bench.parent.plans.ladder import Ladder, with_rungs
from bench.parent.plans.parse import PlanError, index, number, numbers, words
from bench.parent.plans.presets import ALWAYS, PRESETS
from bench.parent.plans.shapes import bounding, has_phase, shapes_of, workloads_of
from bench.parent.plans.sides import PAIRS, sides, sides_of, takes_both
from bench.parent.plans.weights import files
from bench.scenario_cell import Loaded
from workloads.catalog import (
    CATALOG,
    CONTROLS,
    MODELS,
    SUITES,
    at,
    depth_of,
    generated_of,
    is_run_by,
    phases,
    rank_of,
)
from workloads.precision import DEFAULT, PRECISIONS
from workloads.specs import Weights


@dataclass(frozen=True)
class Selection:
    """What to run, as asked for on the command line; None means the preset's, or all."""

    backends: tuple[str, ...] | None
    workloads: tuple[str, ...] | None
    phases: tuple[str, ...] | None
    batches: tuple[int, ...] | None
    sequences: tuple[int, ...] | None
    depths: tuple[int, ...] | None
    generated: tuple[int, ...] | None
    suites: tuple[str, ...]
    """Whose workloads run where none are named."""
    preset: str
    threads: int
    launches: int
    weights: Mapping[str, Weights] = field(default_factory=dict)
    """By workload, the checked file that replaces its random parameters."""
    sides: tuple[Side, ...] = ()
    """The two sides of an A/B; else nothing."""
    precisions: tuple[str, ...] = (DEFAULT.name,)
    """In which each model and limit runs; controls, and what computes nothing, have one."""
    device: int = 0
    """Which of the machine's devices of each kind."""
    training: training.Training = field(default_factory=training.Training)
    """Options of training steps."""
    services: tuple[Loaded, ...] = ()
    """What is put under a load, last of all: over a network, or steps of this machine."""
    ladder: Ladder | None = None
    """Which batches are tried beyond `batches`; None where nothing was said of it."""
    has_cells: bool = True
    """Whether there are cells; a run that was asked for a service alone has none."""
    models: tuple[made.Made, ...] = ()
    """Models of the user's own."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """The options as they were typed: what a run that goes on is selected by."""


CHOICES = (
    "backends",
    "workloads",
    "phases",
    "precision",
    "batch",
    "sequence",
    "depth",
    "generated-tokens",
    *training.NAMES,
    "suite",
    "preset",
    "threads",
    "device",
    "launches",
    "weights",
    "ab",
    "pairs",
    *asked.NAMES,
    *services.NAMES,
)
"""Options that decide which cells there are; a run that goes on has its own."""


def left_out(selection: Selection, known_backends: Sequence[str]) -> str:
    """Returns which backends of the run an A/B or a device leaves out, and why, in words; nothing for none."""
    chosen = [name for name in chosen_backends(selection, known_backends) if name not in ALWAYS]
    names = ", ".join(name for name in chosen if not takes_both(name, selection.sides))
    lines = [names and f"--ab leaves out what has no such options: {names}"]
    if selection.device > 0 and selection.backends is None:
        on_cpu = ", ".join(name for name in known_backends if _is_of_preset(name, selection) and is_on_cpu(name))
        lines.append(on_cpu and f"--device {selection.device} leaves out what runs on the CPU, device 0: {on_cpu}")
    return "; ".join(filter(None, lines))


def is_on_cpu(backend: str) -> bool:
    """Returns whether the backend is one of those that a machine has one device for: not of those in every run."""
    return backend not in ALWAYS and backends.get(backend).device_kind == "cpu"


def _check_device(selection: Selection) -> None:
    """Raises PlanError where a backend was asked for by name that has no such device."""
    on_cpu = [name for name in selection.backends or () if is_on_cpu(name)]
    if selection.device > 0 and on_cpu:
        raise PlanError(
            f"--device {selection.device}: {', '.join(on_cpu)} runs on the CPU, which is device 0; leave it out"
        )


def _size(preset: str, workload: str) -> str:
    published: str = CATALOG[workload].PUBLISHED
    return "tiny" if PRESETS[preset].sizes == "tiny" else published


def select(option: Callable[[str], Any], known_backends: Sequence[str], cores: int) -> Selection:
    """Returns what the command line asks for, on `cores` cores. Raises PlanError, before anything runs."""
    preset = "quick" if option("--preset") is None else option("--preset")
    if preset not in PRESETS:
        raise PlanError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    threads = number(option("--threads"), "--threads") or cores
    if threads > cores:
        raise PlanError(f"--threads {threads} is more than the {cores} cores this process may use; at most {cores}")
    own = asked.asked_for(option)
    batches, climbed = ladder.batches_of(option("--batch"))
    selection = Selection(
        backends=words(option("--backends"), "--backends", known_backends),
        workloads=words(option("--workloads"), "--workloads", tuple(CATALOG)),
        phases=words(option("--phases"), "--phases", phases()),
        precisions=words(option("--precision"), "--precision", tuple(PRECISIONS)) or (DEFAULT.name,),
        batches=batches,
        ladder=climbed,
        sequences=numbers(option("--sequence"), "--sequence"),
        depths=numbers(option("--depth"), "--depth"),
        generated=numbers(option("--generated-tokens"), "--generated-tokens"),
        suites=words(option("--suite"), "--suite", tuple(SUITES)) or (() if own else (next(iter(SUITES)),)),
        preset=preset,
        threads=threads,
        launches=number(option("--launches"), "--launches") or PRESETS[preset].launches,
        device=index(option("--device"), "--device"),
        training=training.asked_for(option),
        services=services.services_of(option),
        has_cells=not services.is_alone(option),
        chosen={f"--{name}": option(f"--{name}") for name in CHOICES},
    )
    _check_device(selection)
    if selection.workloads and option("--suite"):
        raise PlanError("--workloads and --suite each say which workloads run: give one")
    chosen = workloads_of(selection)
    selection = replace(selection, weights=files(option("--weights"), chosen, lambda name: _size(preset, name)))
    if texts := option("--ab"):
        if option("--launches"):
            raise PlanError("--ab launches in pairs: say --pairs N in place of --launches")
        working = [name for name in chosen_backends(selection, known_backends) if name not in ALWAYS]
        pairs = number(option("--pairs"), "--pairs") or PAIRS
        selection = replace(selection, sides=sides(texts, working, cores), launches=pairs)
    elif option("--pairs"):
        raise PlanError("--pairs is for --ab SIDE SIDE")
    shapes.check(selection, chosen)
    training.check(selection.training, chosen, selection.phases)
    ladder.check(selection, chosen, has_models=bool(own))
    # A shape that a model refuses is refused here.
    climbing = [name for name in chosen_backends(selection, known_backends) if ladder.is_climbed(selection, name)]
    models = made.make(own, batches, threads, lambda batch: ladder.rungs(selection, climbing, batch))
    digests = {f"{one.name} at batch {one.batch}": one.digest for one in models}
    selection = replace(selection, models=models, chosen={**selection.chosen, made.DIGESTS: digests})
    for cell in planned(replace(selection, backends=selection.backends or tuple(known_backends[:1])), ()):
        try:
            cell.load_workload()
        except ValueError as error:
            raise PlanError(f"{cell.workload}: {error}") from error
    return selection


def _precisions(selection: Selection, workload: str) -> tuple[str, ...]:
    """Returns those that the workload runs in."""
    if workload in CONTROLS:
        return (DEFAULT.name,)
    return selection.precisions


def chosen_backends(selection: Selection, known_backends: Sequence[str]) -> tuple[str, ...]:
    """Returns the backends asked for by name, else those of `known_backends` that the preset takes; `ALWAYS` too."""
    if selection.backends is not None:
        return (*selection.backends, *(name for name in ALWAYS if name not in selection.backends))
    of_preset = (name for name in known_backends if _is_of_preset(name, selection))
    return tuple(name for name in of_preset if selection.device == 0 or not is_on_cpu(name))


def _is_of_preset(backend: str, selection: Selection) -> bool:
    return selection.preset in backends.get(backend).presets


def device_of(backend: str, selection: Selection) -> int:
    """Returns the index of the backend's device: the one asked for, 0 where there is only one of the kind."""
    return 0 if backends.get(backend).device_kind in ("cpu", "none") else selection.device


def default_cell(workload: str, size: str, phase: str, backend: str, threads: int) -> Cell:
    """Returns the cell of the workload's own batch, sequence and depth at this size, in the precision that all have."""
    shape = at(workload, size, phase)
    more: dict[str, Any] = {
        "depth": depth_of(workload, size, phase),
        "generated": generated_of(workload, size, phase),
        "rank": rank_of(phase),
    }
    return Cell(workload, size, phase, backend, shape.batch, shape.sequence, DEFAULT.name, threads, **more)


def planned(selection: Selection, known_backends: Sequence[str]) -> list[Cell]:
    """Returns all cells of a run, phase after phase, in the order in which they are listed.

    Of a backend that computes nothing there is one, unless it was asked for by name: it costs the same everywhere.
    """
    if not selection.has_cells:
        return []
    every = [cell for phase in phases() for cell in cells(selection, phase, known_backends)]
    idle = [cell for cell in every if not (is_verified(cell.backend) or cell.backend in (selection.backends or ()))]
    first = {cell.backend: cell for cell in reversed(idle)}
    return [cell for cell in every if cell not in idle or cell is first[cell.backend]]


def is_verified(backend: str) -> bool:
    """Returns whether the backend computes anything that can be verified."""
    return backends.get(backend).verifiable


def cells(selection: Selection, phase: str, known_backends: Sequence[str]) -> list[Cell]:
    """Returns the cells of `phase`, in the order in which they are listed."""
    of_phase = []
    # An A/B holds a setting against itself, not against what bounds the chip.
    of_suites = workloads_of(selection)
    chosen = selection.workloads or tuple(name for name in of_suites if name in MODELS or not selection.sides)
    bounds = () if selection.sides else bounding(selection, chosen, phase)
    if selection.phases is not None and phase not in selection.phases:
        chosen = ()
    for workload in dict.fromkeys((*chosen, *bounds, *CONTROLS)):
        size, file = _size(selection.preset, workload), selection.weights.get(workload)
        path, sha256 = (None, None) if file is None else (file.path, file.sha256)
        names = [
            name
            for name in chosen_backends(selection, known_backends)
            if is_run_by(workload, backends.get(name).workloads)
        ]
        if not has_phase(selection, workload, phase):
            continue
        of_workload = [
            replace(
                default_cell(workload, size, phase, backend, selection.threads),
                **more,
                batch=batch * (more.get("accumulate") or 1 if selection.batches is None else 1),
                sequence=sequence,
                depth=deep,
                generated=generated,
                precision=precision if is_verified(backend) else DEFAULT.name,
                device_index=device_of(backend, selection),
                weights_path=path,
                weights_sha256=sha256,
            )
            for batch, sequence, deep, generated in shapes_of(selection, workload, size, phase)
            for more in selection.training.of(workload, phase)
            for place, precision in enumerate(_precisions(selection, workload))
            for backend in names
            if place == 0 or is_verified(backend)
        ]
        of_phase += [side for cell in with_rungs(selection, of_workload) for side in sides_of(cell, selection.sides)]
    return [*_of_models(selection, phase, known_backends), *of_phase]


def _of_models(selection: Selection, phase: str, known_backends: Sequence[str]) -> list[Cell]:
    """Returns the cells of the user's own models in `phase`."""
    chosen = chosen_backends(selection, known_backends)
    cells = cells_of(
        (one for one in selection.models if one.has_phase(phase, selection.phases)),
        phase,
        [name for name in chosen if backends.get(name).workloads is None or not is_verified(name)],
        lambda name: selection.precisions if is_verified(name) else (DEFAULT.name,),
        selection.threads,
        lambda name: device_of(name, selection),
    )
    return [side for cell in ladder.of_models(selection, cells) for side in sides_of(cell, selection.sides)]
