"""The gradients of a convolution in one to three dimensions, in operations that ONNX has and its runtimes run well."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten
Sizes = Sequence[int]


def windows(x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, places: Sizes) -> Tensor:
    """Returns what each of the output `places` of a convolution sees of `x` (N, C, …), as (N, C·kernel, places)."""
    padded = F.pad(x, [p for p in reversed(padding) for _ in range(2)]) if any(padding) else x
    axes = list(zip(dilation, stride, places, strict=True))
    seen = [
        padded[(..., *(slice(at * d, at * d + s * (n - 1) + 1, s) for at, (d, s, n) in zip(corner, axes, strict=True)))]
        for corner in product(*map(range, kernel))
    ]
    stacked = seen[0] if len(seen) == 1 else torch.stack(seen, dim=2)
    return stacked.reshape(x.shape[0], x.shape[1] * prod(kernel), prod(places))


def weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """Returns the gradient for the weight (O, C / groups, …): a matrix product over output positions.

    As a convolution with a kernel as large as the image it would run at the speed of a matrix-vector product.
    """
    n, n_out, *places = gradient.shape
    seen = windows(x, weight.shape[2:], stride, padding, dilation, places)
    by_group = (n,) if groups == 1 else (n, groups)
    seen = seen.reshape(*by_group, seen.shape[1] // groups, seen.shape[2])
    by_sample = torch.matmul(gradient.reshape(*by_group, n_out // groups, prod(places)), seen.transpose(-1, -2))
    return by_sample.sum(0).reshape(weight.shape)


def input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """Returns the gradient for the input: a convolution with the mirrored kernel at stride 1, else a transposed one."""
    kernel = weight.shape[2:]
    dims = range(len(kernel))
    sides = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    if all(s == 1 for s in stride) and all(side >= 0 for side in sides):
        mirrored = _regrouped(weight, groups)
        if any(k != 1 for k in kernel):
            mirrored = mirrored.flip([2 + i for i in dims])
        none = [0] * len(kernel)
        return aten.convolution.default(gradient, mirrored, None, stride, sides, dilation, False, none, groups)
    # What the last windows of a strided convolution leave over at the far edges.
    left_over = [
        x.shape[2 + i] - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + 1)
        for i in dims
    ]
    return aten.convolution.default(gradient, weight, None, stride, padding, dilation, True, left_over, groups)


def _regrouped(weight: Tensor, groups: int) -> Tensor:
    """Returns a weight (O, C / groups, …) as (C, O / groups, …)."""
    if groups == 1:
        return weight.transpose(0, 1)
    n_out, n_in, *kernel = weight.shape
    by_group = weight.reshape(groups, n_out // groups, n_in, *kernel).transpose(1, 2)
    return by_group.reshape(groups * n_in, n_out // groups, *kernel)


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sizes | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns the gradients for input, weight and bias, each where `mask` asks for it.

    A transposed convolution is the gradient of a plain one: its own is that one, and what is `x` and what is `gradient`
    change places for the weight.
    """
    n = weight.dim() - 2
    stride, padding, dilation = (list(one) * n if len(one) == 1 else list(one) for one in (stride, padding, dilation))
    for_input = for_weight = for_bias = None
    if mask[0] and transposed:
        none = [0] * n
        for_input = aten.convolution.default(gradient, weight, None, stride, padding, dilation, False, none, groups)
    elif mask[0]:
        for_input = input_gradient(gradient, x, weight, stride, padding, dilation, groups)
    if mask[1]:
        of, by = (x, gradient) if transposed else (gradient, x)
        for_weight = weight_gradient(of, by, weight, stride, padding, dilation, groups)
    if mask[2]:
        for_bias = gradient.sum((0, *range(2, gradient.dim())))
    return for_input, for_weight, for_bias
