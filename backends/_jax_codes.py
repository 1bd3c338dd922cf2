"""JAX: codes of 8 bits, and the sums of their products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from workloads.ops import Array
from workloads.precision import E4M3, LARGEST_CODE
from workloads.recipes.int8 import LARGEST, LEAST


def codes_of(x: Array, step: Array) -> Array:
    """Returns `x` in int8 codes: to nearest even, saturating."""
    return jnp.clip(jnp.round(x / step), LEAST, LARGEST).astype(jnp.int8)


def fp8_codes_of(x: Array, step: Array) -> Array:
    """Returns `x` in codes of float8: to nearest even, saturating."""
    largest = LARGEST_CODE[E4M3]
    return jnp.clip(x / step, -largest, largest).astype(E4M3)


def float8(codes: Array) -> Array:
    """Returns codes of float8, given as their bits."""
    return jax.lax.bitcast_convert_type(codes, jnp.dtype(E4M3))


def patches(x: Array, kernel: Sequence[int], stride: int, padding: int) -> Array:
    """Returns what a convolution of `x` (B, C, H, W) multiplies, as (B, H, W, rows columns C) of the `kernel`."""
    padded = jnp.pad(x.transpose(0, 2, 3, 1), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (side - k + 1 for side, k in zip(padded.shape[1:3], kernel, strict=True))
    places = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    return jnp.concatenate([padded[:, i : i + height : stride, j : j + width : stride] for i, j in places], axis=-1)


def sums_of(x: Array, codes: Array, contracted: int, in_type: Any = jnp.int32) -> Array:
    """Returns the sums over the last axis of `x` and the axis `contracted` of `codes`: `in_type`, then float32."""
    axes = (((x.ndim - 1,), (contracted,)), ((), ()))
    return jax.lax.dot_general(x, codes, axes, preferred_element_type=in_type).astype(jnp.float32)
