"""A cell under a load: which step, and how queries arrive. Data that any process may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.cell import Cell
from bench.service_cell import ServiceCell
from bench.serving.arrivals import Offline, scenario_named
from bench.serving.local.asked import Asked

OF_ANY_STEP = ("e2e_s", "e2e_from_due_s", "lag_s")
"""Latencies that may be bound where a step makes no tokens one by one."""


def samples_of(scenario: str, default: int) -> int:
    """Returns the samples of a query where nobody asked for a batch: where all are due at once the `default`."""
    named = scenario_named(scenario)
    return default if isinstance(named, Offline) else named.samples


@dataclass(frozen=True)
class ScenarioCell:
    """One runtime's step under one load. Raises ValueError for what cannot be asked of it."""

    cell: Cell
    asked: Asked

    def __post_init__(self) -> None:
        if self.cell.generated is None and (unknown := sorted(self.asked.bounds.keys() - {*OF_ANY_STEP})):
            raise ValueError(
                f"{self.cell.workload} makes no tokens one by one in this phase, so that no bound can be set on"
                f" {', '.join(unknown)}; it may be on {', '.join(OF_ANY_STEP)}"
            )

    @classmethod
    def under(cls, cell: Cell, scenario: str, **asked: Any) -> Self:
        """Returns the cell under a scenario, each query one batch; `asked` are the other fields of `Asked`."""
        return cls(cell, Asked(scenario=scenario, samples=cell.batch, **asked))

    @property
    def id(self) -> str:
        """What its test is called."""
        return f"{self.cell.phase}-{self.cell.id}-{self.asked.scenario}"

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"{self.cell.title}, {self.asked.scenario}"

    @property
    def group(self) -> tuple[object, ...]:
        """What those have in common that are measured side by side."""
        return (*self.cell.group, self.asked.scenario)

    def columns(self) -> dict[str, Any]:
        """Returns what a row says of what was asked."""
        cell, bounds = self.cell, self.asked.bounds
        return {
            "backend": cell.backend,
            "service": cell.backend,
            "model": f"{cell.workload}:{cell.size}",
            "kind": cell.phase,
            "precision": cell.precision,
            "batch": cell.batch,
            "sequence": cell.sequence,
            "threads": cell.threads,
            "scenario": self.asked.scenario,
            "prompt_tokens_asked": None if cell.generated is None else cell.sequence,
            "output_tokens_asked": cell.generated,
            "seed": self.asked.seed,
            "bounds": json.dumps(dict(bounds), sort_keys=True) if bounds else None,
        }

    def job(self) -> Mapping[str, Any]:
        """Returns what the step's child is told beside the cell."""
        return {"asked": asdict(self.asked)}


Loaded = ServiceCell | ScenarioCell
"""What a run puts under a load."""
