"""How far correct code may lie from the float64 reference: a constant times what the arithmetic itself makes.

The reference is run again and again with the noise of the precision in every operation (`backends._torch_noise`); the
root mean square of a tensor's errors over these samples is what is *predicted* for it. Nobody writes a tolerance by
hand: it is `FACTOR` times the prediction, for every workload, size and precision. What the optimiser does with a
gradient is no matter of noise: it is held against its rule, element by element, in roundoffs (`workloads.update`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from workloads.deviation import quantity_of
from workloads.precision import ROUNDOFF, Precision

FACTOR = 8.0
"""Correct code lies within half of it in 99 of 100 tensors (`python -m bench.correct_errors`, docs/precisions.md)."""


SCALE_ROUNDOFFS = 4
"""A scale is predicted to be off by so many float32 roundoffs, at least. Sums of one sign may round alike in every
channel, where noise that is drawn for each by itself averages out: torch's batch norm at ResNet-50's own size is off by
11 in all channels of a running variance, where 1.6 were predicted. The error of a single number, as a loss is, is a
scale: OpenVINO's loss of `gpt2` 124m is off by 7, where less than one was predicted."""


class MissingTolerance(LookupError):
    """Nobody has said how far a correct computation may lie off: our own fault, and no backend's."""


@dataclass(frozen=True)
class Tolerance:
    """Upper bounds for one tensor: `error` relative, in norm; `scale` the relative excess along the reference."""

    error: float
    scale: float


Predicted = Mapping[str, Tolerance]
"""What noise makes of each tensor, by the keys of what is expected: root mean squares, not yet bounds."""


def tolerances(predicted: Predicted, precision: Precision) -> dict[str, Tolerance]:
    """Returns the bounds by tensor, from what is predicted.

    A prediction counts as at least the median over its quantity's tensors, and a roundoff of what a step returns: a few
    samples may all have been lucky. Values that are nearly equal round alike, so that a scale may be off by the unit.
    What has no scale beside its error is a single number, whose error is one.
    """
    by_quantity: dict[str, list[Tolerance]] = {}
    for key, one in predicted.items():
        by_quantity.setdefault(quantity_of(key), []).append(one)
    middle = {
        quantity: Tolerance(median(one.error for one in ours), median(one.scale for one in ours))
        for quantity, ours in by_quantity.items()
    }
    least = max(SCALE_ROUNDOFFS * ROUNDOFF, precision.unit, precision.operands)
    return {
        key: Tolerance(
            FACTOR * max(one.error, middle[quantity_of(key)].error, (1 if one.scale else SCALE_ROUNDOFFS) * ROUNDOFF),
            FACTOR * max(one.scale, middle[quantity_of(key)].scale, least),
        )
        for key, one in predicted.items()
    }
