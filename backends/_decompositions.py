"""The backward passes that ONNX has no operator for, in operations that it has, and that its runtimes run well.

Used while a training step is traced (`backends/_onnx_export.py`). Each is exact; `tests/test_decompositions.py` holds
them against torch's own derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from string import ascii_letters
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions

from backends._convolution_backward import convolution_backward
from backends._lookup_backward import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool3d_backward,
    embedding_bag,
    embedding_bag_backward,
    embedding_bag_dense_backward,
    upsample_linear_backward,
    upsample_nearest_backward,
)

aten = torch.ops.aten


def max_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Returns the gradient of a maximum pooling for its input: each output's goes to where its maximum was."""
    lead = x.shape[: x.dim() - len(kernel)]
    flat = torch.zeros([*lead, prod(x.shape[len(lead) :])], dtype=gradient.dtype, device=gradient.device)
    return flat.scatter_add(-1, indices.reshape(*lead, -1), gradient.reshape(*lead, -1)).reshape(x.shape)


def avg_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Returns the gradient of a mean pooling for its input: each output's share goes to all of its window."""
    n = len(kernel)
    stride = list(stride) or list(kernel)
    lead, sizes, places = x.shape[:-n], x.shape[-n:], gradient.shape[-n:]
    gradient = gradient / (divisor_override or _counts(gradient, sizes, kernel, stride, padding, count_include_pad))
    # In one channel: a kernel of ones is the same for all.
    of_one = gradient.reshape(prod(lead), 1, *places)
    ones = torch.ones([1, 1, *kernel], dtype=gradient.dtype, device=gradient.device)
    none = [0] * n
    spread = aten.convolution.default(of_one, ones, None, stride, none, [1] * n, True, none, 1)
    for axis, (size, p) in enumerate(zip(sizes, padding, strict=True), 2):
        short = max(p + size - spread.shape[axis], 0)
        spread = F.pad(spread, [0, 0] * (n + 1 - axis) + [0, short]) if short else spread
        spread = spread.narrow(axis, p, size)
    return spread.reshape(x.shape)


def _counts(
    like: Tensor,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    count_include_pad: bool,
) -> Tensor:
    """Returns how many elements each window has."""
    counts = torch.ones([1] * len(sizes), dtype=like.dtype, device=like.device)
    for axis, (size, k, s, p) in enumerate(zip(sizes, kernel, stride, padding, strict=True)):
        starts = torch.arange(like.shape[axis - len(sizes)], dtype=like.dtype, device=like.device) * s - p
        first, last = (-p, size + p) if count_include_pad else (0, size)
        of_axis = (starts + k).clamp(max=last) - starts.clamp(min=first)
        counts = counts * of_axis.reshape([-1 if i == axis else 1 for i in range(len(sizes))])
    return counts


def full(size: Sequence[int], value: float, *, dtype: torch.dtype | None = None, **more: Any) -> Any:
    """Returns a scalar where there is no axis: OpenVINO (2026.4) reads an empty shape as one axis."""
    if size:
        return NotImplemented
    of_kind = {bool: torch.bool, int: torch.int64}.get(type(value), torch.float32)
    return torch.scalar_tensor(value, dtype=dtype or of_kind, **more)


def diagonal_scatter(x: Tensor, source: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Returns `x` with its diagonal replaced: the derivative of taking one. PyTorch's own rule copies into a view."""
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape).diagonal(offset, dim1, dim2)
    return x.reshape(-1).scatter(0, places.reshape(-1), source.reshape(-1)).reshape(x.shape)


def empty_permuted(size: Sequence[int], physical_layout: Sequence[int], **more: Any) -> Tensor:
    """Returns zeros: what nobody has written may be anything."""
    return torch.zeros(size, **more)


def lstm(x: Tensor, states: Sequence[Tensor], parameters: Sequence[Tensor], *more: Any) -> Any:
    """Returns PyTorch's LSTM; where states are projected step by step: ONNX's has no projection."""
    operator = aten.lstm.input
    is_projected = states[0].shape[-1] != states[1].shape[-1]
    return (get_decompositions([operator])[operator] if is_projected else operator)(x, states, parameters, *more)


def trilinear(x: Tensor, y: Tensor, z: Tensor, *axes: Sequence[int]) -> Tensor:
    """Returns the product of three tensors, each with new axes, summed over axes; ONNX has none of three."""
    *expanded, summed = axes[:4]
    letters = ascii_letters[: x.dim() + len(expanded[0])]
    x_, y_, z_, out = ("".join(a for i, a in enumerate(letters) if i not in new) for new in (*expanded, summed))
    between = "".join(a for a in letters if a in x_ + y_ and a in z_ + out)
    return torch.einsum(f"{between},{z_}->{out}", torch.einsum(f"{x_},{y_}->{between}", x, y), z)


def distances(x: Tensor, y: Tensor, p: float, mode: int | None = None) -> Tensor:
    """Returns the distance of each row of `x` to each row of `y`, by the norm of order `p`."""
    return torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Returns scaled dot-product attention; of a shorter type its products give it: torch's form widens them."""
    operator = aten.scaled_dot_product_attention.default
    if query.dtype not in (torch.bfloat16, torch.float16):
        more = {"scale": scale} | ({"enable_gqa": True} if enable_gqa else {})
        return cast("Tensor", operator(query, key, value, attn_mask, dropout_p, is_causal, **more))
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
    scores = (query @ key.transpose(-1, -2)).float() * (1 / sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    if attn_mask is None or is_causal:
        return torch.softmax(scores, -1).to(query.dtype) @ value
    sees_none = scores.amax(-1, keepdim=True) == float("-inf")  # torch's form gives nothing there
    weights = torch.where(sees_none, 0.0, torch.softmax(torch.where(sees_none, 0.0, scores), -1))
    return weights.to(query.dtype) @ value


IN_OPERATORS = {
    "aten._cdist_forward.default": distances,
    "aten._trilinear.default": trilinear,
    "aten._embedding_bag.default": embedding_bag,
    "aten._embedding_bag_forward_only.default": embedding_bag,
    "aten.lstm.input": lstm,
    "aten.scaled_dot_product_attention.default": attention,
}
"""What stands for operators of a graph in a step that is exported: the exporter (2.13) writes bags as loops over
sequences, which OpenVINO (2026.4) does not read, projected LSTMs as others, silently, and no distances or products of
three at all. Attention in a shorter type is written as `Ops.attention` is."""


def decomposition_table() -> dict[Any, Any]:
    """Returns what to trace a training step with: torch's core table, what it leaves out, and our own.

    Batch norm must be decomposed: in training mode the exporter translates it as the inference one, and is silently
    wrong (torch 2.13, onnxscript 0.7.2).
    """
    norms = [aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_functional]
    left_out = [aten.native_layer_norm, *norms, aten.native_batch_norm_backward]
    return {
        **core_aten_decompositions(),
        **get_decompositions(left_out),
        aten.convolution_backward.default: convolution_backward,
        aten.max_pool2d_with_indices_backward.default: max_pool_backward,
        aten.max_pool3d_with_indices_backward.default: max_pool_backward,
        aten.avg_pool2d_backward.default: avg_pool_backward,
        aten.avg_pool3d_backward.default: avg_pool_backward,
        aten._embedding_bag.default: embedding_bag,
        aten._embedding_bag_forward_only.default: embedding_bag,
        aten._embedding_bag_backward.default: embedding_bag_backward,
        aten._embedding_bag_dense_backward.default: embedding_bag_dense_backward,
        aten._adaptive_avg_pool2d_backward.default: adaptive_avg_pool2d_backward,
        aten._adaptive_avg_pool3d_backward.default: adaptive_avg_pool3d_backward,
        aten.upsample_nearest1d_backward.default: upsample_nearest_backward,
        aten.upsample_nearest2d_backward.default: upsample_nearest_backward,
        aten.upsample_nearest3d_backward.default: upsample_nearest_backward,
        aten.upsample_linear1d_backward.default: upsample_linear_backward,
        aten.upsample_bilinear2d_backward.default: upsample_linear_backward,
        aten.upsample_trilinear3d_backward.default: upsample_linear_backward,
        aten.diagonal_scatter.default: diagonal_scatter,
        aten.full.default: full,
        aten.empty_permuted.default: empty_permuted,
    }
