"""The control between launches: a product and a copy in the parent, to see when the whole machine is slow.

What a neighbour takes on a shared machine (caches, memory bandwidth, clock) no counter of a guest shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

SIDE = 768
COPY_BYTES = 32 << 20
REPEATS = 9
FIRST_READINGS = 5


@dataclass(frozen=True)
class Reading:
    """Median seconds of a matrix product on all cores, and of a copy beyond the caches."""

    product_s: float
    copy_s: float


def numpy_reading() -> Callable[[], Reading]:
    """Returns what takes a reading, its arrays made once."""
    import numpy as np

    square = np.full((SIDE, SIDE), 0.5, np.float32)
    product = np.empty_like(square)
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.empty_like(source)

    def timed(call: Callable[[], object]) -> float:
        seconds = []
        for _ in range(REPEATS):
            start = perf_counter()
            call()
            seconds.append(perf_counter() - start)
        return median(seconds)

    return lambda: Reading(
        timed(lambda: np.matmul(square, square, out=product)), timed(lambda: np.copyto(target, source))
    )


COPY_WEIGHT = 0.2
"""Copies differ by a quarter where products differ by a twentieth."""


@dataclass
class Control:
    """Reads the machine, and knows what is usual for it in this run: the median of its readings."""

    measure: Callable[[], Reading] = field(default_factory=numpy_reading)
    readings: list[Reading] = field(init=False)

    def __post_init__(self) -> None:
        self.readings = [self.measure() for _ in range(FIRST_READINGS)]

    def read(self) -> float:
        """Returns by how much the machine was slower than usual, before and after what ran since the last call."""
        self.readings.append(self.measure())
        product = _slower([reading.product_s for reading in self.readings])
        copy = _slower([reading.copy_s for reading in self.readings])
        return max(product, COPY_WEIGHT * copy, 0.0)


def _slower(seconds: Sequence[float]) -> float:
    return (seconds[-2] + seconds[-1]) / 2 / median(seconds) - 1
