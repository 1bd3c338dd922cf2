"""JAX: PyTorch's complex numbers, and its discrete Fourier transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt

import jax.numpy as jnp
from jax import lax

from backends._jax_graph_dtypes import Function
from workloads.ops import Array

Axes = Sequence[int]
SCALES: Sequence[Function] = (lambda n: 1.0, lambda n: 1 / sqrt(n), lambda n: 1 / n)
"""What a transform over n elements is multiplied by, as PyTorch counts its ways."""


def real_to_complex(x: Array, axes: Axes, way: int, onesided: bool) -> Array:
    """Returns the transform of real `x` over axes; `onesided`, the last of them without what mirrors the rest."""
    made = jnp.fft.rfftn(x, axes=tuple(axes)) if onesided else jnp.fft.fftn(x, axes=tuple(axes))
    return made * SCALES[way](prod(x.shape[axis] for axis in axes))


def complex_to_real(x: Array, axes: Axes, way: int, size: int) -> Array:
    """Returns the inverse of a onesided transform over axes, of which the last one gets that size."""
    sizes = [x.shape[axis] for axis in axes[:-1]] + [size]
    return jnp.fft.irfftn(x, sizes, tuple(axes)) * (prod(sizes) * SCALES[way](prod(sizes)))


def complex_to_complex(x: Array, axes: Axes, way: int, forward: bool) -> Array:
    """Returns the transform over axes, or its inverse."""
    n = prod(x.shape[axis] for axis in axes)
    if forward:
        return jnp.fft.fftn(x, axes=tuple(axes)) * SCALES[way](n)
    return jnp.fft.ifftn(x, axes=tuple(axes)) * (n * SCALES[way](n))


def polar(size: Array, angle: Array) -> Array:
    """Returns the complex numbers of that size and angle."""
    return lax.complex(size * jnp.cos(angle), size * jnp.sin(angle))


COMPLEX: Mapping[str, Function] = {
    "_conj.default": jnp.conj,
    "_conj_physical.default": jnp.conj,
    "_fft_c2c.default": complex_to_complex,
    "_fft_c2r.default": complex_to_real,
    "_fft_r2c.default": real_to_complex,
    "angle.default": jnp.angle,
    "complex.default": lax.complex,
    "polar.default": polar,
    "resolve_conj.default": lambda x: x,
    "view_as_complex.default": lambda x: lax.complex(x[..., 0], x[..., 1]),
    "view_as_real.default": lambda x: jnp.stack([x.real, x.imag], -1),
}
