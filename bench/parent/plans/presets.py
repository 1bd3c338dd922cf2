"""How large the workloads are and how long they are measured, by the name that `--preset` takes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.effort import Effort


@dataclass(frozen=True)
class Preset:
    """How large the workloads are and how long they are measured."""

    sizes: str
    """`tiny`, or `published`."""
    effort: Effort
    has_all_shapes: bool = False
    """Whether each workload runs in all of its `SHAPES`, and not in its default one alone."""
    launches: int = 1
    """Fresh processes per cell."""


PRESETS = {
    "smoke": Preset(
        "tiny", Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.2, min_rounds=3, slice_s=0.02, parts="all")
    ),
    "quick": Preset(
        "published", Effort(warm_up_s=1.0, warm_up_steps=1, budget_s=5.0, min_rounds=8, slice_s=0.3, energy_s=2.0)
    ),
    "full": Preset(
        "published",
        Effort(
            warm_up_s=20.0,
            warm_up_steps=3,
            budget_s=30.0,
            min_rounds=12,
            slice_s=1.0,
            relative_half_width=0.01,
            energy_s=10.0,
            parts="all",
        ),
        has_all_shapes=True,
        launches=3,
    ),
}

ALWAYS = ("null", "numpy_cpu")
"""In every run: what the harness itself costs, and the control that tells a slow machine from a slow runtime."""
