"""The steps of a run under loads: what `--scenario` means where no service is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import backends
from bench.cell import Cell
from bench.parent.plans import plan
from bench.parent.plans.ladder import MAX, rungs_of
from bench.parent.plans.parse import PlanError
from bench.parent.plans.services import bounds_of, scenarios_of, texts_of, whole
from bench.scenario_cell import ScenarioCell, samples_of
from bench.service_cell import REQUESTS
from workloads.catalog import CONTROLS, LIMITS, load, phases_of
from workloads.generate import Generating

NOT_BESIDE = {"ab": "an A/B holds steps against each other", "launches": "a load is measured in one process"}
"""Options that say nothing of a load, and why."""


def served(selection: plan.Selection, option: Callable[[str], Any]) -> plan.Selection:
    """Returns the selection with its steps under the loads of `--scenario`, in the place of their cells.

    As it was where a service is meant, or no scenario. Raises PlanError.
    """
    if option("--scenario") is None or option("--service") is not None:
        return selection
    for name, why in NOT_BESIDE.items():
        if option(f"--{name}") is not None:
            raise PlanError(f"--{name} is for steps by themselves, not for --scenario: {why}")
    if selection.ladder is not None:
        raise PlanError(f"--scenario: a load has the batch that it is given; name batches in place of {MAX}")
    asked = []
    try:
        for cell in _cells(selection):
            asked += [_under(selection, cell, name, option) for name in scenarios_of(option)]
    except PlanError:
        raise
    except ValueError as error:
        raise PlanError(f"--scenario: {error}") from error
    if not asked:
        raise PlanError("--scenario: none of what was chosen answers queries: take models, in a phase that infers")
    return replace(selection, services=tuple(dict.fromkeys(asked)), has_cells=False)


def _cells(selection: plan.Selection) -> Iterator[Cell]:
    """Yields what answers queries: steps that are verified, and begin anew each time, as a generation does."""
    cells = plan.planned(selection, backends.names())
    larger = rungs_of(selection, cells)
    for cell in cells:
        if cell in larger or not plan.is_verified(cell.backend) or cell.workload in (*CONTROLS, *LIMITS):
            continue
        program = cell.load_workload().programs[cell.phase]
        goes_on = program.update is not None or (bool(program.state) and not isinstance(program, Generating))
        if not goes_on and _is_asked(selection, cell):
            yield cell
        elif goes_on and selection.phases is not None:
            raise PlanError(f"--scenario is for steps that answer queries, and {cell.phase} carries state on")


def _is_asked(selection: plan.Selection, cell: Cell) -> bool:
    """Returns whether the cell's phase was named; where none was, whether it is its workload's first one."""
    if selection.phases is not None or cell.model_path is not None:
        return True
    return cell.phase == next(iter(phases_of(cell.workload)))


def _under(selection: plan.Selection, cell: Cell, scenario: str, option: Callable[[str], Any]) -> ScenarioCell:
    """Returns the cell under a load. Where no batch was asked for, a query is what the scenario says."""
    seed, requests = (whole(option, f"--service-{name}") for name in ("seed", "requests"))
    if selection.batches is None and cell.model_path is None:
        cell = replace(cell, batch=samples_of(scenario, load(cell.workload, cell.size).batch))
    return ScenarioCell.under(
        cell,
        scenario,
        requests=REQUESTS if requests is None else requests,
        bounds=bounds_of(texts_of(option("--service-bound"))),
        seed=seed or 0,
        mlperf=bool(option("--mlperf")),
    )
