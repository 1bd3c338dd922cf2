"""How far a correct computation may lie from the float64 reference, by workload and precision.

Each tolerance stands beside the error that correct code shows. A tolerance under which a planted 1 % mistake
or a lower precision passes is too wide; `tests/test_planted_bugs.py` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Upper bounds for one quantity: `error` relative, in norm; `scale` the relative excess along the reference.

    `correct_error` and `correct_scale` are the worst values seen with correct code, for whoever doubts a bound.
    """

    error: float
    scale: float
    correct_error: float
    correct_scale: float


TOLERANCES: Mapping[tuple[str, str], Mapping[str, Tolerance]] = {}


def tolerances(workload: str, precision: str) -> Mapping[str, Tolerance]:
    """Returns the tolerances of `workload` at `precision`, by quantity. Raises KeyError where there are none."""
    try:
        return TOLERANCES[workload, precision]
    except KeyError:
        raise KeyError(
            f"no tolerances for {workload} at {precision}: measure correct code and add them to {__file__}"
        ) from None
