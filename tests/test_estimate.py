"""Estimators, held against what is known of made-up series; `python -m tests.qa coverage` does so at length."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.child import estimate
from bench.child.estimate import StoppingRule, drift, effective_size, is_steady, mann_whitney, median, rank_below

RANDOM = np.random.default_rng(0)


def chained(n, correlation, generator=RANDOM):
    z = [generator.standard_normal()]
    for noise in generator.standard_normal(n - 1):
        z.append(correlation * z[-1] + np.sqrt(1 - correlation**2) * noise)
    return np.exp(0.05 * np.array(z))


@given(st.integers(6, 999))
def test_the_ranks_hold_the_median_with_95_percent_and_no_wider_ones_are_needed(n):
    rank = rank_below(n)

    def held(r):
        return 1 - 2 * sum(comb(n, k) for k in range(r + 1)) / 2**n

    assert held(rank) >= 0.95 > held(rank + 1)


def test_many_ranks_are_those_of_the_normal_limit():
    exact = [rank_below(n) for n in (900, 999)]
    limit = [int((n - 1.959964 * n**0.5) / 2) - 1 for n in (900, 999)]
    assert exact == pytest.approx(limit, abs=1)
    assert rank_below(1000) == pytest.approx(rank_below(999), abs=1)


def test_too_few_for_an_interval():
    with pytest.raises(ValueError, match="5 samples have no interval of 95%"):
        rank_below(5)
    found = median([3.0, 1.0, 2.0])
    assert (found.value, found.low, found.high, found.n) == (2.0, None, None, 3)
    assert found.relative_half_width == float("inf")


def test_the_interval_of_independent_samples_is_that_of_order_statistics():
    x = np.linspace(1.0, 2.0, 101)
    RANDOM.shuffle(x)
    found = median(x)
    rank = rank_below(101)
    assert found.value == 1.5
    wider = (101 / found.effective_n) ** 0.5
    assert (found.low, found.high) == pytest.approx((1.5 - wider * (50 - rank) / 100, 1.5 + wider * (50 - rank) / 100))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_correlated_samples_count_less(correlation):
    # The signs of a normal process are correlated by 2/pi asin(rho) (Van Vleck and Middleton 1966).
    n = 20_000
    tau = 1 + 2 * sum(2 / np.pi * np.arcsin(correlation**lag) for lag in range(1, 200))
    expected = n / (1 + estimate.CORRELATION_EXCESS * (tau - 1))
    assert effective_size(chained(n, correlation)) == pytest.approx(expected, rel=0.25)


def test_equal_samples_are_independent_ones():
    assert effective_size(np.full(100, 3.0)) == 100
    assert effective_size(np.arange(5.0)) == 5


def test_an_interruption_changes_neither_median_nor_count():
    x = chained(1000, 0.0)
    y = x.copy()
    y[500] = 1e6
    assert median(y).value == pytest.approx(median(x).value, rel=1e-3)
    assert effective_size(y) == pytest.approx(effective_size(x), rel=0.05)


def test_the_rule_looks_ever_more_rarely_and_stops_when_sure():
    rule = StoppingRule(0.01, 20_000)
    x, seen = chained(20_000, 0.0), []
    while (reason := rule.look(x[: rule.next_look])) is None:
        seen.append(rule.last.n)
    assert reason == "precise"
    assert rule.last.relative_half_width <= 0.01
    assert all(b >= 1.2 * a for a, b in pairwise(seen))


def test_the_rule_does_not_trust_few_samples_however_alike():
    rule = StoppingRule(0.01, 1000)
    x = 1 + 1e-6 * np.repeat(RANDOM.standard_normal(50), 20)  # fifty independent ones in a thousand
    reasons = []
    while not reasons or reasons[-1] is None:
        reasons.append(rule.look(x[: rule.next_look]))
    assert reasons[-1] == "most_samples"


@pytest.mark.parametrize(
    ("before", "after", "steady"),
    [
        ([1.0, 1.0], [1.0, 1.0], True),
        ([1.0, 1.0], [1.009, 1.009], True),
        ([1.0, 1.0], [1.05, 1.05], False),
        ([2.0, 1.5], [1.0, 1.0], False),
        (1 + 0.1 * RANDOM.standard_normal(50), 1 + 0.1 * RANDOM.standard_normal(50), True),
        (1 + 0.01 * RANDOM.standard_normal(50), 1.05 + 0.01 * RANDOM.standard_normal(50), False),
    ],
    ids=["equal", "within the tolerance", "five percent", "still falling", "noise", "more than noise"],
)
def test_steadiness(before, after, steady):
    assert is_steady(before, after) == steady


def test_drift_is_told_from_noise():
    noise = 1 + 0.02 * RANDOM.standard_normal(600)
    assert not drift(noise).is_real
    rising = drift(noise * np.linspace(1.0, 1.05, 600))
    assert rising.is_real
    assert rising.relative == pytest.approx(0.05, abs=0.01)
    assert drift(noise * np.linspace(1.05, 1.0, 600)).relative < 0


def test_correlated_noise_is_no_drift():
    found = [drift(chained(3000, 0.9, np.random.default_rng(seed))) for seed in range(40)]
    assert sum(d.is_real for d in found) <= 1


def test_few_samples_tell_no_drift():
    assert drift([1.0, 2.0, 3.0]) is None


def test_mann_whitney_is_that_of_the_tables():
    # Exact two-sided p of complete separation with 8 and 8 is 2 / C(16, 8).
    assert mann_whitney(range(8), range(8, 16)) == pytest.approx(2 / comb(16, 8), abs=1e-3)
    assert mann_whitney([1.0] * 8, [1.0] * 8) == 1.0
    even, odd = range(0, 40, 2), range(1, 41, 2)
    assert mann_whitney(even, odd) == pytest.approx(mann_whitney(odd, even))
    assert mann_whitney(even, odd) > 0.7
