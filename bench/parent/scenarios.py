"""Steps of this machine under a load: verified before and after, in rounds where that may be, their rows together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cell import Cell
from bench.parent import belief
from bench.parent.children.child import Outcome
from bench.parent.children.loads import Loads
from bench.parent.children.member import Ready
from bench.parent.groups import Order, groups_of
from bench.parent.record import Launch
from bench.parent.suite import Suite
from bench.scenario_cell import ScenarioCell

MOST_ATTEMPTS = 2
NOT_VERIFIED = "none"
WRONG = "wrong"
DOUBTFUL = ("does_not_wait", "disturbed")
"""Codes of what the clock alone says: a disturbance may have made it look so, and it is measured once more."""
OF_STEP = ("device", "workload_digest")
"""Columns of a step's row that are those of its queries, too."""


@dataclass
class Scenarios:
    """The loads of a run, and what came of each: a group of them is measured when its first row is asked for."""

    suite: Suite
    order: Order
    cells: Sequence[ScenarioCell]
    say: Callable[[str], None]
    _columns: dict[ScenarioCell, dict[str, Any]] = field(default_factory=dict, init=False)

    def columns_of(self, cell: ScenarioCell) -> dict[str, Any]:
        """Returns the columns of a row, but for those of the run."""
        if cell not in self._columns:
            self._measure(self._group_of(cell))
        return cell.columns() | self._columns[cell]

    def _group_of(self, cell: ScenarioCell) -> list[ScenarioCell]:
        """Returns those that are measured beside `cell`: the same work under the same load, on the same kind."""
        alike = {one.cell: one for one in self.cells if one.group == cell.group}
        (group,) = (group for group in groups_of(alike) if cell.cell in group)
        return [alike[one] for one in group if alike[one] not in self._columns]

    def _measure(self, group: Sequence[ScenarioCell]) -> None:
        by_cell = {one.cell: one for one in group}
        first = group[0]
        self.suite.prepare(by_cell)
        readies: Mapping[Cell, Launch | Ready] = {cell: self._ready(cell) for cell in by_cell}
        working = [
            replace(ready, job={**ready.job, **first.job()})
            for ready in readies.values()
            if not isinstance(ready, Launch)
        ]
        for cell, ready in readies.items():
            if isinstance(ready, Launch):
                self._columns[by_cell[cell]] = _without(ready.columns)
        for attempt in range(MOST_ATTEMPTS):
            found = self._engine(first, attempt).run(working)
            for ready in working:
                self._columns[by_cell[ready.cell]] = _of_outcome(ready, found[ready.cell].outcome)
            working = [ready for ready in working if found[ready.cell].outcome.reason_code in DOUBTFUL]
            if not working:
                break

    def _engine(self, first: ScenarioCell, attempt: int) -> Loads:
        effort = replace(self.suite.effort, operators=False, energy_s=0.0)
        random = self.order.random(first.id, attempt)
        return Loads(effort, random, self.suite.longest_stage_s, say=self.say, parts=first.asked.parts())

    def _ready(self, cell: Cell) -> Launch | Ready:
        """Returns what starts the cell, or why it is not started: a precision that is not believed, too."""
        return belief.refused(self.suite, [cell]).get(cell) or self.suite.ready(cell)


def _of_outcome(ready: Ready, outcome: Outcome) -> dict[str, Any]:
    """Returns what came of a child as columns of a row."""
    known = {name: ready.columns.get(name) for name in OF_STEP}
    if outcome.status == "ok":
        return known | outcome.result
    status = "known_failure" if ready.is_known_to_fail else outcome.status
    return known | _without({"status": status, "reason": outcome.reason})


def _without(columns: Mapping[str, Any]) -> dict[str, Any]:
    status = str(columns["status"])
    verification = WRONG if status == WRONG else NOT_VERIFIED
    return {"status": status, "reason": columns["reason"], "verification": verification}
