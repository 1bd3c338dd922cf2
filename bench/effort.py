"""How long a cell is measured, and by which method: plain data, known to parent and child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

METHOD_VERSION = 3
"""Changes with the estimator, so that a changed estimator is never mistaken for a changed machine."""


@dataclass(frozen=True)
class Effort:
    """How long a cell is warmed up and measured. Times in seconds.

    A group of cells is measured in `min_rounds` rounds and more, in each of which a cell has a slice of `slice_s`, or
    one step; until its ratios are known to `relative_half_width`, but no longer than `budget_s` for each cell. The
    warm-up goes on until the steps are steady, but no longer than `warm_up_s`, and yet for `warm_up_steps`; 0 s is no
    test of steadiness. Where a counter of energy can be read, steps run for `energy_s` more, and none for half of
    it.
    """

    warm_up_s: float
    warm_up_steps: int
    budget_s: float
    min_rounds: int
    slice_s: float = 0.0
    relative_half_width: float = 0.02
    operators: bool = False
    """Whether time by operator is asked for when all else is measured."""
    energy_s: float = 0.0
    parts: Literal["none", "ready", "all"] = "ready"
    """Which steps are taken apart: those whose parts need not be compiled for it, all, or none."""

    @property
    def is_timed(self) -> bool:
        """Whether there is time to measure in: without, a cell is verified, and its numbers say nothing."""
        return self.budget_s > 0


ONE_STEP = Effort(warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1)
"""Enough to see that a step is verified: nothing is timed."""
