"""From options to cells: presets, the choice of backends, workloads and shapes, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import backends
from backends.base import PHASES
from bench.cell import Cell, Side
from bench.effort import Effort
from bench.parent.variant import SIDES, side_of
from host.home import expanded
from workloads import weights
from workloads.catalog import CATALOG, CONTROLS, MODELS, is_run_by, load, phases_of
from workloads.workload import Weights


class PlanError(ValueError):
    """An option that cannot be planned; the message says what was got, what is possible."""


@dataclass(frozen=True)
class Preset:
    """How large the workloads are and how long they are measured."""

    sizes: str
    """`tiny`, or `published`."""
    effort: Effort
    shapes: dict[str, tuple[tuple[int, int | None], ...]]
    """(batch, sequence) by workload; the workload's own default where it is not named."""
    launches: int = 1
    """Fresh processes per cell."""


PRESETS = {
    "smoke": Preset(
        "tiny", Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.1, min_rounds=3, least_s=0.0, parts="all"), {}
    ),
    "quick": Preset("published", Effort(warm_up_s=4.0, warm_up_steps=1, budget_s=3.0, min_rounds=3, energy_s=2.0), {}),
    "full": Preset(
        "published",
        Effort(
            warm_up_s=20.0,
            warm_up_steps=3,
            budget_s=20.0,
            min_rounds=10,
            least_s=2.0,
            relative_half_width=0.005,
            energy_s=10.0,
            parts="all",
        ),
        {"mlp": ((1, None), (64, None), (256, None)), "gpt2": ((1, 128), (2, 128), (4, 128), (1, 512))},
        launches=3,
    ),
}


@dataclass(frozen=True)
class Selection:
    """What to run, as asked for on the command line; None means the preset's, or all."""

    backends: tuple[str, ...] | None
    workloads: tuple[str, ...] | None
    phases: tuple[str, ...] | None
    batches: tuple[int, ...] | None
    sequences: tuple[int, ...] | None
    preset: str
    threads: int
    launches: int
    weights: Mapping[str, Weights] = field(default_factory=dict)
    """By workload, the checked file that replaces its random parameters."""
    sides: tuple[Side, ...] = ()
    """The two sides of an A/B; else nothing."""


def words(text: str | None, option: str, known: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the comma-separated names in `text`, each known, none twice. Raises PlanError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise PlanError(f"{option} is empty; known: {', '.join(known)}")
    for name in names:
        if name not in known:
            kind = option.removeprefix("--").removesuffix("s")
            refused = backends.why_refused(name) if kind == "backend" else ""
            raise PlanError(f"unknown {kind} {name!r}; known: {', '.join(known)}{refused}")
    return names


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Returns the comma-separated whole numbers in `text`, each at least 1. Raises PlanError."""
    if text is None:
        return None
    found = []
    for part in text.split(","):
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}", part.strip(), re.ASCII):
            raise PlanError(
                f"{option} takes whole numbers, at least 1 and at most 999999999, comma-separated; got {part.strip()!r}"
            )
        found.append(int(part))
    return tuple(dict.fromkeys(found))


def number(text: str | None, option: str) -> int | None:
    """Returns the one whole number in `text`, at least 1. Raises PlanError."""
    found = numbers(text, option) or (None,)
    if len(found) > 1:
        raise PlanError(f"{option} takes one number, got {', '.join(map(str, found))}")
    return found[0]


def files(text: str | None, chosen: Sequence[str], preset: str) -> dict[str, Weights]:
    """Returns the weights files in `text`, `WORKLOAD=PATH` comma-separated, each checked. Raises PlanError."""
    found: dict[str, Weights] = {}
    for part in () if text is None else text.split(","):
        name, equals, path = (word.strip() for word in part.partition("="))
        if not (name and equals and path):
            raise PlanError(f"--weights takes WORKLOAD=PATH, comma-separated; got {part!r}")
        if name not in CATALOG:
            raise PlanError(f"--weights for unknown workload {name!r}; known: {', '.join(CATALOG)}")
        if name not in chosen:
            raise PlanError(f"--weights for {name}, which is not in this run; it has {', '.join(chosen)}")
        if name in found:
            raise PlanError(f"--weights has two files for {name}; give one")
        try:
            found[name] = weights.check(expanded(path), load(name, _size(preset, name)))
        except ValueError as error:
            raise PlanError(f"--weights {name}: {error}") from error
    return found


PAIRS = 12
"""Of an A/B: with a spread of 1.3 % they show a difference of 2 % nearly always (`python -m tests.qa ab`)."""


def sides(given: Sequence[str] | None, chosen: Sequence[str], cores: int) -> tuple[Side, ...]:
    """Returns the sides of an A/B of these backends, each checked; none where none was asked for."""
    found: list[Side] = []
    if given and not chosen:
        raise PlanError(f"--ab compares what computes: {' and '.join(ALWAYS)} alone are the harness and its control")
    for letter, text in zip(SIDES, given or (), strict=False):
        try:
            side = side_of(letter, text)
        except ValueError as error:
            raise PlanError(f"--ab, side {letter}: {error}") from error
        variant = side.variant
        if (variant.threads or 1) > cores:
            raise PlanError(f"--ab, side {letter}: threads={variant.threads} is more than the {cores} cores here")
        if not any(_takes(name, variant.options) for name in chosen):
            known = "; ".join(f"{name}: {_in_words(backends.get(name).options)}" for name in chosen)
            raise PlanError(f"--ab, side {letter}: no backend of the run takes {side.text!r}; their options: {known}")
        found.append(side)
    if found and not any(takes_both(name, found) for name in chosen):
        raise PlanError(
            f"--ab: no backend of the run takes both sides, {' and '.join(map(str, found))}; compare each with `base`"
        )
    return tuple(found)


def takes_both(backend: str, sides: Sequence[Side]) -> bool:
    """Returns whether the backend has the options of both sides of an A/B."""
    return all(_takes(backend, side.variant.options) for side in sides)


def left_out(selection: Selection, known_backends: Sequence[str]) -> str:
    """Returns which backends of the run an A/B leaves out, and why, in words; nothing where it leaves out none."""
    chosen = [name for name in chosen_backends(selection, known_backends) if name not in ALWAYS]
    names = ", ".join(name for name in chosen if not takes_both(name, selection.sides))
    return names and f"--ab leaves out what has no such options: {names}"


def _in_words(options: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name}={'|'.join(values)}" for name, values in options.items()) or "none"


def _takes(backend: str, options: Mapping[str, str]) -> bool:
    try:
        backends.get(backend).chosen_options(options)
    except ValueError:
        return False
    return True


def _size(preset: str, workload: str) -> str:
    published: str = CATALOG[workload].PUBLISHED
    return "tiny" if PRESETS[preset].sizes == "tiny" else published


def select(option: Callable[[str], Any], known_backends: Sequence[str], cores: int) -> Selection:
    """Returns what the command line asks for, on `cores` cores. Raises PlanError, before anything runs."""
    preset = option("--preset")
    preset = "quick" if preset is None else preset
    if preset not in PRESETS:
        raise PlanError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    threads = number(option("--threads"), "--threads") or cores
    if threads > cores:
        raise PlanError(f"--threads {threads} is more than the {cores} cores this process may use; at most {cores}")
    selection = Selection(
        backends=words(option("--backends"), "--backends", known_backends),
        workloads=words(option("--workloads"), "--workloads", tuple(CATALOG)),
        phases=words(option("--phases"), "--phases", PHASES),
        batches=numbers(option("--batch"), "--batch"),
        sequences=numbers(option("--sequence"), "--sequence"),
        preset=preset,
        threads=threads,
        launches=number(option("--launches"), "--launches") or PRESETS[preset].launches,
    )
    chosen = selection.workloads or tuple(CATALOG)
    selection = replace(selection, weights=files(option("--weights"), chosen, preset))
    if given := option("--ab"):
        if option("--launches"):
            raise PlanError("--ab launches in pairs: say --pairs N in place of --launches")
        working = [name for name in chosen_backends(selection, known_backends) if name not in ALWAYS]
        pairs = number(option("--pairs"), "--pairs") or PAIRS
        selection = replace(selection, sides=sides(given, working, cores), launches=pairs)
    elif option("--pairs"):
        raise PlanError("--pairs is for --ab SIDE SIDE")
    if selection.sequences and not any(CATALOG[name].SEQUENCES for name in chosen):
        raise PlanError(f"--sequence is for language models; {', '.join(chosen)} has no sequence")
    for phase in PHASES:  # a shape that a model refuses is refused here
        for cell in cells(replace(selection, backends=selection.backends or tuple(known_backends[:1])), phase, ()):
            try:
                cell.load_workload()
            except ValueError as error:
                raise PlanError(f"{cell.workload}: {error}") from error
    return selection


def _shapes(selection: Selection, workload: str, size: str) -> Iterator[tuple[int, int | None]]:
    default = load(workload, size)
    if workload in CONTROLS:  # the same in every run
        yield default.batch, default.sequence
        return
    shapes = PRESETS[selection.preset].shapes.get(workload, ((default.batch, default.sequence),))
    batches = selection.batches or tuple(dict.fromkeys(batch for batch, _ in shapes))
    if default.sequence is None:
        yield from ((batch, None) for batch in batches)
    elif selection.batches or selection.sequences:
        default_sequences = tuple(dict.fromkeys(sequence for _, sequence in shapes))
        yield from product(batches, selection.sequences or default_sequences)
    else:
        yield from shapes


ALWAYS = ("null", "numpy_cpu")
"""In every run: what the harness itself costs, and the control that tells a slow machine from a slow runtime."""


def chosen_backends(selection: Selection, known_backends: Sequence[str]) -> tuple[str, ...]:
    """Returns the backends asked for by name, else those of `known_backends` that the preset takes; `ALWAYS` too."""
    if selection.backends is not None:
        return (*selection.backends, *(name for name in ALWAYS if name not in selection.backends))
    return tuple(name for name in known_backends if selection.preset in backends.get(name).presets)


def cells(selection: Selection, phase: str, known_backends: Sequence[str]) -> list[Cell]:
    """Returns the cells of `phase`, in the order in which they are listed."""
    planned = []
    # An A/B holds a setting against itself, not against what bounds the chip.
    chosen = selection.workloads or (MODELS if selection.sides else tuple(CATALOG))
    if selection.phases is not None and phase not in selection.phases:
        chosen = ()
    for workload in dict.fromkeys((*chosen, *CONTROLS)):
        size, given = _size(selection.preset, workload), selection.weights.get(workload)
        path, sha256 = (None, None) if given is None else (given.path, given.sha256)
        names = [
            name
            for name in chosen_backends(selection, known_backends)
            if is_run_by(workload, backends.get(name).workloads)
        ]
        if phase not in phases_of(workload):
            continue
        shapes = _shapes(selection, workload, size)
        of_workload = [
            Cell(
                workload,
                size,
                phase,
                backend,
                batch,
                sequence,
                "fp32",
                selection.threads,
                weights_path=path,
                weights_sha256=sha256,
            )
            for batch, sequence in shapes
            for backend in names
        ]
        planned += [side for cell in of_workload for side in _sides_of(cell, selection)]
    return planned


def _sides_of(cell: Cell, selection: Selection) -> Sequence[Cell]:
    """Returns the cell, or its two sides where the run is an A/B: none where its backend cannot take them."""
    if not selection.sides:
        return [cell]
    if cell.backend in ALWAYS or not takes_both(cell.backend, selection.sides):
        return []
    return [replace(cell, variant=side, threads=side.variant.threads or cell.threads) for side in selection.sides]
