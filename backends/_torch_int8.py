"""PyTorch: products of 8-bit codes, as they run, and in float64 as the reference has them, with noise or without."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from backends._torch_noise import NoisyOps, ReferenceOps
from backends._torch_ops import EagerTorchOps, TorchOps
from workloads.ops import Array
from workloads.recipes.int8 import LARGEST, LEAST

Layout = Literal["oi", "io"]


def codes_of(x: Tensor, step: Tensor) -> Tensor:
    """Returns `x` in codes, as numbers of its own type: to nearest even, saturating."""
    return torch.clamp(torch.round(x / step), LEAST, LARGEST)


def patches(x: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Returns what a convolution multiplies, as (B H W, C kernel kernel), and (B, H, W) of what it gives."""
    if padding:
        x = F.pad(x, (padding,) * 4)
    windows = x.unfold(2, kernel, stride).unfold(3, kernel, stride)  # (B, C, H, W, kernel, kernel)
    b, _, h, w = windows.shape[:4]
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(b * h * w, -1), (b, h, w)


class TorchInt8(TorchOps):
    """Products of codes by `torch._int_mm`, summed in int32; convolutions as products of patches.

    There is no public product of int8 in torch (2.13): what `torch.ao` has is deprecated. Weights alone in codes are
    widened in each step.
    """

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Layout
    ) -> Array:
        flat = codes_of(x, step).to(torch.int8).reshape(-1, x.shape[-1])
        sums = torch._int_mm(flat, codes.t() if layout == "oi" else codes)
        y = (sums * (step * scale)).reshape(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        rows, (b, h, w) = patches(codes_of(x, step).to(torch.int8), codes.shape[-1], stride, padding)
        sums = torch._int_mm(rows, codes.reshape(codes.shape[0], -1).t())
        y = sums * (step * scale)
        y = y if bias is None else y + bias
        return y.reshape(b, h, w, -1).permute(0, 3, 1, 2)

    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Layout) -> Array:
        weight = codes * (scale[:, None] if layout == "oi" else scale)
        return self.linear(x, weight, bias, layout)

    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        y = self.conv2d(x, codes * scale[:, None, None, None], stride, padding)
        return y if bias is None else y + bias[:, None, None]


class EagerInt8Ops(TorchInt8, EagerTorchOps):
    """The same for a step that runs eagerly."""


class ReferenceInt8Ops(TorchInt8, ReferenceOps):
    """The same in float64, in which sums of codes are exact."""

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Layout
    ) -> Array:
        with self._exactly():
            weight = codes.to(x.dtype)
            sums = self._codes(x, step) @ (weight.t() if layout == "oi" else weight)
        y = sums * (step * scale)
        return y if bias is None else y + bias

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        with self._exactly():
            sums = F.conv2d(self._codes(x, step), codes.to(x.dtype), stride=stride, padding=padding)
        y = sums * (step * scale)[:, None, None]
        return y if bias is None else y + bias[:, None, None]

    def _codes(self, x: Tensor, step: Tensor) -> Tensor:
        return codes_of(x, step)

    def _exactly(self) -> AbstractContextManager[None]:
        return nullcontext()


class NoisyInt8Ops(ReferenceInt8Ops, NoisyOps):
    """The same under `noise`, which is sent through the quantiser: codes that lie near a half may flip."""

    def _exactly(self) -> AbstractContextManager[None]:
        return self.noise.off()


class FlippedInt8Ops(ReferenceInt8Ops):
    """The reference, with `n` codes of each product (on average) turned to their other neighbour; `flips` counts them.

    Correct code does so rarely: a few samples of the noise may all miss it.
    """

    def __init__(self, n: float, seed: int) -> None:
        self.n, self.flips = n, 0
        self._generator = torch.Generator().manual_seed(seed)

    def _codes(self, x: Tensor, step: Tensor) -> Tensor:
        codes = codes_of(x, step)
        is_flipped = torch.rand(x.shape, generator=self._generator) < self.n / x.numel()
        self.flips += int(is_flipped.sum())
        return torch.where(is_flipped, codes + torch.where(x / step >= codes, 1.0, -1.0), codes)
