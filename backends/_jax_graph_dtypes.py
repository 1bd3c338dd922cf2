"""JAX: PyTorch's types as JAX holds them by default, without 64 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

NARROWED = {"int64": "int32", "float64": "float32", "complex128": "complex64", "uint64": "uint32"}

Function = Callable[..., Any]


def dtype_of(name: str) -> Any:
    """Returns the type in JAX that stands for PyTorch's of that name."""
    return jnp.dtype(NARROWED.get(name, name))


def within(value: Any, dtype: Any) -> Any:
    """Returns a number that `dtype` can hold: of the bounds of int64 those of int32."""
    if isinstance(value, int) and not isinstance(value, bool) and jnp.issubdtype(dtype, jnp.integer):
        bounds = jnp.iinfo(dtype)
        return min(max(value, int(bounds.min)), int(bounds.max))
    return value
