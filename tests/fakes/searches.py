"""A search for the highest rate that a test has time for: its rates say nothing."""

from bench.serving.rate_search import Plan

SHORT = Plan(
    offline_queries=8,
    coarse_queries=12,
    around_queries=12,
    near_trials=4,
    near_queries=12,
    confirming_queries=20,
    settling=2,
)
