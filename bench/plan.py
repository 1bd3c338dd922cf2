"""From options to cells: presets, the choice of backends, workloads and shapes, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from backends.base import PHASES
from bench.cell import Cell
from bench.measure import Effort
from workloads.catalog import CATALOG, load


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


PRESETS = {
    "smoke": Preset("tiny", Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.1, min_rounds=3), {}),
    "quick": Preset("published", Effort(warm_up_s=1.0, warm_up_steps=2, budget_s=5.0, min_rounds=3), {}),
    "full": Preset(
        "published",
        Effort(warm_up_s=2.0, warm_up_steps=3, budget_s=20.0, min_rounds=10),
        {"mlp": ((1, None), (64, None), (256, None)), "gpt2": ((1, 128), (2, 128), (4, 128), (1, 512))},
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


def words(text: str | None, option: str, known: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the comma-separated names in `text`, each known, none twice. Raises PlanError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise PlanError(f"{option} is empty; known: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise PlanError(
                f"unknown {option.removeprefix('--').removesuffix('s')} {name!r}; known: {', '.join(known)}"
            )
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


def select(option: Callable[[str], str | None], known_backends: Sequence[str], cores: int) -> Selection:
    """Returns what the command line asks for, on `cores` cores. Raises PlanError, before anything runs."""
    preset = option("--preset")
    preset = "quick" if preset is None else preset
    if preset not in PRESETS:
        raise PlanError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    threads = numbers(option("--threads"), "--threads") or (cores,)
    if len(threads) > 1:
        raise PlanError(f"--threads takes one number, got {', '.join(map(str, threads))}")
    if threads[0] > cores:
        raise PlanError(f"--threads {threads[0]} is more than the {cores} cores this process may use; at most {cores}")
    selection = Selection(
        backends=words(option("--backends"), "--backends", known_backends),
        workloads=words(option("--workloads"), "--workloads", tuple(CATALOG)),
        phases=words(option("--phases"), "--phases", PHASES),
        batches=numbers(option("--batch"), "--batch"),
        sequences=numbers(option("--sequence"), "--sequence"),
        preset=preset,
        threads=threads[0],
    )
    chosen = selection.workloads or tuple(CATALOG)
    if selection.sequences and not any(CATALOG[name].SEQUENCES for name in chosen):
        raise PlanError(f"--sequence is for language models; {', '.join(chosen)} has no sequence")
    for phase in PHASES:  # a shape that a model refuses is refused here
        for cell in cells(selection, phase, known_backends[:1]):
            try:
                cell.load_workload()
            except ValueError as error:
                raise PlanError(f"{cell.workload}: {error}") from error
    return selection


def _shapes(selection: Selection, workload: str, size: str) -> Iterator[tuple[int, int | None]]:
    default = load(workload, size)
    shapes = PRESETS[selection.preset].shapes.get(workload, ((default.batch, default.sequence),))
    batches = selection.batches or tuple(dict.fromkeys(batch for batch, _ in shapes))
    if default.sequence is None:
        yield from ((batch, None) for batch in batches)
    elif selection.batches or selection.sequences:
        default_sequences = tuple(dict.fromkeys(sequence for _, sequence in shapes))
        yield from product(batches, selection.sequences or default_sequences)
    else:
        yield from shapes


def cells(selection: Selection, phase: str, known_backends: Sequence[str]) -> list[Cell]:
    """Returns the cells of `phase`, in the order in which they run."""
    if selection.phases is not None and phase not in selection.phases:
        return []
    planned = []
    for workload in selection.workloads or tuple(CATALOG):
        published = CATALOG[workload].PUBLISHED
        size = "tiny" if PRESETS[selection.preset].sizes == "tiny" else published
        for batch, sequence in _shapes(selection, workload, size):
            planned += [
                Cell(workload, size, phase, backend, batch, sequence, "fp32", selection.threads)
                for backend in selection.backends or known_backends
            ]
    return planned
