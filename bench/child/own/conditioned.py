"""Whether a step of a user's model can be told from its mistakes in float32: noise must not make another of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.child import noise
from bench.child.checks.predicted import to_json
from bench.child.expected import computed, load_expected
from workloads.arrays import BATCHES_FILE, load_batches, map_initial
from workloads.deviation import MEASURES, measured, quantity_of
from workloads.precision import DEFAULT, FLOAT32, Precision
from workloads.tolerance import MissingTolerance, Predicted, Tolerance

if TYPE_CHECKING:
    from backends.base import Setting

MOST_SHORT = 0.1
"""The same of a coarser precision: eight times that is nearly all of it, and anything would pass."""
MOST = 1e-3
"""What roundoffs of float32 may make of a loss or an output, in root mean square: a thousand times what they do."""
LOOKED_AT = ("loss", "output")


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what is predicted, as `noise.make` does, and what sums of equal terms add to it.

    Raises MissingTolerance where the step is ill-conditioned.
    """
    made = noise.make(setting, folder, inputs)
    predicted = noise.load(folder)
    if setting.precision == DEFAULT:
        predicted = with_equal_terms(predicted, setting, inputs)
        (folder / noise.FILE).write_text(json.dumps(to_json(predicted)))
    check(predicted, setting.precision)
    return made


def with_equal_terms(predicted: Predicted, setting: Setting, inputs: Mapping[str, Path]) -> Predicted:
    """Returns predictions with what sums of equal terms may err by, in quadrature."""
    import torch

    from backends._torch_equal_terms import EqualTerms
    from backends._torch_noise import NoisyOps

    initial, batches = map_initial(inputs), load_batches(inputs["batches"] / BATCHES_FILE)
    expected = load_expected(inputs["expected"])
    squares: dict[tuple[str, str], float] = {}
    for seed in range(noise.SAMPLES):
        mode = EqualTerms(seed)
        with torch.no_grad():
            observed = computed(setting.program, NoisyOps(mode), initial, batches, mode)
        if not mode.found:
            return predicted
        for one in measured(observed, expected, expected):
            at = (one.key, one.measure)
            squares[at] = squares.get(at, 0.0) + one.value**2 / noise.SAMPLES
    return {
        key: Tolerance(**{name: sqrt(getattr(before, name) ** 2 + squares.get((key, name), 0.0)) for name in MEASURES})
        for key, before in predicted.items()
    }


def check(predicted: Predicted, precision: Precision = DEFAULT) -> None:
    """Raises MissingTolerance where the precision says nothing of a loss or an output: anything would pass."""
    most = MOST if precision == DEFAULT else MOST_SHORT
    errors = {key: one.error for key, one in predicted.items() if quantity_of(key) in LOOKED_AT}
    worst = max(errors, key=lambda key: errors[key])
    if not errors[worst] <= most:
        name = FLOAT32 if precision == DEFAULT else precision.name
        raise MissingTolerance(
            f"ill-conditioned in {name}, on any runtime: its roundoffs alone change {worst} by {errors[worst]:.1g} of "
            f"it, and at most {most:g} is verified; take a larger batch, a smaller learning rate, or smaller scales of "
            f"norms"
        )
