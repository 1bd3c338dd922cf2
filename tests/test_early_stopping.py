"""Early stopping, against LoadGen's own figures and against brute force."""

from math import comb

import pytest

from bench.serving.early_stopping import MINIMUM, chance, judge, min_queries, percentile_estimate

LOADGEN = [459, 662, 838, 1001, 1157, 1307, 1453, 1596, 1736, 1874, 2010]
"""Requests at least, with 0 … 10 over the bound, at the 99th percentile."""


def test_least_requests_are_those_of_loadgen():
    assert [min_queries(over) for over in range(11)] == LOADGEN


@pytest.mark.parametrize(("over", "queries", "percentile"), [(0, 5, 0.9), (3, 40, 0.9), (10, 2009, 0.99), (7, 7, 0.5)])
def test_the_chance_is_binomial(over, queries, percentile):
    exact = sum(comb(queries, k) * (1 - percentile) ** k * percentile ** (queries - k) for k in range(over + 1))
    assert chance(over, queries, percentile) == pytest.approx(exact, rel=1e-9)


def test_minimum_counts_are_those_that_give_an_estimate():
    assert MINIMUM["SingleStream"].queries == min_queries(1, 0.90) == 64
    assert MINIMUM["MultiStream"].queries == min_queries(1, 0.99) == 662
    assert MINIMUM["Server"].queries == min_queries(0, 0.99) == 459
    assert {minimum.duration_s for minimum in MINIMUM.values()} == {600.0}


def test_a_run_of_178_good_requests_needs_281_more():
    verdict = judge([0.01] * 178, bound_s=0.1)
    assert (verdict.passes, verdict.over, verdict.more) == (False, 0, 281)


@pytest.mark.parametrize("over", [0, 1, 5])
def test_a_run_passes_at_its_least_and_not_one_before(over):
    latencies = [0.2] * over + [0.1] * (LOADGEN[over] - over)
    assert judge(latencies, bound_s=0.1).passes
    assert not judge(latencies[:-1], bound_s=0.1).passes


def test_no_estimate_of_too_few():
    assert percentile_estimate([1.0] * 63, 0.9) is None
    assert percentile_estimate([1.0] * 64, 0.9) == 1.0


@pytest.mark.parametrize("queries", [64, 100, 500, 3000])
def test_the_estimate_is_the_tightest_bound_with_which_the_run_would_pass(queries):
    """LoadGen's loop: the last t for which `queries` are enough; the t-th highest latency."""
    latencies = [float(number) for number in range(queries)]
    t = 1
    while queries >= min_queries(t + 1, 0.9):
        t += 1
    assert percentile_estimate(latencies, 0.9) == latencies[queries - t]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="expected"):
        min_queries(-1)
