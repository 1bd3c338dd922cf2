"""Which cells are one group, what it is called, and in what order groups are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import backends
from bench.cell import Cell
from bench.parent.suite import probed
from bench.parent.verdict import REPEATABLE
from results.record.dimensions import OF_GROUP
from results.record.row import cell_of
from workloads.catalog import LIMITS


@dataclass(frozen=True)
class Order:
    """How many generations of each group there are, and in what order: shuffled anew each time, as the seed has it."""

    launches: int
    seed: str
    rungs: Mapping[Cell, Sequence[Cell]] = field(default_factory=dict, hash=False)
    """Cells that come behind others, each with these: what smaller batches gave decides on larger ones."""

    def shuffled(self, groups: Iterable[Sequence[Cell]], number: int) -> list[Sequence[Cell]]:
        """Returns the groups in the order of generation `number`: what bounds the chip first, larger batches last."""
        ordered = sorted(groups, key=lambda group: (group[0].phase, group[0].id))
        self.random(number).shuffle(ordered)
        ordered.sort(key=lambda group: (group[0].workload not in LIMITS, len(self.rungs.get(group[0], ()))))
        return ordered

    def random(self, *of: object) -> Random:
        """Returns random numbers of their own for whatever `of` names."""
        return Random(":".join(map(str, (self.seed, *of))))


def is_idle(cell: Cell) -> bool:
    """Returns whether the cell cannot start here: its row says why, and costs no time."""
    return probed(backends.get(cell.backend)).status != "usable"


def groups_of(cells: Iterable[Cell], baseline: str | None = None) -> list[list[Cell]]:
    """Returns the cells by what a printed ratio compares, each group with the one that ratios refer to first.

    One that cannot start here is a group of its own: whoever asks for its row shall not wait for others.
    """
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        kind = backends.get(cell.backend).device_kind
        groups.setdefault((*cell.group, kind, cell if is_idle(cell) else None), []).append(cell)
    return [sorted(group, key=lambda cell: cell.backend != baseline) for group in groups.values()]


def whole_groups(
    launches: Sequence[Mapping[str, Any]],
    groups: Iterable[Iterable[Mapping[str, Any]]],
    needs_none: Callable[[Mapping[str, Any]], bool] = lambda columns: False,
) -> list[Mapping[str, Any]]:
    """Returns the launches of groups of which every cell was launched: a group is whole, or begun anew.

    A cell may lack a launch that `needs_none`, given its columns, and one that failed for good in an earlier one.
    """
    have = {(cell_of(launch), launch["number"]) for launch in launches}
    ended: dict[object, int] = {}
    for launch in launches:
        if launch.get("status", "ok") not in REPEATABLE:
            ended[cell_of(launch)] = min(launch["number"], ended.get(cell_of(launch), launch["number"]))
    of_cell = {
        cell_of(columns): [cell_of(one) for one in group if not needs_none(one)]
        for group in map(list, groups)
        for columns in group
    }

    def is_there(other: object, number: int) -> bool:
        return (other, number) in have or ended.get(other, number) < number

    return [
        launch
        for launch in launches
        if all(is_there(other, launch["number"]) for other in of_cell.get(cell_of(launch), ()))
    ]


def group_id_of(cell: Cell) -> str:
    """Returns what the cells of a group have in common, in words that sort: `mlp base train b64 fp32 t2 cpu`."""
    columns = cell.columns()
    shown = [d for d in OF_GROUP if d.is_shown(columns[d.name])]
    side = () if cell.variant is None else (cell.backend,)
    return " ".join([*(f"{d.mark}{columns[d.name]}" for d in shown), *side, backends.get(cell.backend).device_kind])
