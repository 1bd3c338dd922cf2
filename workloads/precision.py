"""Precisions by name: what is stored, computed and accumulated in what, and what the reference must be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Precision:
    """A named recipe. `storage`, `compute` and `accumulate` are NumPy's names of types."""

    name: str
    storage: str
    compute: str
    accumulate: str

    def seen(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns what the float64 reference must be given in place of these parameters or inputs.

        That is what a step of this precision sees of them; float32 arrays are what they are.
        """
        return arrays


FP32 = Precision("fp32", storage="float32", compute="float32", accumulate="float32")
PRECISIONS: Mapping[str, Precision] = {precision.name: precision for precision in (FP32,)}
DEFAULT = FP32


def precision_of(name: str) -> Precision:
    """Returns the precision called `name`. Raises ValueError for an unknown one."""
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
