"""JAX: PyTorch's operators that make tensors, and that give them other shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends._jax_graph_dtypes import Function, within
from backends._jax_sums import with_wide_sums
from workloads.ops import Array


def expand(x: Array, sizes: Sequence[int], *, implicit: bool = False) -> Array:
    """Returns `x` repeated along axes of length 1, and along new ones in front; -1 keeps a length."""
    new = len(sizes) - x.ndim
    shape = [n if n != -1 else x.shape[i - new] for i, n in enumerate(sizes)]
    return jnp.broadcast_to(x, shape)


def squeeze(x: Array, dim: int | Sequence[int] | None = None) -> Array:
    """Returns `x` without those axes that have the length 1."""
    if dim is None:
        return x.squeeze()
    axes = {axis % max(x.ndim, 1) for axis in ((dim,) if isinstance(dim, int) else dim)}
    return x.squeeze(tuple(axis for axis in axes if x.ndim and x.shape[axis] == 1))


def split(x: Array, size: int, dim: int = 0) -> list[Array]:
    """Returns pieces of that length along an axis, the last one with what is left."""
    parts: list[Array] = jnp.split(x, list(range(size, x.shape[dim], size)), axis=dim)
    return parts


def split_with_sizes(x: Array, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    """Returns pieces of those lengths along an axis."""
    parts: list[Array] = jnp.split(x, [int(n) for n in np.cumsum(sizes[:-1])], axis=dim)
    return parts


def unbind(x: Array, dim: int = 0) -> list[Array]:
    """Returns the pieces along an axis, without it."""
    return [piece.squeeze(dim) for piece in jnp.split(x, x.shape[dim], axis=dim)]


def cat(parts: Sequence[Array], dim: int = 0) -> Array:
    """Returns the parts behind each other; PyTorch leaves out what has the shape (0,)."""
    return jnp.concatenate([x for x in parts if x.shape != (0,)] or parts, axis=dim)


def repeat(x: Array, repeats: Sequence[int]) -> Array:
    """Returns `x` repeated along its axes, and along new ones in front."""
    return jnp.tile(x, tuple(repeats))


def unfold(x: Array, dim: int, size: int, step: int) -> Array:
    """Returns windows of that length along an axis, each a step further, as a new last axis."""
    dim %= x.ndim
    starts = np.arange((x.shape[dim] - size) // step + 1) * step
    windows = jnp.take(x, starts[:, None] + np.arange(size), axis=dim)
    return jnp.moveaxis(windows, dim + 1, -1)


def pad(x: Array, sides: Sequence[int], value: float = 0) -> Array:
    """Returns `x` with `value` around it, or less of it; the last axis first, two sides each."""
    pairs = _pairs(x, sides)
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), [(low, high, 0) for low, high in pairs])


def padded(mode: str) -> Function:
    """Returns what pads with elements of `x` itself, as NumPy calls the way."""
    return lambda x, sides: jnp.pad(x, _pairs(x, sides), mode=mode)


def _pairs(x: Array, sides: Sequence[int]) -> list[tuple[int, int]]:
    given = list(zip(sides[::2], sides[1::2], strict=True))[::-1]
    return [(0, 0)] * (x.ndim - len(given)) + given


def full(size: Sequence[int], value: Any, *, dtype: Any = None) -> Array:
    """Returns a tensor of one number, of the number's own type unless one is given."""
    asked = dtype or jnp.asarray(within(value, jnp.int32) if isinstance(value, int) else value).dtype
    return jnp.full(tuple(size), within(value, asked), asked)


def full_like(x: Array, value: Any, *, dtype: Any = None) -> Array:
    """Returns a tensor of one number, of the shape of `x`."""
    return full(x.shape, value, dtype=dtype or x.dtype)


def filled(value: float) -> tuple[Function, Function, Function]:
    """Returns what makes a tensor of that number: of a size, like another, of a size and the type of another."""
    return (
        lambda size, *, dtype=None: jnp.full(tuple(size), value, dtype or jnp.float32),
        lambda x, *, dtype=None: full(x.shape, value, dtype=dtype or x.dtype),
        lambda x, size, *, dtype=None: full(size, value, dtype=dtype or x.dtype),
    )


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Array:
    """Returns numbers from `start`, 0 where it is all that is given, up to what lies before `end`."""
    return jnp.asarray(np.arange(start, step=step) if end is None else np.arange(start, end, step), dtype)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Array:
    """Returns so many numbers from `start` to `end`, both included."""
    return jnp.linspace(start, end, steps, dtype=dtype)


def triangle(of: Callable[..., Any]) -> Function:
    """Returns the places of one half of a matrix, as NumPy's `of` finds them: two rows."""
    return lambda rows, columns, offset=0, *, dtype=None: jnp.asarray(np.stack(of(rows, offset, columns)), dtype)


def to_copy(x: Array, *, dtype: Any = None, non_blocking: bool = False) -> Array:
    """Returns `x` in another type."""
    return x if dtype is None else x.astype(dtype)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Returns channels (…, C r², H, W) as pixels (…, C, H r, W r) (Shi et al. 2016, arXiv:1609.05158)."""
    *batch, channels, height, width = x.shape
    parts = x.reshape(-1, channels // factor**2, factor, factor, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(*batch, channels // factor**2, height * factor, width * factor)


def _identity(x: Array, *more: Any, **keywords: Any) -> Array:
    return x


ZEROS, ZEROS_LIKE, NEW_ZEROS = filled(0)
ONES, ONES_LIKE, NEW_ONES = filled(1)
SHAPES: Mapping[str, Function] = {
    "_to_copy.default": to_copy,
    "_unsafe_view.default": lambda x, shape: x.reshape(shape),
    "alias.default": _identity,
    "arange.default": arange,
    "arange.start": arange,
    "arange.start_step": arange,
    "cat.default": cat,
    "clone.default": _identity,
    "constant_pad_nd.default": pad,
    "detach.default": jax.lax.stop_gradient,
    "diagonal.default": lambda x, offset=0, axis1=0, axis2=1: jnp.diagonal(x, offset, axis1, axis2),
    "empty.memory_format": ZEROS,
    "empty_like.default": ZEROS_LIKE,
    "empty_permuted.default": lambda size, order, *, dtype=None: ZEROS(size, dtype=dtype),
    "expand.default": with_wide_sums(expand),
    "eye.default": lambda n, *, dtype=None: jnp.eye(n, dtype=dtype),
    "eye.m": lambda n, m, *, dtype=None: jnp.eye(n, m, dtype=dtype),
    "fill.Scalar": full_like,
    "fill.Tensor": lambda x, value: jnp.broadcast_to(value, x.shape),
    "flip.default": lambda x, axes: jnp.flip(x, tuple(axes)),
    "full.default": full,
    "full_like.default": full_like,
    "lift_fresh_copy.default": _identity,
    "linspace.default": linspace,
    "narrow.default": lambda x, dim, start, n: jax.lax.slice_in_dim(x, start, start + n, axis=dim),
    "new_empty.default": NEW_ZEROS,
    "new_full.default": lambda x, size, value, *, dtype=None: full(size, value, dtype=dtype or x.dtype),
    "new_ones.default": NEW_ONES,
    "new_zeros.default": NEW_ZEROS,
    "ones.default": ONES,
    "ones_like.default": ONES_LIKE,
    "permute.default": lambda x, axes: x.transpose(axes),
    "pixel_shuffle.default": pixel_shuffle,
    "reflection_pad1d.default": padded("reflect"),
    "reflection_pad2d.default": padded("reflect"),
    "repeat.default": with_wide_sums(repeat),
    "replication_pad1d.default": padded("edge"),
    "replication_pad2d.default": padded("edge"),
    "reshape.default": lambda x, shape: x.reshape(shape),
    "roll.default": lambda x, shifts, axes=(): jnp.roll(x, tuple(shifts), tuple(axes) or None),
    "scalar_tensor.default": lambda value, *, dtype=None: full((), value, dtype=dtype or jnp.float32),
    "split.Tensor": split,
    "split_with_sizes.default": split_with_sizes,
    "squeeze.default": squeeze,
    "squeeze.dim": squeeze,
    "squeeze.dims": squeeze,
    "stack.default": lambda parts, axis=0: jnp.stack(parts, axis),
    "t.default": lambda x: x.T,
    "transpose.int": lambda x, a, b: jnp.swapaxes(x, a, b) if x.ndim else x,
    "tril.default": jnp.tril,
    "tril_indices.default": triangle(np.tril_indices),
    "triu.default": jnp.triu,
    "triu_indices.default": triangle(np.triu_indices),
    "unbind.int": unbind,
    "unfold.default": unfold,
    "unsqueeze.default": jnp.expand_dims,
    "view.default": lambda x, shape: x.reshape(shape),
    "zeros.default": ZEROS,
    "zeros_like.default": ZEROS_LIKE,
}
