"""A cell of a group: what starts it, its child, what it gave in each round, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cell import Cell, Variant
from bench.parent.children.child import Child, Outcome
from bench.parent.children.control import Control, Reading


@dataclass
class Ready:
    """A cell that can be started: what is known before it runs, and what its child is told."""

    cell: Cell
    columns: dict[str, Any]
    job: Mapping[str, Any]
    log: Path
    side: Variant
    asked: Sequence[str]
    device_kind: str
    need_bytes: int
    """What preparing it may take, where nobody has measured it."""
    is_known_to_fail: bool = False
    """Whether its adapter declares that it does."""


@dataclass(frozen=True)
class Slice:
    """What a cell gave in a round, between two readings of the control."""

    latency_s: float
    samples_per_s: float | None
    """None where throughput was not asked for: that of a step that is not serial is known after fewer rounds."""
    n: int
    readings: tuple[Reading, ...]


@dataclass
class Member:
    """One cell of a group with its child and what came of it."""

    ready: Ready
    child: Child
    step_s: float = 0.0
    is_serial: bool = True
    slices: dict[int, Slice] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return not self.child.is_over

    @property
    def name(self) -> str:
        """What tells it from the others of its group, in words."""
        return self.ready.cell.name

    def kept(self, control: Control | None) -> dict[int, Slice]:
        """Returns the slices beside which the control was never low."""
        if control is None:
            return self.slices
        return {number: one for number, one in self.slices.items() if not any(map(control.is_low, one.readings))}

    def throughputs(self, control: Control | None) -> int:
        """Returns in how many of the slices that are kept throughput was measured."""
        return sum(one.samples_per_s is not None for one in self.kept(control).values())

    def latency(self, control: Control | None) -> dict[int, float]:
        """Returns the latency of the slices that are kept."""
        return {number: one.latency_s for number, one in self.kept(control).items()}


@dataclass(frozen=True)
class Measured:
    """What came of a cell: how its child ended, its slices that count, and how many were left out."""

    outcome: Outcome
    kept: Mapping[int, Slice] = field(default_factory=dict)
    left_out: int = 0
    columns: Mapping[str, Any] = field(default_factory=dict)
