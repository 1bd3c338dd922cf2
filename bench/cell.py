"""What one timed test measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from workloads.catalog import load
from workloads.workload import Weights, Workload


@dataclass(frozen=True)
class Cell:
    """A workload at a size, in a phase, on a backend, with its batch, precision and threads."""

    workload: str
    size: str
    phase: str
    backend: str
    batch: int
    sequence: int | None
    precision: str
    threads: int
    device_index: int = 0
    weights_path: str | None = None
    weights_sha256: str | None = None
    variant: str | None = None
    """Which side of an A/B, and what it runs with: `B: threads=1`."""

    @property
    def pair(self) -> Cell:
        """What the two sides of an A/B have in common."""
        return self if self.variant is None else replace(self, variant=None, threads=0)

    @property
    def id(self) -> str:
        """The cell's test id, stable over machines: `gpt2-b2-s128-fp32-torch_cpu`."""
        sequence = "" if self.sequence is None else f"-s{self.sequence}"
        side = "" if self.variant is None else f"-{self.variant[0]}"
        return f"{self.workload}-b{self.batch}{sequence}-{self.precision}-{self.backend}{side}"

    @property
    def title(self) -> str:
        """The cell in words, for a person who follows a run."""
        shape = str(self.batch) if self.sequence is None else f"{self.batch}×{self.sequence}"
        side = "" if self.variant is None else f" [{self.variant}]"
        return f"{self.workload} {self.phase} {shape} {self.precision} {self.backend}{side}"

    def columns(self) -> dict[str, Any]:
        """Returns the cell as columns of a row, the precision as the one asked for.

        A weights file is in the row's `workload_digest`.
        """
        columns = asdict(self)
        del columns["weights_path"], columns["weights_sha256"]
        columns["precision_requested"] = columns.pop("precision")
        return columns

    def load_workload(self) -> Workload:
        """Returns the workload that the cell runs."""
        workload = load(self.workload, self.size, self.batch, self.sequence)
        if self.weights_path is None or self.weights_sha256 is None:
            return workload
        return replace(workload, weights=Weights(self.weights_path, self.weights_sha256))
