"""The control between launches: a product and a copy in the parent, to see when the whole machine is slow.

What a neighbour takes on a shared machine (caches, memory bandwidth, clock) no counter of a guest shows.
"""

from __future__ import annotations

from collections.abc import Callable
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
        found = []
        for _ in range(REPEATS):
            start = perf_counter()
            call()
            found.append(perf_counter() - start)
        return median(found)

    return lambda: Reading(
        timed(lambda: np.matmul(square, square, out=product)), timed(lambda: np.copyto(target, source))
    )


@dataclass
class Control:
    """Reads the machine, and knows the best that it showed in this run."""

    measure: Callable[[], Reading] = field(default_factory=numpy_reading)
    last: Reading = field(init=False)
    best: Reading = field(init=False)

    def __post_init__(self) -> None:
        readings = [self.measure() for _ in range(FIRST_READINGS)]
        self.last = readings[-1]
        self.best = Reading(min(r.product_s for r in readings), min(r.copy_s for r in readings))

    def read(self) -> float:
        """Returns by how much the machine was slower than its best, before or after what ran since the last call."""
        before, now = self.last, self.measure()
        self.last = now
        self.best = Reading(min(self.best.product_s, now.product_s), min(self.best.copy_s, now.copy_s))
        product_s, copy_s = (before.product_s + now.product_s) / 2, (before.copy_s + now.copy_s) / 2
        return max(product_s / self.best.product_s, copy_s / self.best.copy_s) - 1
