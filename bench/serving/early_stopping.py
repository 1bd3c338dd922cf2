"""LoadGen's early stopping: how many requests prove, with 99 % confidence, that a percentile is within its bound.

Source: `loadgen/early_stopping.cc` and `loadgen/results.cc` of mlcommons/inference. With t of n requests over the
bound a run passes where Binomial CDF(t; n, 1 − percentile) < 1 − confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

CONFIDENCE = 0.99
"""LoadGen's, for every scenario."""


@dataclass(frozen=True)
class Minimum:
    """What MLPerf asks of a run at least; `percentile` is that of its metric, None where the metric is a throughput."""

    duration_s: float
    queries: int
    percentile: float | None
    samples: int = 1


MINIMUM = {
    "SingleStream": Minimum(600.0, 64, 0.90),
    "MultiStream": Minimum(600.0, 662, 0.99, samples=8),
    "Server": Minimum(600.0, 459, 0.99),
    "Offline": Minimum(600.0, 1, None, samples=24_576),
}
"""MLPerf inference rules since v0.7, with early stopping; Offline is one query with 24,576 samples or the data set."""


@dataclass(frozen=True)
class Verdict:
    """Whether a run passes; else `more` requests would have it pass, were all of them within the bound."""

    passes: bool
    queries: int
    over: int
    more: int


def chance(over: int, queries: int, percentile: float) -> float:
    """Returns the chance of `over` or fewer over-bound requests of `queries`, of which each is so by 1 − percentile."""
    if over >= queries:
        return 1.0
    share = 1 - percentile
    term = lgamma(queries + 1)
    return min(
        1.0,
        sum(
            exp(term - lgamma(k + 1) - lgamma(queries - k + 1) + k * log(share) + (queries - k) * log(percentile))
            for k in range(over + 1)
        ),
    )


def min_queries(over: int, percentile: float = 0.99, confidence: float = CONFIDENCE) -> int:
    """Returns the smallest number of requests, `over` of them over the bound, that passes."""
    if over < 0 or not 0 < percentile < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"got over = {over}, percentile = {percentile}, confidence = {confidence}; expected 0 or more, and shares"
            " between 0 and 1"
        )
    fails, passes = over, over + 1
    while chance(over, passes, percentile) >= 1 - confidence:
        fails, passes = passes, 2 * passes
    while passes - fails > 1:
        middle = (fails + passes) // 2
        if chance(over, middle, percentile) < 1 - confidence:
            passes = middle
        else:
            fails = middle
    return passes


def judge(latencies_s: Sequence[float], bound_s: float, percentile: float = 0.99) -> Verdict:
    """Returns LoadGen's verdict on a Server run: latencies in seconds, over where they are above the bound."""
    over, queries = sum(latency > bound_s for latency in latencies_s), len(latencies_s)
    more = max(0, min_queries(over, percentile) - queries)
    return Verdict(passes=more == 0, queries=queries, over=over, more=more)


def percentile_estimate(latencies_s: Sequence[float], percentile: float = 0.9) -> float | None:
    """Returns LoadGen's early-stopping estimate of a percentile, in seconds; None where there are too few for one.

    It is the t-th highest latency, with the largest t for which a run with t over the bound passes: with 99 %
    confidence the percentile is no higher. (SingleStream takes 64 requests for its 90th, MultiStream 662 for its 99th.)
    """
    queries = len(latencies_s)
    if queries < min_queries(1, percentile):
        return None
    few, many = 1, queries
    while many - few > 1:
        middle = (few + many) // 2
        if chance(middle, queries, percentile) < 1 - CONFIDENCE:
            few = middle
        else:
            many = middle
    return sorted(latencies_s)[queries - few]
