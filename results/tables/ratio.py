"""The ratio of two rows with its interval: of their common rounds where they were measured side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from results.record import rounds
from results.record.rounds import CONFIDENCE, DECISIVE, Estimate
from results.record.schema import COLUMN

Row = Mapping[Any, Any]
INTERVALS = {
    "latency_p50_s": ("latency_ci_low_s", "latency_ci_high_s"),
    "throughput_samples_per_s": ("throughput_ci_low_samples_per_s", "throughput_ci_high_samples_per_s"),
}
"""The ends of the interval of a number."""
ROUNDS = {"latency_p50_s": "rounds_latency_s", "throughput_samples_per_s": "rounds_samples_per_s"}


def times_as_fast(row: Row, baseline: Row, metric: str, confidence: float = CONFIDENCE) -> Estimate:
    """Returns how many times as fast `row` is as `baseline`: 2 is twice as fast.

    Of common rounds where both were in one group; else of two independent sets of rounds; of the two numbers, without
    an interval, where a row has no rounds. Tokens go with their samples.
    """
    of_samples = metric.replace("tokens", "samples")
    before, after = (_rounds(one, of_samples) for one in (baseline, row))
    together = _text(row, "group_id") is not None and all(
        _text(row, name) == _text(baseline, name) for name in ("run_id", "measured_in", "group_id", "machine_id")
    )
    estimate = rounds.paired(before, after, confidence) if together else None
    estimate = estimate or rounds.unpaired(before, after, confidence)
    if estimate is None:
        value = float(row[metric]) / float(baseline[metric])
        estimate = Estimate(value, None, None, 0, is_paired=False)
    elif row is not baseline:
        launches = min(map(rounds.launches_of, (before, after)))
        estimate = rounds.between_processes(estimate, launches, 2, confidence)
    return estimate if is_rate(metric) else inverse(estimate)


def inverse(estimate: Estimate) -> Estimate:
    """Returns the estimate of 1 / value."""
    low = None if estimate.high is None else 1 / estimate.high
    high = None if estimate.low is None else 1 / estimate.low
    return replace(estimate, value=1 / estimate.value, low=low, high=high)


def is_rate(metric: str) -> bool:
    """Returns whether the metric is of something per second, so that more of it is faster."""
    return COLUMN[metric].unit.endswith("/s")


def _rounds(row: Row, metric: str) -> dict[int, float]:
    column = ROUNDS.get(metric)
    return {} if column is None else rounds.from_text(_text(row, column))


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def half_width(row: Row, metric: str) -> float | None:
    """Returns the half of the interval of a row's number as a part of it; None where it has none."""
    if metric not in INTERVALS:
        return None
    ends = [row.get(name) for name in (*INTERVALS[metric], metric)]
    if any(map(pd.isna, ends)):
        return None
    low, high, middle = (float(end) for end in ends if end is not None)
    return max(high / middle, middle / low) - 1 if low > 0 else None


@dataclass(frozen=True)
class Fastest:
    """Who is fastest at one step: the labels that nothing tells apart, by how much at most, and the next behind them.

    `within` is None where one alone is fastest, or nothing is known of how sure the numbers are (`is_sure` is False).
    """

    labels: tuple[str, ...]
    within: float | None
    next_label: str | None
    next_ratio: Estimate | None
    is_sure: bool


def fastest(rows: Sequence[Row], metric: str) -> Fastest:
    """Returns who is fastest of these rows of one step, at least one, each verified, with a `label` and a number.

    At 99 % confidence: whoever cannot be told from the fastest is named with it.
    """
    # Some were measured in more rounds than others: what they have in common decides, not their own medians.
    reference = max(rows, key=lambda row: len(_rounds(row, metric)))
    order = sorted(rows, key=lambda row: times_as_fast(row, reference, metric).value, reverse=True)
    first, *others = order
    behind = [(other, times_as_fast(first, other, metric, DECISIVE)) for other in others]
    tied = [(other, ratio) for other, ratio in behind if ratio.low is not None and ratio.low <= 1]
    ahead = [(other, ratio) for other, ratio in behind if ratio.low is None or ratio.low > 1]
    ends = [max(ratio.high or ratio.value, 1 / (ratio.low or ratio.value)) - 1 for _, ratio in tied]
    nearest = ahead[0] if ahead else None
    return Fastest(
        (str(first["label"]), *(str(other["label"]) for other, _ in tied)),
        max(ends) if ends else None,
        None if nearest is None else str(nearest[0]["label"]),
        None if nearest is None else nearest[1],
        all(ratio.low is not None for _, ratio in behind),
    )
