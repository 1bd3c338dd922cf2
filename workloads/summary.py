"""What is kept of a tensor so that it can be compared later: its norm, its sum, and some of its elements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SAMPLE_LIMIT = 65_536
_CHUNK = 1 << 18
"""Elements that are looked at together: 2 MB in float64, which stay in the processor's caches."""


@dataclass(frozen=True)
class Summary:
    """`n` elements with Euclidean `norm` and `total`; `values` are all of them, or a fixed random choice."""

    n: int
    norm: float
    total: float
    values: NDArray[np.float64]


@lru_cache(maxsize=64)
def chosen(n: int, limit: int = SAMPLE_LIMIT) -> NDArray[np.int64] | None:
    """Returns the sorted indices of the elements that are kept of `n`, None for all: the same on every machine."""
    if n <= limit:
        return None
    return np.unique(np.random.RandomState(crc32(f"{n}".encode())).randint(0, n, limit, dtype=np.int64))


def summarize(
    array: NDArray[np.generic], minus: NDArray[np.generic] | None = None, limit: int = SAMPLE_LIMIT
) -> Summary:
    """Returns the summary of `array`, or of `array - minus`, in float64 and chunk by chunk."""
    flat = array.reshape(-1)
    base = None if minus is None else minus.reshape(-1)

    def read(part: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        wide = flat[part].astype(np.float64)
        return wide if base is None else wide - base[part].astype(np.float64)

    square, total = 0.0, 0.0
    for start in range(0, flat.size, _CHUNK):
        chunk = read(slice(start, start + _CHUNK))
        square += float(np.dot(chunk, chunk))
        total += float(chunk.sum())
    kept = chosen(flat.size, limit)
    return Summary(flat.size, square**0.5, total, read(slice(None) if kept is None else kept))
