"""JAX: PyTorch's linear algebra on batches of matrices, and products and distances of more than two axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_letters
from typing import Any

import jax
import jax.numpy as jnp

from backends._jax_graph_dtypes import Function
from backends._jax_graph_reductions import vector_norm
from workloads.ops import Array


def solve(a: Array, b: Array, *, left: bool = True, check_errors: bool = False) -> tuple[Array, None, None, None]:
    """Returns what `a` has to be multiplied with to give `b`; not the factors of `a`."""
    is_vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if not left:
        return jnp.linalg.solve(a.mT, b.mT).mT, None, None, None
    return (jnp.linalg.solve(a, b[..., None])[..., 0] if is_vector else jnp.linalg.solve(a, b)), None, None, None


def solve_triangular(a: Array, b: Array, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    """Returns what the triangular `a` has to be multiplied with to give `b`."""
    lead = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = jnp.broadcast_to(a, lead + a.shape[-2:]), jnp.broadcast_to(b, lead + b.shape[-2:])
    return jax.lax.linalg.triangular_solve(a, b, left_side=left, lower=not upper, unit_diagonal=unitriangular)


def cholesky(x: Array, *, upper: bool = False, check_errors: bool = False) -> tuple[Array, None]:
    """Returns the triangular factor of symmetric positive matrices."""
    lower = jnp.linalg.cholesky(x)
    return (lower.mT if upper else lower), None


def trilinear(
    x: Array,
    y: Array,
    z: Array,
    expand_x: Sequence[int],
    expand_y: Sequence[int],
    expand_z: Sequence[int],
    summed: Sequence[int],
    unroll: int = 1,
) -> Array:
    """Returns the product of three tensors, each with new axes, summed over axes: what a bilinear layer is made of."""
    letters = ascii_letters[: x.ndim + len(expand_x)]

    def without(axes: Sequence[int]) -> str:
        return "".join(letter for i, letter in enumerate(letters) if i not in axes)

    return jnp.einsum(f"{','.join(map(without, (expand_x, expand_y, expand_z)))}->{without(summed)}", x, y, z)


def distances(x: Array, y: Array, p: float, mode: Any = None) -> Array:
    """Returns the distance of each row of `x` to each row of `y`, by the norm of order `p`."""
    return vector_norm(x[..., :, None, :] - y[..., None, :, :], p, [-1])


def places_in(sorted_: Array, x: Array, *, out_int32: bool = False, right: bool = False, side: Any = None) -> Array:
    """Returns before how many elements of the sorted vector each of `x` belongs. Raises ValueError for several."""
    if sorted_.ndim != 1:
        raise ValueError(f"got sorted elements of the shape {sorted_.shape}; one vector is supported")
    return jnp.searchsorted(sorted_, x, side=side or ("right" if right else "left"))


LINEAR_ALGEBRA: Mapping[str, Function] = {
    "_cdist_forward.default": distances,
    "_linalg_det.default": lambda x: (jnp.linalg.det(x), None, None),
    "_linalg_slogdet.default": lambda x: (*jnp.linalg.slogdet(x), None, None),
    "_linalg_solve_ex.default": solve,
    "_trilinear.default": trilinear,
    "bucketize.Tensor": lambda x, boundaries, **more: places_in(boundaries, x, **more),
    "linalg_cholesky_ex.default": cholesky,
    "linalg_inv_ex.default": lambda x, *, check_errors=False: (jnp.linalg.inv(x), None),
    "linalg_solve_triangular.default": solve_triangular,
    "searchsorted.Tensor": places_in,
}
