"""Rotary positions as tables: cosines and sines of the angles of each position, made in float64 and rounded once.

Made in float32 on each runtime, the angle at position 2048 would be off by 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any, Literal

from workloads.specs import TableSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """How Llama 3.1 and later stretch low frequencies, named as in their configuration (`rope_type` "llama3")."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class RopeTable(TableSpec):
    """Cosines or sines, as (positions, D/2): of angle `position * theta^(-2i/D)` (Su et al. 2021, arXiv:2104.09864)."""

    function: Literal["cos", "sin"]
    theta: float
    scaling: Scaling | None = None

    def values(self) -> Any:
        import numpy as np

        positions, half = self.shape
        frequencies = self.theta ** (-np.arange(half) / half)
        if self.scaling is not None:
            frequencies = _stretched(frequencies, self.scaling)
        angles = np.outer(np.arange(positions), frequencies)
        return getattr(np, self.function)(angles).astype(np.float32)


def _stretched(frequencies: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """Returns the frequencies, low ones divided by the factor, and those between in between."""
    import numpy as np

    turns = scaling.original_max_position_embeddings * frequencies / (2 * pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    share = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(frequencies * (share + (1 - share) / scaling.factor))


def rope_tables(
    positions: int, head_size: int, theta: float, scaling: Scaling | None = None
) -> tuple[RopeTable, RopeTable]:
    """Returns the tables `rope.cos` and `rope.sin`."""
    shape = (positions, head_size // 2)
    return (
        RopeTable("rope.cos", shape, 0.0, 0.0, "cos", theta, scaling),
        RopeTable("rope.sin", shape, 0.0, 0.0, "sin", theta, scaling),
    )
