"""JAX: PyTorch's operators that look up, and that write into places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from backends._jax_graph_dtypes import Function
from backends._jax_sums import with_wide_sums
from workloads.ops import Array

Index = tuple[Any, ...]


def along(dim: int, index: Any, ndim: int) -> Index:
    """Returns the index that takes `index` along one axis, and all of the others."""
    return (slice(None),) * (dim % ndim) + (index,)


def cut(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    """Returns a slice along an axis."""
    return x[along(dim, slice(start, end, step), x.ndim)]


def slice_scatter(
    x: Array, source: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    """Returns `x` with a slice of it replaced."""
    return x.at[along(dim, slice(start, end, step), x.ndim)].set(source)


def select(x: Array, dim: int, place: int) -> Array:
    """Returns `x` at a place of an axis, without that axis."""
    return x[along(dim, place, x.ndim)]


def select_scatter(x: Array, source: Array, dim: int, place: int) -> Array:
    """Returns `x` with what is at a place of an axis replaced."""
    return x.at[along(dim, place, x.ndim)].set(source)


def _places(indices: Sequence[Array | None]) -> Index:
    return tuple(slice(None) if index is None else index for index in indices)


def index(x: Array, indices: Sequence[Array | None]) -> Array:
    """Returns the elements at places, by NumPy's rules; an axis without places is taken whole."""
    return x[_places(indices)]


def index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    """Returns `x` with values set, or added, at places."""
    at = x.at[_places(indices)]
    return at.add(values) if accumulate else at.set(values)


def index_add(x: Array, dim: int, ids: Array, source: Array, *, alpha: float = 1) -> Array:
    """Returns `x` with the slices of `source` added at places of an axis."""
    return x.at[along(dim, ids, x.ndim)].add(source * alpha)


def _grid(x: Array, dim: int, ids: Array) -> Index:
    """Returns the place of each element of `ids`, whose own value is that along the axis."""
    grid = list(jnp.indices(ids.shape, sparse=True))
    grid[dim % x.ndim] = ids
    return tuple(grid)


def gather(x: Array, dim: int, ids: Array, *, sparse_grad: bool = False) -> Array:
    """Returns for each of `ids` the element that it names along the axis."""
    if x.ndim == 0:
        return jnp.broadcast_to(x, ids.shape)
    sides = tuple(slice(None) if axis == dim % x.ndim else slice(n) for axis, n in enumerate(ids.shape))
    return jnp.take_along_axis(x[sides], ids, axis=dim)


def scatter(x: Array, dim: int, ids: Array, source: Any) -> Array:
    """Returns `x` with elements set at the places that `ids` name along the axis."""
    return x.at[_grid(x, dim, ids)].set(_part(source, ids))


def scatter_add(x: Array, dim: int, ids: Array, source: Array) -> Array:
    """Returns `x` with elements added at the places that `ids` name along the axis."""
    return x.at[_grid(x, dim, ids)].add(_part(source, ids))


def _part(source: Any, ids: Array) -> Any:
    return source[tuple(slice(n) for n in ids.shape)] if getattr(source, "ndim", 0) else source


def scatter_reduce(x: Array, dim: int, ids: Array, source: Array, reduce: str, *, include_self: bool = True) -> Array:
    """Returns `x` with what `source` has for each of its elements reduced, beside the element or in its place.

    A largest or smallest one that is there several times shares its derivative, as in PyTorch. Raises ValueError for
    reductions other than sum, prod, mean, amax and amin.
    """
    places, source = _grid(x, dim, ids), _part(source, ids)
    start = {"sum": 0, "mean": 0, "prod": 1, "amax": -jnp.inf, "amin": jnp.inf}.get(reduce)
    if start is None:
        raise ValueError(f"{reduce} is not supported")
    named = jnp.zeros(x.shape, jnp.int32).at[places].add(1)
    held = x if include_self else jnp.where(named > 0, jnp.asarray(start, x.dtype), x)
    if reduce == "prod":
        return held.at[places].multiply(source)
    if reduce in ("sum", "mean"):
        total = held.at[places].add(source)
        return total if reduce == "sum" else total / jnp.maximum(named + include_self, 1)
    at = lax.stop_gradient(held).at[places]
    most = at.max(lax.stop_gradient(source)) if reduce == "amax" else at.min(lax.stop_gradient(source))
    is_source = source == most[places]
    is_held = held == most
    several = is_held + jnp.zeros(x.shape, jnp.int32).at[places].add(is_source)
    total = jnp.where(is_held, held, 0).at[places].add(jnp.where(is_source, source, 0))
    return total / several


def embedding(
    table: Array, ids: Array, padding_id: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Array:
    """Returns rows of the table; that of `padding_id` has no gradient. Raises ValueError for scaled gradients."""
    if scale_grad_by_freq:
        raise ValueError("scale_grad_by_freq=True is not supported")
    rows = jnp.take(table, ids, axis=0, mode="clip")
    return rows if padding_id < 0 else jnp.where((ids == padding_id)[..., None], lax.stop_gradient(rows), rows)


def embedding_bag(
    table: Array,
    ids: Array,
    offsets: Array,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    weights: Array | None = None,
    include_last_offset: bool = False,
    padding_id: int = -1,
) -> tuple[Array, None, None, None]:
    """Returns the sum (`mode` 0), the mean (1) or the maxima (2) of the rows of each bag, and nothing for what its
    gradient reads.

    Bag b has the ids from `offsets[b]` on; an empty one is zeros. Raises ValueError for scaled gradients.
    """
    if scale_grad_by_freq:
        raise ValueError("scale_grad_by_freq=True is not supported")
    bags = offsets.shape[0] - include_last_offset
    bag = (jnp.arange(ids.shape[0])[:, None] >= offsets[None, :bags]).sum(1) - 1
    counted = (ids != padding_id).astype(table.dtype)
    if mode == 2:
        return _maxima(jnp.take(table, ids, axis=0, mode="clip"), bag, counted > 0, bags), None, None, None
    rows = jnp.take(table, ids, axis=0, mode="clip") * (counted if weights is None else counted * weights)[:, None]
    sums = jnp.zeros((bags, table.shape[1]), table.dtype).at[bag].add(rows)
    sizes = jnp.zeros(bags, table.dtype).at[bag].add(counted)
    means = sums / jnp.maximum(sizes, 1)[:, None]
    return means if mode == 1 else sums, None, None, None


def _maxima(rows: Array, bag: Array, is_counted: Array, bags: int) -> Array:
    """Returns the maxima (bags, D) of the rows (n, D) that count in each bag; a derivative goes to the first."""
    n = rows.shape[0]
    seen = jnp.where(is_counted[:, None], lax.stop_gradient(rows), -jnp.inf)
    most = jnp.full((bags, rows.shape[1]), -jnp.inf, rows.dtype).at[bag].max(seen)
    is_most = is_counted[:, None] & (seen == most[bag])
    places = jnp.where(is_most, jnp.arange(n)[:, None], n)
    first = jnp.full(most.shape, n).at[bag].min(places)
    return jnp.take_along_axis(jnp.pad(rows, ((0, 1), (0, 0))), first, axis=0)


INDEXING: Mapping[str, Function] = {
    "_embedding_bag.default": embedding_bag,
    "_embedding_bag_forward_only.default": embedding_bag,
    "_unsafe_index.Tensor": with_wide_sums(index),
    "_unsafe_index_put.default": index_put,
    "embedding.default": with_wide_sums(embedding),
    "gather.default": with_wide_sums(gather),
    "index.Tensor": with_wide_sums(index),
    "index_add.default": index_add,
    "index_put.default": index_put,
    "index_select.default": with_wide_sums(lambda x, dim, ids: jnp.take(x, ids, axis=dim, mode="clip")),
    "scatter.src": scatter,
    "scatter.value": scatter,
    "scatter_add.default": scatter_add,
    "scatter_reduce.two": scatter_reduce,
    "select.int": select,
    "select_scatter.default": select_scatter,
    "slice.Tensor": cut,
    "slice_scatter.default": slice_scatter,
}
