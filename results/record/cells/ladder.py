"""Batches of one step of which the best is looked for: what a gain is, and which of them is best."""

from __future__ import annotations

from collections.abc import Mapping

LEAST_GAIN = 1.05
"""A larger batch is better where its throughput is more by this factor at least: it costs latency and memory."""
NOT_NEEDED = "not_needed"
"""The status of a batch that was planned, and of which a smaller one has said that it is none to look at."""


def best_batch(rates: Mapping[int, float]) -> int:
    """Returns the batch with the highest rate (samples/s), at least one: a larger one only where it gains 5 %."""
    best, *larger = sorted(rates)
    for batch in larger:
        if rates[batch] >= LEAST_GAIN * rates[best]:
            best = batch
    return best
