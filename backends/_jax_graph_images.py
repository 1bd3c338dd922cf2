"""JAX: PyTorch's convolutions, poolings and interpolations, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, floor, prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from backends._jax_graph_dtypes import Function
from backends._jax_sums import plus_bias
from workloads.ops import Array

Sizes = Sequence[int]


def _for_each(sizes: Sizes, n: int) -> list[int]:
    """Returns one number per axis, where one may stand for all."""
    return list(sizes) * n if len(sizes) == 1 else list(sizes)


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Array:
    """Returns `x` (N, C, …) correlated with `weight`, or, `transposed`, the gradient of that for its input.

    `weight` is (out, C / groups, …); `transposed` (C, out / groups, …).
    """
    n = x.ndim - 2
    strides, around, spread, beyond = (_for_each(given, n) for given in (stride, padding, dilation, output_padding))
    sides, spacing = [(p, p) for p in around], [1] * n
    if transposed:
        weight = _mirrored(weight, groups)
        reach = [d * (k - 1) for d, k in zip(spread, weight.shape[2:], strict=True)]
        sides = [(r - p, r - p + far) for r, p, far in zip(reach, around, beyond, strict=True)]
        strides, spacing = [1] * n, strides
    letters = "DHW"[-n:]
    y = lax.conv_general_dilated(
        x,
        weight,
        strides,
        sides,
        lhs_dilation=spacing,
        rhs_dilation=spread,
        dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
        feature_group_count=groups,
    )
    return y if bias is None else plus_bias(y, bias.reshape(-1, *[1] * n))


def _mirrored(weight: Array, groups: int) -> Array:
    """Returns a transposed convolution's weight (C, out / groups, …) as that of a plain one (out, C / groups, …)."""
    n_in, n_out, *kernel = weight.shape
    flipped = jnp.flip(weight, tuple(range(2, weight.ndim)))
    by_group = flipped.reshape(groups, n_in // groups, n_out, *kernel)
    return jnp.swapaxes(by_group, 1, 2).reshape(groups * n_out, n_in // groups, *kernel)


def far_sides(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, is_ceil: bool) -> list[int]:
    """Returns how far behind the far side of each axis the last window of a pooling reaches."""
    sides = []
    for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        n = (ceil if is_ceil else floor)((size + 2 * p - reach) / s) + 1
        n -= is_ceil and (n - 1) * s >= size + p  # a window that would begin behind the padding
        sides.append(max((n - 1) * s + reach - size - p, p if not is_ceil else 0))
    return sides


def max_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    dilation: Sizes = (1,),
    ceil_mode: bool = False,
) -> tuple[Array, Array | None]:
    """Returns the maxima over windows, and where in the flattened image each was first; not of dilated windows."""
    n = x.ndim - 2 if x.ndim > len(kernel) + 1 else len(kernel)
    kernel, padding, dilation = (_for_each(given, n) for given in (kernel, padding, dilation))
    stride = _for_each(stride or kernel, n)
    far = far_sides(x.shape[-n:], kernel, stride, padding, dilation, ceil_mode)
    lead = [1] * (x.ndim - n)
    windows: dict[str, Any] = {
        "window_dimensions": [*lead, *kernel],
        "window_strides": [*lead, *stride],
        "padding": [(0, 0)] * len(lead) + list(zip(padding, far, strict=True)),
        "window_dilation": [*lead, *dilation],
    }
    if any(d != 1 for d in dilation):
        return _dilated_maxima(x, windows), None
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    y = lax.reduce_window(x, lowest, lax.max, **windows)
    places = jnp.broadcast_to(jnp.arange(prod(x.shape[-n:]), dtype=jnp.int32).reshape(x.shape[-n:]), x.shape)
    zero = (jnp.asarray(lowest, x.dtype), jnp.int32(-1))
    _, found = lax.reduce_window((lax.stop_gradient(x), places), zero, _first_of_larger, **windows)
    return y, found


def _dilated_maxima(x: Array, windows: Mapping[str, Any]) -> Array:
    """Returns the maxima over windows with gaps, from slices: XLA does not differentiate its own (jax 0.10)."""
    padded = jnp.pad(x, windows["padding"], constant_values=-jnp.inf)
    axes = list(zip(*(windows[f"window_{name}"] for name in ("dimensions", "strides", "dilation")), strict=True))
    places = [(n - d * (k - 1) - 1) // s + 1 for n, (k, s, d) in zip(padded.shape, axes, strict=True)]
    seen = [
        padded[
            tuple(
                slice(at * d, at * d + s * (n - 1) + 1, s)
                for at, n, (_, s, d) in zip(corner, places, axes, strict=True)
            )
        ]
        for corner in product(*(range(k) for k, _, _ in axes))
    ]
    return jnp.stack(seen).max(0)


def _first_of_larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    is_b = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]) & (b[1] >= 0)) | (a[1] < 0)
    return jnp.where(is_b, b[0], a[0]), jnp.where(is_b, b[1], a[1])


def avg_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Returns the means over windows; the padding counts, or not, or the sum is divided by another number."""
    n = len(kernel) if len(kernel) > 1 else x.ndim - 2
    kernel, padding = (_for_each(given, n) for given in (kernel, padding))
    stride = _for_each(stride or kernel, n)
    far = far_sides(x.shape[-n:], kernel, stride, padding, [1] * n, ceil_mode)
    lead = [1] * (x.ndim - n)
    sides = [(0, 0)] * len(lead) + list(zip(padding, far, strict=True))
    sums = lax.reduce_window(x, 0.0, lax.add, [*lead, *kernel], [*lead, *stride], sides)
    if divisor_override:
        return sums / divisor_override
    counts = np.ones(())
    for size, k, s, p, places in zip(x.shape[-n:], kernel, stride, padding, sums.shape[-n:], strict=True):
        first, last = (-p, size + p) if count_include_pad else (0, size)
        starts = np.arange(places) * s - p
        counts = np.multiply.outer(counts, np.minimum(starts + k, last) - np.maximum(starts, first))
    return sums / jnp.asarray(counts, x.dtype)


def _parts(size: int, n: int) -> list[tuple[int, int]]:
    """Returns where each of `n` parts of an axis begins and ends, as adaptive pooling cuts it."""
    return [(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]


def adaptive_avg_pool(x: Array, output_size: Sizes) -> Array:
    """Returns the means over as many parts of each of the last axes as `output_size` says."""
    first = x.ndim - len(output_size)
    for axis, n in enumerate(output_size, first):
        size = x.shape[axis]
        if size % n == 0:
            x = x.reshape(*x.shape[:axis], n, size // n, *x.shape[axis + 1 :]).mean(axis + 1)
        else:
            matrix = np.zeros((n, size))
            for i, (start, end) in enumerate(_parts(size, n)):
                matrix[i, start:end] = 1 / (end - start)
            x = _along(x, axis, matrix)
    return x


def adaptive_max_pool(x: Array, output_size: Sizes) -> tuple[Array, None]:
    """Returns the maxima over as many parts of each of the last axes as `output_size` says; not where they were."""
    first = x.ndim - len(output_size)
    for axis, n in enumerate(output_size, first):
        pieces = [lax.slice_in_dim(x, *part, axis=axis).max(axis) for part in _parts(x.shape[axis], n)]
        x = jnp.stack(pieces, axis)
    return x, None


def _along(x: Array, axis: int, matrix: NDArray[np.float64]) -> Array:
    """Returns the product of a matrix with one axis of `x`."""
    return jnp.moveaxis(jnp.tensordot(x, jnp.asarray(matrix.T, x.dtype), axes=(axis, 0)), -1, axis)


def _per_axis(x: Array, output_size: Sizes | None, scales: Sequence[float | None] | None) -> list[tuple[int, float]]:
    """Returns for each axis its new length, and how far apart its places lie in the old one."""
    sizes = x.shape[2:]
    factors = list(scales) if scales else [None] * len(sizes)
    lengths = output_size or [floor(n * f) for n, f in zip(sizes, factors, strict=True) if f is not None]
    pairs = zip(sizes, lengths, factors, strict=True)
    return [(length, 1 / f if f else size / length) for size, length, f in pairs]


def nearest(x: Array, output_size: Sizes | None, *scales: Any) -> Array:
    """Returns `x` (N, C, …) in another size, of each place what lies at or before it."""
    for axis, (length, step) in enumerate(_per_axis(x, output_size, _given(scales)), 2):
        size = x.shape[axis]
        if length % size == 0 and step * (length // size) == 1:
            x = jnp.repeat(x, length // size, axis)
        else:
            places = np.minimum(np.floor(np.arange(length) * np.float32(step)), size - 1).astype(int)
            x = jnp.take(x, places, axis=axis)
    return x


def _given(scales: Sequence[Any]) -> Sequence[float | None] | None:
    """Returns the scales, which come one by one or as a list."""
    if len(scales) == 1 and (scales[0] is None or isinstance(scales[0], list)):
        listed: list[float | None] | None = scales[0]
        return listed
    return scales


def interpolated(weights: Function) -> Function:
    """Returns what gives `x` another size by a matrix of weights for each axis: `weights(places, size)`."""

    def run(x: Array, output_size: Sizes | None, align_corners: bool, *scales: Any) -> Array:
        for axis, (length, step) in enumerate(_per_axis(x, output_size, _given(scales)), 2):
            size = x.shape[axis]
            if align_corners:
                places = np.arange(length) * ((size - 1) / (length - 1) if length > 1 else 0)
            else:
                places = (np.arange(length) + 0.5) * step - 0.5
            x = _along(x, axis, weights(places, size))
        return x

    return run


def linear_weights(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns how much of each element lies at each place, by lines between neighbours."""
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(np.clip(places, 0, size - 1)[:, None] - np.arange(size)))
    return weights


def cubic_weights(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns the same by cubic convolution with PyTorch's -0.75 (Keys 1981); beyond the ends the last one counts."""
    a, matrix = -0.75, np.zeros((len(places), size))
    low = np.floor(places)
    for offset in (-1, 0, 1, 2):
        t = np.abs(places - low - offset)
        inner = ((a + 2) * t - (a + 3)) * t * t + 1
        outer = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        at = np.clip(low + offset, 0, size - 1).astype(int)
        np.add.at(matrix, (np.arange(len(places)), at), np.where(t <= 1, inner, outer))
    return matrix


LINEAR, CUBIC = interpolated(linear_weights), interpolated(cubic_weights)
IMAGES: Mapping[str, Function] = {
    "_adaptive_avg_pool2d.default": adaptive_avg_pool,
    "_adaptive_avg_pool3d.default": adaptive_avg_pool,
    "adaptive_max_pool2d.default": adaptive_max_pool,
    "adaptive_max_pool3d.default": adaptive_max_pool,
    "avg_pool1d.default": avg_pool,
    "avg_pool2d.default": avg_pool,
    "avg_pool3d.default": avg_pool,
    "convolution.default": convolution,
    "max_pool2d_with_indices.default": max_pool,
    "max_pool3d_with_indices.default": max_pool,
    "upsample_bicubic2d.default": CUBIC,
    "upsample_bicubic2d.vec": CUBIC,
    "upsample_bilinear2d.default": LINEAR,
    "upsample_bilinear2d.vec": LINEAR,
    "upsample_linear1d.default": LINEAR,
    "upsample_linear1d.vec": LINEAR,
    "upsample_nearest1d.default": nearest,
    "upsample_nearest1d.vec": nearest,
    "upsample_nearest2d.default": nearest,
    "upsample_nearest2d.vec": nearest,
    "upsample_nearest3d.default": nearest,
    "upsample_nearest3d.vec": nearest,
    "upsample_trilinear3d.default": LINEAR,
    "upsample_trilinear3d.vec": LINEAR,
}
