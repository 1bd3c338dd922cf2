"""Coverage: how often the interval at which sampling stops holds the true median of a synthetic series."""

from __future__ import annotations

from itertools import product
from math import log, sqrt

import numpy as np

from bench.child import estimate

SERIES = 1000
TARGET = 0.01
MOST = 20_000
VARIATIONS = (0.02, 0.05, 0.10, 0.20)
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
TRUE_MEDIAN_S = 1.0


def synthetic(generator: np.random.Generator, variation: float, correlation: float) -> np.ndarray:
    """Returns `MOST` lognormal samples with this coefficient of variation and lag-1 correlation of their logarithms."""
    noise = generator.standard_normal(MOST) * sqrt(1 - correlation**2)
    noise[0] = generator.standard_normal()
    z = noise if correlation == 0 else _chained(noise, correlation)
    return TRUE_MEDIAN_S * np.exp(sqrt(log(1 + variation**2)) * z)


def _chained(noise: np.ndarray, correlation: float) -> np.ndarray:
    """Returns z with z[i] = correlation · z[i-1] + noise[i], in blocks that do not underflow."""
    z, last, block = np.empty_like(noise), 0.0, 64
    powers = correlation ** np.arange(block)
    for start in range(0, len(noise), block):
        part = noise[start : start + block]
        mixed = np.convolve(part, powers[: len(part)])[: len(part)]
        z[start : start + block] = mixed + last * correlation ** np.arange(1, len(part) + 1)
        last = z[start + len(part) - 1]
    return z


def stopped(series: np.ndarray) -> estimate.Median:
    """Returns the median at which the stopping rule ends on `series`."""
    rule = estimate.StoppingRule(TARGET, MOST)
    n = 0
    while True:
        n = min(rule.next_look, MOST)
        found = rule.look(series[:n])
        if found is not None:
            return rule.last


def main() -> int:
    print(
        f"{SERIES} series each, stopped at ±{TARGET:.0%} or {MOST} samples; the interval is to hold the median in 95 %"
    )
    print("variation  correlation  coverage  median n   verdict")
    good = True
    for variation, correlation in product(VARIATIONS, CORRELATIONS):
        generator = np.random.default_rng([round(variation * 100), round(correlation * 10)])
        ends = [stopped(synthetic(generator, variation, correlation)) for _ in range(SERIES)]
        held = sum(m.low <= TRUE_MEDIAN_S <= m.high for m in ends) / SERIES
        passes = held >= 0.90 if correlation >= 0.9 else 0.93 <= held <= 0.98
        good &= passes
        n = int(np.median([m.n for m in ends]))
        print(f"{variation:9.0%}  {correlation:11.1f}  {held:8.1%}  {n:8}   {'ok' if passes else 'MISSED'}", flush=True)
    return 0 if good else 1
