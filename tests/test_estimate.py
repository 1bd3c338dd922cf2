"""Whether a series is steady, held against made-up series."""

import numpy as np
import pytest

from bench.child.estimate import is_steady

RANDOM = np.random.default_rng(0)


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
