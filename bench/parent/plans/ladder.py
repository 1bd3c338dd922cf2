"""`--batch max`: batches that are doubled as long as a backend gains by it, each a cell as any other.

Of a ladder the smallest batch is measured in any case; each larger one by the backends that the smaller ones do not
stop (`bench.parent.plans.climb`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import backends
from bench.cell import Cell
from bench.parent.plans.parse import PlanError, numbers
from bench.parent.suite import probed, why_not
from workloads.catalog import CONTROLS, LIMITS
from workloads.generate import GENERATE

if TYPE_CHECKING:
    from bench.parent.plans.plan import Selection

MAX = "max"
LARGEST = 2**20
DOUBLINGS_ON_CPU, DOUBLINGS = 4, 8
"""So often a batch is doubled at most where no largest one is given: what fills a device fills no CPU sooner."""


@dataclass(frozen=True)
class Ladder:
    """How far batches are doubled: to `most` samples, or by a number of doublings where it is None."""

    most: int | None = None

    def above(self, batch: int, backend: str) -> list[int]:
        """Returns the batches above `batch` that the ladder has on the backend."""
        doublings = DOUBLINGS_ON_CPU if backends.get(backend).device_kind == "cpu" else DOUBLINGS
        most = batch << doublings if self.most is None else self.most
        rungs = []
        while (batch := 2 * batch) <= most:
            rungs.append(batch)
        return rungs


def batches_of(text: str | None) -> tuple[tuple[int, ...] | None, Ladder | None]:
    """Returns the numbers in what `--batch` was given, and its ladder: `8`, `1,8`, `max`, `1,max:64`.

    Raises PlanError.
    """
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    climbing = [part for part in parts if part.partition(":")[0] == MAX]
    if not climbing:
        return numbers(text, "--batch"), None
    if len(climbing) > 1:
        raise PlanError(f"--batch takes {MAX} once, got {', '.join(climbing)}")
    given = numbers(",".join(part for part in parts if part not in climbing) or None, "--batch")
    _, colon, most = climbing[0].partition(":")
    if not colon:
        return given, Ladder()
    if not re.fullmatch(r"[1-9][0-9]{0,6}", most, re.ASCII) or int(most) > LARGEST:
        raise PlanError(f"--batch {MAX}:N takes the largest batch, from 1 to {LARGEST}; got {most!r}")
    if int(most) < 2 * max(given or (1,)):
        raise PlanError(f"--batch {text}: no batch lies between {max(given or (1,))} and {most} to double to")
    return given, Ladder(int(most))


def ladder_of(selection: Selection, backend: str) -> Ladder | None:
    """Returns the ladder that the backend climbs, or None.

    That is the one asked for. Where `--batch` was not given, an accelerator climbs by itself: a device that works on
    two samples at a time is not kept full. Not in `smoke`, whose numbers are of no use, nor in an A/B.
    """
    adapter = backends.get(backend)
    if not adapter.verifiable:
        return None
    if selection.ladder is not None:
        return selection.ladder
    is_left_to_us = selection.batches is None and not selection.sides and selection.preset != "smoke"
    return Ladder() if is_left_to_us and is_accelerator(backend) else None


def is_accelerator(backend: str) -> bool:
    """Returns whether the backend runs on a device of its own, with memory of its own."""
    return backends.get(backend).device_kind not in ("cpu", "none")


def is_climbed(selection: Selection, backend: str) -> bool:
    """Returns whether there is a ladder for the backend, and its device is here."""
    return ladder_of(selection, backend) is not None and probed(backends.get(backend)).status == "usable"


def rungs(selection: Selection, climbing: Iterable[str], batch: int) -> list[int]:
    """Returns the batches above `batch` that one of the backends has on its ladder."""
    above = (ladder.above(batch, name) for name in climbing if (ladder := ladder_of(selection, name)) is not None)
    return sorted({rung for of_backend in above for rung in of_backend})


def check(selection: Selection, workloads: Iterable[str], *, has_models: bool) -> None:
    """Raises PlanError where a ladder was asked for, and nothing climbs it."""
    if selection.ladder is None:
        return
    if selection.sides:
        raise PlanError(f"--ab holds two settings against each other at one batch: give numbers in place of {MAX}")
    if not has_models and not any(name not in (*LIMITS, *CONTROLS) for name in workloads):
        raise PlanError(f"--batch {MAX} is for models; what bounds the chip has a size of its own")


def climbs(selection: Selection, cell: Cell) -> bool:
    """Returns whether larger batches than the cell's may be tried. Generations, limits and the control have one."""
    takes_part = cell.workload not in (*LIMITS, *CONTROLS) and cell.phase not in (GENERATE,)
    return takes_part and ladder_of(selection, cell.backend) is not None


def with_rungs(selection: Selection, cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells with the larger batches of their ladders, of what can start here; none is there twice."""
    planned = dict.fromkeys(cells)
    for family in _families(selection, cells):
        cell, ladder = _base(selection, family), ladder_of(selection, family[0].backend)
        if ladder is not None and _can_start(cell):
            planned |= dict.fromkeys(replace(cell, batch=batch) for batch in ladder.above(cell.batch, cell.backend))
    return list(planned)


def _can_start(cell: Cell) -> bool:
    adapter = backends.get(cell.backend)
    probe = probed(adapter)
    try:
        return probe.status == "usable" and why_not(adapter, probe, cell) is None
    except ValueError:  # a shape that the model refuses: planning says so
        return False


def of_models(selection: Selection, cells: Iterable[Cell]) -> list[Cell]:
    """Returns the cells of users' models, without batches that are on other backends' ladders only."""
    asked: dict[str, int] = {}
    for one in selection.models:
        if not one.is_rung:
            asked[one.name] = max(one.batch, asked.get(one.name, 0))

    def is_on_ladder(cell: Cell) -> bool:
        climbing = [cell.backend] if is_climbed(selection, cell.backend) and climbs(selection, cell) else []
        return cell.batch in rungs(selection, climbing, asked[cell.workload])

    return [cell for cell in cells if cell.batch <= asked[cell.workload] or is_on_ladder(cell)]


def rungs_of(selection: Selection, cells: Iterable[Cell]) -> dict[Cell, tuple[Cell, ...]]:
    """Returns the cells that are measured only if smaller batches do not stop them, each with these, ascending."""
    rungs = {}
    for family in _families(selection, cells):
        base = _base(selection, family)
        for place, cell in enumerate(family):
            if cell.batch > base.batch:
                rungs[cell] = tuple(family[:place])
    return rungs


def _families(selection: Selection, cells: Iterable[Cell]) -> list[list[Cell]]:
    """Returns the cells that may climb, those together that differ in nothing but the batch, by batch."""
    families: dict[Cell, list[Cell]] = {}
    for cell in cells:
        if climbs(selection, cell):  # a user's model lies in a folder for each batch
            families.setdefault(replace(cell, batch=0, model_path=None, model_failure=None), []).append(cell)
    return [sorted(family, key=lambda cell: cell.batch) for family in families.values()]


def _base(selection: Selection, family: Sequence[Cell]) -> Cell:
    """Returns the cell from which a ladder climbs: of the largest batch that was asked for, else of the smallest."""
    asked = [cell for cell in family if cell.batch <= max(selection.batches or (0,))]
    return asked[-1] if asked else family[0]
