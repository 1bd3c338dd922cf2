"""Bags of embeddings and interpolations, forward and backward, in operations that ONNX has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.graph import UnsupportedOperator

SUM, MEAN = 0, 1
"""PyTorch's numbers for what is made of the rows of a bag; 2 is the maximum."""


def embedding_bag(
    table: Tensor,
    ids: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns what is made of each bag (bags, D), the bag of each id, the bags' sizes, and an unused tensor.

    Bag b has the ids from `offsets[b]` on. Raises UnsupportedOperator for maxima.
    """
    _refuse(mode, scale_grad_by_freq)
    starts = offsets[:-1] if include_last_offset else offsets
    places = torch.arange(ids.shape[0], device=ids.device)
    bag = (places[:, None] >= starts[None, :]).to(torch.int64).sum(1) - 1
    counted = _counted(ids, padding_idx, weights, table)
    rows = table.index_select(0, ids) * counted[:, None]
    sums = torch.zeros([starts.shape[0], table.shape[1]], dtype=table.dtype, device=table.device)
    sums = sums.index_add(0, bag, rows)
    sizes = torch.zeros([starts.shape[0]], dtype=torch.int64, device=table.device)
    sizes = sizes.index_add(0, bag, (ids != padding_idx).to(torch.int64))
    means = sums / sizes.clamp(min=1).to(sums.dtype)[:, None]
    return means if mode == MEAN else sums, bag, sizes, sizes


def embedding_bag_dense_backward(
    gradient: Tensor,
    ids: Tensor,
    bag: Tensor,
    sizes: Tensor,
    maximum_indices: Tensor,
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: int,
    weights: Tensor | None,
    padding_idx: int = -1,
) -> Tensor:
    """Returns the gradient of the table (num_weights, D): to each row those of the bags it was in."""
    _refuse(mode, scale_grad_by_freq)
    if mode == MEAN:
        gradient = gradient / sizes.clamp(min=1).to(gradient.dtype)[:, None]
    by_id = gradient.index_select(0, bag) * _counted(ids, padding_idx, weights, gradient)[:, None]
    table = torch.zeros([num_weights, gradient.shape[1]], dtype=gradient.dtype, device=gradient.device)
    return table.index_add(0, ids, by_id)


def embedding_bag_backward(
    gradient: Tensor,
    ids: Tensor,
    offsets: Tensor,
    bag: Tensor,
    sizes: Tensor,
    maximum_indices: Tensor,
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    weights: Tensor | None,
    padding_idx: int = -1,
) -> Tensor:
    """Returns the same, as PyTorch calls it first."""
    of_bags = (gradient, ids, bag, sizes, maximum_indices, num_weights, scale_grad_by_freq, mode, weights, padding_idx)
    return embedding_bag_dense_backward(*of_bags)


def _counted(ids: Tensor, padding_idx: int, weights: Tensor | None, like: Tensor) -> Tensor:
    counted = (ids != padding_idx).to(like.dtype)
    return counted if weights is None else counted * weights


def _refuse(mode: int, scale_grad_by_freq: bool) -> None:
    if mode not in (SUM, MEAN) or scale_grad_by_freq:
        raise UnsupportedOperator(f"operator aten._embedding_bag.default with {mode=}, {scale_grad_by_freq=}")


def linear_weights(n: int, size: int, align_corners: bool, scale: float | None, like: Tensor) -> Tensor:
    """Returns how much of each of `size` elements lies at each of `n` places between them, as (n, size)."""
    places = torch.arange(n, dtype=like.dtype, device=like.device)
    if align_corners:
        places = places * ((size - 1) / (n - 1) if n > 1 else 0.0)
    else:
        places = (places + 0.5) * (1 / scale if scale else size / n) - 0.5
    elements = torch.arange(size, dtype=like.dtype, device=like.device)
    return (1 - (places.clamp(0, size - 1)[:, None] - elements[None, :]).abs()).clamp(min=0)


def upsample_linear_backward(
    gradient: Tensor,
    output_size: Sequence[int],
    input_size: Sequence[int],
    align_corners: bool,
    *scales: float | None,
) -> Tensor:
    """Returns the gradient of an interpolation by lines for its input (N, C, …): a matrix product for each axis."""
    factors = scales or (None,) * len(output_size)
    for axis, (n, size, scale) in enumerate(zip(output_size, input_size[2:], factors, strict=True), 2):
        gradient = _along(gradient, axis, linear_weights(n, size, align_corners, scale, gradient))
    return gradient


def upsample_nearest_backward(
    gradient: Tensor, output_size: Sequence[int], input_size: Sequence[int], *scales: float | None
) -> Tensor:
    """Returns the gradient of an interpolation by the element at or before each place, for its input (N, C, …)."""
    factors = scales or (None,) * len(output_size)
    for axis, (n, size, scale) in enumerate(zip(output_size, input_size[2:], factors, strict=True), 2):
        step = 1 / scale if scale else size / n
        places = (torch.arange(n, dtype=gradient.dtype, device=gradient.device) * step).floor()
        elements = torch.arange(size, dtype=gradient.dtype, device=gradient.device)
        taken = (places.clamp(max=size - 1)[:, None] == elements[None, :]).to(gradient.dtype)
        gradient = _along(gradient, axis, taken)
    return gradient


def _along(gradient: Tensor, axis: int, weights: Tensor) -> Tensor:
    """Returns the gradient times a matrix (places, elements) along one axis."""
    return torch.matmul(gradient.transpose(axis, -1), weights).transpose(axis, -1)


def adaptive_avg_pool2d_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Returns the gradient of means over parts of the last two axes, for `x`."""
    return _parts_backward(gradient, x, 2)


def adaptive_avg_pool3d_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Returns the same for the last three axes."""
    return _parts_backward(gradient, x, 3)


def _parts_backward(gradient: Tensor, x: Tensor, n_axes: int) -> Tensor:
    for axis in range(x.dim() - n_axes, x.dim()):
        n, size = gradient.shape[axis], x.shape[axis]
        pieces = gradient.split(1, axis)
        sums = None
        for i, piece in enumerate(pieces):
            start, end = i * size // n, -(-(i + 1) * size // n)
            shape = [end - start if at == axis else -1 for at in range(x.dim())]
            share = (piece / (end - start)).expand(shape)
            padded = F.pad(share, [0, 0] * (x.dim() - 1 - axis) + [start, size - end])
            sums = padded if sums is None else sums + padded
        assert sums is not None
        gradient = sums
    return gradient
