"""Whether a series of step times is steady. NumPy only; used in the child, outside of what is timed."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


def is_steady(before: Sequence[float], after: Sequence[float], tolerance: float = 0.01) -> bool:
    """Returns whether two successive windows differ by no more than `tolerance`, or than their own noise explains.

    Noise explains two standard errors of the difference of their medians, by the spread within them.
    """
    a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
    middle = float(np.median(b))
    spreads = [_spread(w) for w in (a, b)]
    # 1.2533 / sqrt(n) is a median's standard error in standard deviations of a normal distribution.
    error = 1.2533 * sqrt(sum(s**2 / len(w) for s, w in zip(spreads, (a, b), strict=True)))
    return abs(float(np.median(a)) - middle) <= max(tolerance * middle, 2 * error)


def _spread(x: Series) -> float:
    """Returns a robust standard deviation: from the quartiles, or the range where samples are few."""
    if len(x) < 4:
        return float(np.ptp(x)) / 1.4 if len(x) > 1 else 0.0
    low, high = np.quantile(x, [0.25, 0.75])
    return float(high - low) / 1.349
