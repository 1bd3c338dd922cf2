"""JAX: PyTorch's reductions, sorts, cumulative operators and norms over axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from backends._jax_graph_dtypes import Function
from workloads.ops import Array

Axes = int | Sequence[int] | None


def axes_of(axes: Axes) -> tuple[int, ...] | None:
    """Returns the axes to reduce; None for all, which PyTorch also says by an empty list."""
    if axes is None or isinstance(axes, int):
        return None if axes is None else (axes,)
    return tuple(axes) or None


def reduction(function: Function) -> Function:
    """Returns the function of NumPy's form in PyTorch's."""

    def reduced(x: Array, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
        typed = x if dtype is None else x.astype(dtype)
        return function(typed, axis=axes_of(dim), keepdims=keepdim)

    return reduced


def moment(x: Array, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Array:
    """Returns the variance over axes; `correction` is taken off the number of elements, 1 by default."""
    mean = x.mean(axes_of(dim), keepdims=True)
    n = x.size // mean.size
    by = 1 if correction is None else correction
    squares = jnp.square(x - mean) if not jnp.iscomplexobj(x) else jnp.square(jnp.abs(x - mean))
    return squares.sum(axes_of(dim), keepdims=keepdim) / max(n - by, 0)


def std(x: Array, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Array:
    """Returns the root of the variance over axes."""
    return _root(moment(x, dim, correction=correction, keepdim=keepdim))


def _root(x: Array) -> Array:
    """Returns the square root, whose derivative at 0 is 0."""
    is_positive = x > 0
    return jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, x, 1)), 0)


def extreme(argument: Function) -> Function:
    """Returns the largest or smallest along an axis, and where it was first; its derivative goes there alone."""

    def chosen(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
        places = argument(jax.lax.stop_gradient(x), axis=dim, keepdims=True)
        values = jnp.take_along_axis(x, places, axis=dim)
        both = (values, places)
        return both if keepdim else (values.squeeze(dim), places.squeeze(dim))

    return chosen


def place(argument: Function) -> Function:
    """Returns where the largest or smallest is, along an axis or of all elements."""

    def found(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        return argument(x, axis=dim, keepdims=keepdim)

    return found


def cumulative(search: Function) -> Function:
    """Returns the function of running maxima or minima along an axis, and of where each was last."""

    def function(x: Array, axis: int) -> tuple[Array, Array]:
        rises = search(jax.lax.stop_gradient(x), axis % x.ndim)
        is_new = jax.lax.stop_gradient(x) == rises
        counted = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
        places = jax.lax.cummax(jnp.where(is_new, counted, 0), axis % x.ndim)
        return jnp.take_along_axis(x, places, axis), places

    return function


def ranked(x: Array, k: int, axis: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """Returns the `k`-th smallest along an axis, counted from 1, and where it was; its derivative goes there alone."""
    values, places = sort(x, axis)
    found = [jax.lax.slice_in_dim(y, k - 1, k, axis=axis % x.ndim) for y in (values, places)]
    kept = found if keepdim else [jnp.squeeze(y, axis) for y in found]
    return kept[0], kept[1]


def median(x: Array, axis: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """Returns the lower median along an axis, and where it was."""
    return ranked(x, (x.shape[axis] + 1) // 2, axis, keepdim)


def topk(x: Array, k: int, dim: int = -1, largest: bool = True, is_sorted: bool = True) -> tuple[Array, Array]:
    """Returns the `k` largest or smallest along an axis, in order, and where they were."""
    last = jnp.moveaxis(x, dim, -1)
    key = jax.lax.stop_gradient(last)
    _, places = jax.lax.top_k(key if largest else -key, k)
    values = jnp.take_along_axis(last, places, axis=-1)
    return jnp.moveaxis(values, -1, dim), jnp.moveaxis(places, -1, dim)


def sort(x: Array, dim: int = -1, descending: bool = False, stable: bool | None = None) -> tuple[Array, Array]:
    """Returns the elements in order along an axis, equal ones as they were, and where they were."""
    places = argsort(x, dim, descending)
    return jnp.take_along_axis(x, places, axis=dim), places


def argsort(x: Array, dim: int = -1, descending: bool = False, stable: bool | None = None) -> Array:
    """Returns where the elements in order were."""
    return jnp.argsort(jax.lax.stop_gradient(x), axis=dim, stable=True, descending=descending)


def vector_norm(x: Array, order: float = 2, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """Returns the norm of that order over axes; its derivative at 0 is 0."""
    axes = axes_of(dim)
    size = jnp.abs(x if dtype is None else x.astype(dtype))
    if order == 2:
        return _root(jnp.square(size).sum(axes, keepdims=keepdim))
    if order == float("inf"):
        return size.max(axes, keepdims=keepdim)
    if order == float("-inf"):
        return size.min(axes, keepdims=keepdim)
    if order == 0:
        return (size != 0).sum(axes, keepdims=keepdim)
    return (size**order).sum(axes, keepdims=keepdim) ** (1 / order)


def logsumexp(x: Array, dim: Axes, keepdim: bool = False) -> Array:
    """Returns the logarithm of the sum of exponentials over axes."""
    return jax.nn.logsumexp(x, axis=axes_of(dim), keepdims=keepdim)


REDUCTIONS: Mapping[str, Function] = {
    "all.default": reduction(jnp.all),
    "all.dim": reduction(jnp.all),
    "amax.default": reduction(jnp.max),
    "amin.default": reduction(jnp.min),
    "any.default": reduction(jnp.any),
    "any.dim": reduction(jnp.any),
    "any.dims": reduction(jnp.any),
    "argmax.default": place(jnp.argmax),
    "argmin.default": place(jnp.argmin),
    "argsort.default": argsort,
    "cummax.default": cumulative(jax.lax.cummax),
    "cummin.default": cumulative(jax.lax.cummin),
    "cumprod.default": lambda x, axis, *, dtype=None: jnp.cumprod(x, axis, dtype),
    "cumsum.default": lambda x, axis, *, dtype=None: jnp.cumsum(x, axis, dtype),
    "kthvalue.default": ranked,
    "linalg_vector_norm.default": vector_norm,
    "logcumsumexp.default": lambda x, axis: jax.lax.cumlogsumexp(x, axis % x.ndim),
    "logsumexp.default": logsumexp,
    "max.default": reduction(jnp.max),
    "max.dim": extreme(jnp.argmax),
    "mean.default": reduction(jnp.mean),
    "mean.dim": reduction(jnp.mean),
    "median.dim": median,
    "min.default": reduction(jnp.min),
    "min.dim": extreme(jnp.argmin),
    "prod.default": reduction(jnp.prod),
    "prod.dim_int": reduction(jnp.prod),
    "sort.default": sort,
    "sort.stable": lambda x, *, stable=True, dim=-1, descending=False: sort(x, dim, descending),
    "std.correction": std,
    "sum.default": reduction(jnp.sum),
    "sum.dim_IntList": reduction(jnp.sum),
    "topk.default": topk,
    "var.correction": moment,
    "var_mean.correction": lambda x, dim=None, *, correction=None, keepdim=False: (
        moment(x, dim, correction=correction, keepdim=keepdim),
        x.mean(axes_of(dim), keepdims=keepdim),
    ),
}
