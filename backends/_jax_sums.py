"""JAX: float32 for the sums that differentiation makes of what is spread, gathered or added to every row.

In a shorter type XLA's CPU compiler (jax 0.10.2) adds one by one in that type: the sum of many terms stands still at a
few hundred times one of them. A precision's sums are float32 (`workloads.precision`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax.numpy as jnp

from workloads.ops import Array


def is_short(x: Array) -> bool:
    """Returns whether the type of `x` is floating and shorter than float32."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating)) and x.dtype.itemsize < 4


def plus_bias(y: Array, bias: Array) -> Array:
    """Returns `y` plus `bias`, which has axes for those behind `y`'s, rounded once."""
    if not is_short(y):
        return y + bias
    return (y.astype(jnp.float32) + bias.astype(jnp.float32)).astype(y.dtype)


def with_wide_sums(function: Callable[..., Array]) -> Callable[..., Array]:
    """Returns `function`, which takes elements of its first argument, so that their gradients are added in float32."""

    @wraps(function)
    def taken(x: Array, *more: Any, **keywords: Any) -> Array:
        if not is_short(x):
            return function(x, *more, **keywords)
        return function(x.astype(jnp.float32), *more, **keywords).astype(x.dtype)

    return taken
