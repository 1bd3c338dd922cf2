"""What one timed test measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record.dimensions import DIMENSIONS, IN_ORDER, label_of, more_in_words, name_parts
from workloads.catalog import load
from workloads.own import folder as own
from workloads.precision import DEFAULT
from workloads.specs import Weights
from workloads.tuning import TUNED
from workloads.workload import Workload

PLAIN = "expected_fp32"
"""The name under which a cell of a reduced precision is given what float32 computes."""


@dataclass(frozen=True)
class Variant:
    """What one side of an A/B runs with: threads, the adapter's options, variables, another Python or checkout."""

    threads: int | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    python: str | None = None
    tree: Path | None = None


@dataclass(frozen=True)
class Side:
    """One side of an A/B: its letter, what was typed, and what that means. As text it is the row's `variant`."""

    letter: str
    text: str
    variant: Variant

    def __str__(self) -> str:
        return f"{self.letter}: {self.text}"


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class _Point:
        """The dimensions that code reads by name, for the checker of types: those of the list, in their order."""

        workload: str
        size: str
        phase: str
        backend: str
        batch: int
        sequence: int | None
        precision: str
        threads: int
        depth: int | None = None
        generated: int | None = None
        rank: int | None = None
        accumulate: int | None = None
        checkpoint: str | None = None
        device_index: int = 0
        variant: Side | None = None

else:
    # The list stands once, in `results.record.dimensions`: an entry there is a field here.
    _Point = make_dataclass(
        "_Point",
        [
            (d.cell_field, object) if d.required else (d.cell_field, object, field(default=d.default))
            for d in sorted(IN_ORDER, key=lambda d: not d.required)
        ],
        frozen=True,
    )


@dataclass(frozen=True)
class Cell(_Point):
    """A workload at a size, in a phase, on a backend, with its batch, precision and threads.

    It has a field for each dimension (`results.record.dimensions.DIMENSIONS`), those without a default first.
    """

    weights_path: str | None = None
    weights_sha256: str | None = None
    model_path: str | None = None
    """The folder that a child has made of a user's own model; the workload is what lies there."""
    model_failure: str | None = None
    """Why there is none."""

    @property
    def overrides(self) -> Variant:
        """What this side of an A/B runs with; nothing of its own where the cell is no side."""
        return Variant() if self.variant is None else self.variant.variant

    @property
    def group(self) -> tuple[object, ...]:
        """What the cells that a printed ratio compares have in common: of an A/B the two sides of this backend."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.variant is None:
            crossed = [d for d in DIMENSIONS if d.is_compared]
        else:
            crossed = [d for d in DIMENSIONS if d.is_setting]
        return tuple((own | {d.cell_field: None for d in crossed}).values())

    @property
    def id(self) -> str:
        """The cell's test id, stable over machines: `gpt2-b2-s128-fp32-torch_cpu`.

        A later dimension, and a device that is not the first, is in it where it is not the default.
        """
        side = None if self.variant is None else self.variant.letter
        return "-".join(name_parts(self.columns() | {"variant": side}, of_id=True))

    @property
    def name(self) -> str:
        """What tells it from the others of its group, in words: backend or side of an A/B, and what is not fp32."""
        columns = self.columns()
        side = label_of(columns) if self.variant is None else str(self.variant)
        return side if self.precision == DEFAULT.name else f"{side} {self.precision}"

    @property
    def title(self) -> str:
        """The cell in words, for a person who follows a run."""
        columns = self.columns()
        shape = str(self.batch) if self.sequence is None else f"{self.batch}×{self.sequence}"
        side = "" if self.variant is None else f" [{self.variant}]"
        more = more_in_words(columns)
        return f"{self.workload} {self.phase} {shape} {self.precision} {label_of(columns)}{more}{side}"

    def columns(self) -> dict[str, Any]:
        """Returns the cell as columns of a row, the precision as the one asked for, the side of an A/B as text.

        A weights file is in the row's `workload_digest`.
        """
        values = {d.name: getattr(self, d.cell_field) for d in DIMENSIONS}
        return values | {"variant": None if self.variant is None else str(self.variant)}

    def load_workload(self) -> Workload:
        """Returns the workload that the cell runs."""
        if self.model_failure is not None:
            return own.failed(self.workload, self.batch, self.model_failure)
        if self.model_path is not None:
            return own.load(self.model_path)
        workload = load(
            self.workload,
            self.size,
            self.batch,
            self.sequence,
            self.depth,
            self.generated,
            self.phase if self.phase in TUNED else None,
            self.rank,
            self.accumulate or 1,
            self.checkpoint,
        )
        if self.weights_path is None or self.weights_sha256 is None:
            return workload
        return replace(workload, weights=Weights(self.weights_path, self.weights_sha256))
