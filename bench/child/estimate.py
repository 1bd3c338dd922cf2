"""Estimators of a series of step times: medians with intervals that know of autocorrelation, steadiness and drift.

Plain functions over seconds in the order measured. NumPy only; used in the child, outside of what is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, erf, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Confidence of every interval."""
FIRST_LOOK = 60
LEAST_EFFECTIVE = 60.0
"""Independent samples below which the correlation itself is not known well enough to stop (tests/qa/coverage.py)."""
CORRELATION_EXCESS = 1.5
"""How much stronger than estimated the correlation is taken to be: the estimate is cut short, and the rule stops where
luck has it low. Without it the interval holds the median in 92 % where 95 % are claimed (tests/qa/coverage.py)."""
LOOKS_APART = 1.2
"""A stopping rule that looks after every sample stops on luck; looks this factor apart hold their coverage."""
LEAST_FOR_INTERVAL = 6
"""The range of 5 values holds their median with less than 95 %."""

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Median:
    """A median in seconds with its interval; `low` and `high` are None where the samples are too few for one."""

    value: float
    low: float | None
    high: float | None
    n: int
    effective_n: float

    @property
    def relative_half_width(self) -> float:
        """The longer side of the interval as a part of the median; infinite without an interval."""
        if self.low is None or self.high is None:
            return float("inf")
        return max(self.high - self.value, self.value - self.low) / self.value


def rank_below(n: int, level: float = LEVEL) -> int:
    """Returns the rank r, from 0, for which [x_r, x_(n-1-r)] of sorted x holds the median with `level` or more.

    Order statistics of a binomial with 1/2, for `n` independent samples; exact below 1000, else its normal limit.
    Raises ValueError where even the range holds it with less.
    """
    tail = (1 - level) / 2
    if n >= 1000:
        return int((n - NormalDist().inv_cdf(1 - tail) * sqrt(n)) / 2) - 1
    below, rank = 0.5**n, 0
    if below > tail:
        raise ValueError(f"{n} samples have no interval of {level:.0%} for their median; at least 6 have one of 95 %")
    while (below := below + comb(n, rank + 1) * 0.5**n) <= tail:
        rank += 1
    return rank


def effective_size(x: Series) -> float:
    """Returns how many independent samples know the median as well as these correlated ones, at most their number.

    The variance of a median depends on nothing but which side of it each sample lies on, and how these sides are
    correlated; heavy tails and interruptions do not enter. Geyer's initial positive sequence (Practical Markov Chain
    Monte Carlo, 1992) of these signs, over at most n/5 and 200 lags.
    """
    n = len(x)
    signs = np.sign(x - np.median(x))
    variance = float(signs @ signs) / n
    if n < 10 or variance == 0:
        return float(n)
    signs = signs - signs.mean()
    total = 0.0
    for lag in range(1, min(n // 5, 200), 2):
        pair = float(signs[:-lag] @ signs[lag:] + signs[: -lag - 1] @ signs[lag + 1 :]) / (n * variance)
        if pair <= 0:
            break
        total += pair
    return n / (1 + 2 * CORRELATION_EXCESS * total)


def median(seconds: Sequence[float]) -> Median:
    """Returns the median of at least one sample, with its interval at `LEVEL`.

    The interval is that by order statistics, each side widened by the square root of how many samples do the work of
    an independent one.
    """
    x = np.asarray(seconds, np.float64)
    ordered, n = np.sort(x), len(x)
    value = float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    effective = effective_size(x)
    if n < LEAST_FOR_INTERVAL:
        return Median(value, None, None, n, effective)
    rank, wider = rank_below(n), sqrt(n / effective)
    low = value - wider * (value - float(ordered[rank]))
    high = value + wider * (float(ordered[n - 1 - rank]) - value)
    return Median(value, max(low, 0.0), high, n, effective)


class StoppingRule:
    """Says when there are samples enough: the median's interval is narrow, or there are as many as one may take.

    It looks at 60 samples, then each time at a fifth more; `last` is the median at its last look.
    """

    def __init__(self, relative_half_width: float, most: int) -> None:
        self.target = relative_half_width
        self.most = most
        self.next_look = min(FIRST_LOOK, most)
        self.last: Median | None = None

    def look(self, seconds: Sequence[float]) -> Literal["precise", "most_samples"] | None:
        """Returns why to stop with these samples, None where to go on; to be asked when there are `next_look`."""
        self.last = median(seconds)
        self.next_look = min(ceil(LOOKS_APART * len(seconds)), self.most)
        if self.last.relative_half_width <= self.target and self.last.effective_n >= LEAST_EFFECTIVE:
            return "precise"
        if len(seconds) >= self.most:
            return "most_samples"
        return None


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


@dataclass(frozen=True)
class Drift:
    """How far a series moved from its begin to its end, as a part of its median; `p` that it is chance."""

    relative: float
    p: float

    @property
    def is_real(self) -> bool:
        """Whether it is more than 1 % and no chance."""
        return abs(self.relative) > 0.01 and self.p < 0.001


def drift(seconds: Sequence[float]) -> Drift | None:
    """Returns the drift of a series, None where it has too few independent samples to tell.

    Theil-Sen's slope over the whole, and the Mann-Whitney test of the first against the last third, both on samples
    thinned to independent ones.
    """
    x = np.asarray(seconds, np.float64)
    slope = _slope(x)
    # A drift correlates samples by itself: it is taken out before the independent ones are counted.
    apart = ceil(len(x) / effective_size(x - slope * np.arange(len(x))))
    thin = x[::apart]
    third = len(thin) // 3
    if third < 8:
        return None
    return Drift(slope * (len(x) - 1) / float(np.median(x)), mann_whitney(thin[:third], thin[-third:]))


def _slope(x: Series) -> float:
    """Returns Theil and Sen's slope per sample: the median over pairs, of at most 300 samples."""
    if len(x) < 2:
        return 0.0
    apart = ceil(len(x) / 300)
    thin = x[::apart]
    i, j = np.triu_indices(len(thin), 1)
    return float(np.median((thin[j] - thin[i]) / (j - i))) / apart


def mann_whitney(a: Sequence[float] | Series, b: Sequence[float] | Series) -> float:
    """Returns the two-sided p of the Mann-Whitney test, by its normal limit with a correction for ties."""
    n, m = len(a), len(b)
    values = np.concatenate([a, b])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    deviation = sqrt(n * m / 12 * (n + m + 1 - ties))
    if deviation == 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / deviation
    return 1 - erf(z / sqrt(2))
