"""Whether a step of a user's model can be told from its mistakes in float32: noise must not make another of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.child import noise
from workloads.deviation import quantity_of
from workloads.precision import DEFAULT
from workloads.tolerance import MissingTolerance, Predicted

if TYPE_CHECKING:
    from backends.base import Setting

MOST = 1e-3
"""What roundoffs of float32 may make of a loss or an output, in root mean square: a thousand times what they do."""
LOOKED_AT = ("loss", "output")


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what is predicted, as `noise.make` does. Raises MissingTolerance where the step is ill-conditioned."""
    made = noise.make(setting, folder, inputs)
    if setting.precision == DEFAULT:
        check(noise.load(folder))
    return made


def check(predicted: Predicted) -> None:
    """Raises MissingTolerance where float32 says nothing of a loss or an output: anything would pass."""
    errors = {key: one.error for key, one in predicted.items() if quantity_of(key) in LOOKED_AT}
    worst = max(errors, key=lambda key: errors[key])
    if not errors[worst] <= MOST:
        raise MissingTolerance(
            f"ill-conditioned in float32, on any runtime: its roundoffs alone change {worst} by {errors[worst]:.1g} of "
            f"it, and at most {MOST:g} is verified; take a larger batch, a smaller learning rate, or smaller scales of "
            f"norms"
        )
