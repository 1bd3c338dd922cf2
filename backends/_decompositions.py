"""The backward passes that ONNX has no operator for, in operations that it has, and that its runtimes run well.

Used while a training step is traced (`backends/_onnx_export.py`). Each is exact; `tests/test_decompositions.py` holds
them against torch's own derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions

aten = torch.ops.aten


def columns(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], n_out: int) -> Tensor:
    """Returns what each output position of a convolution sees of `x` (N, C, H, W), as (N, C·kernel², `n_out`)."""
    (rows, cols), (down, right), (top, left) = kernel, stride, padding
    padded = F.pad(x, (left, left, top, top)) if top or left else x
    high = (padded.shape[2] - rows) // down + 1
    wide = (padded.shape[3] - cols) // right + 1
    seen = [
        padded[:, :, i : i + down * (high - 1) + 1 : down, j : j + right * (wide - 1) + 1 : right]
        for i in range(rows)
        for j in range(cols)
    ]
    stacked = seen[0] if len(seen) == 1 else torch.stack(seen, dim=2)
    return stacked.reshape(x.shape[0], x.shape[1] * rows * cols, n_out)


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns the gradients of a 2-D convolution for input, weight and bias, each where `mask` asks for it.

    The weight's gradient is a matrix product over output positions: as a convolution with a kernel as large as the
    image it would run at the speed of a matrix-vector product. The input's is a convolution with the mirrored
    kernel at stride 1, else a transposed one. Raises ValueError for dilated, grouped or transposed convolutions.
    """
    if transposed or groups != 1 or any(d != 1 for d in dilation):
        raise ValueError(f"no decomposition for transposed={transposed}, groups={groups}, dilation={list(dilation)}")
    n, n_out = gradient.shape[:2]
    kernel = weight.shape[2:]
    for_input = for_weight = for_bias = None
    if mask[0] and all(s == 1 for s in stride):
        mirrored = weight.transpose(0, 1) if tuple(kernel) == (1, 1) else weight.transpose(0, 1).flip(2, 3)
        sides = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
        for_input = aten.convolution.default(gradient, mirrored, None, [1, 1], sides, [1, 1], False, [0, 0], 1)
    elif mask[0]:
        # What the last windows of a strided convolution leave over at the far edges.
        left_over = [
            x.shape[2 + i] - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i]) for i in range(2)
        ]
        for_input = aten.convolution.default(gradient, weight, None, stride, padding, [1, 1], True, left_over, 1)
    if mask[1]:
        positions = gradient.shape[2] * gradient.shape[3]
        seen = columns(x, kernel, stride, padding, positions)
        by_sample = torch.matmul(gradient.reshape(n, n_out, positions), seen.transpose(1, 2))
        for_weight = by_sample.sum(0).reshape(weight.shape)
    if mask[2]:
        for_bias = gradient.sum((0, 2, 3))
    return for_input, for_weight, for_bias


def max_pool2d_backward(
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
    n, c, high, wide = x.shape
    flat = torch.zeros([n, c, high * wide], dtype=gradient.dtype, device=gradient.device)
    return flat.scatter_add(2, indices.reshape(n, c, -1), gradient.reshape(n, c, -1)).reshape(n, c, high, wide)


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
        aten.max_pool2d_with_indices_backward.default: max_pool2d_backward,
    }
