"""Floating numbers of 8 bits: `float8_e4m3fn`, a sign, four bits of exponent, three of mantissa, no infinities.

As "FP8 Formats for Deep Learning" (Micikevicius et al. 2022, arXiv:2209.05433) has it, and the OCP's specification.
NumPy has no such type: arrays hold the numbers' bits, as uint8.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAN = 0x7F
"""The one magnitude that is no number; the one below it is the largest, 448."""


@cache
def _magnitudes() -> NDArray[np.float64]:
    """Returns the numbers from zero to the largest, by their bits."""
    import numpy as np

    bits = np.arange(NAN)
    exponent, mantissa = bits >> 3, (bits & 7) / 8
    return np.asarray(np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7.0)))


def encoded(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the bits of the numbers nearest to `x`, ties to even; what is larger than the largest becomes that."""
    import numpy as np

    numbers = _magnitudes()
    middles = (numbers[1:] + numbers[:-1]) / 2
    magnitude = np.abs(x.astype(np.float64))
    bits = np.searchsorted(middles, magnitude)  # a middle itself gives the number below it
    is_tie = magnitude == middles[np.minimum(bits, len(middles) - 1)]
    bits = bits + (is_tie & (bits % 2 == 1))
    return np.asarray(np.where(np.signbit(x), bits | 0x80, bits), np.uint8)


def decoded(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the numbers that have these bits."""
    import numpy as np

    positive = np.append(_magnitudes(), np.nan)
    return np.asarray(np.append(positive, -positive)[bits])
