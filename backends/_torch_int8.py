"""PyTorch: products of 8-bit codes, as they run, and in float64 as the reference has them, with noise or without."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from backends._torch_noise import NoisyOps, ReferenceOps
from backends._torch_ops import EagerTorchOps, TorchOps
from workloads.ops import Array
from workloads.precision import E4M3, LARGEST_CODE
from workloads.recipes.int8 import LARGEST, LEAST

Layout = Literal["oi", "io"]
FP8 = getattr(torch, E4M3)
ALIGNED = 16
"""cuBLASLt multiplies float8 whose rows are so many bytes, or a multiple of it."""
FP8_SUMS = 2.0**-14
"""To so much of each term Hopper's tensor cores keep sums of float8 (arXiv:2412.19437, section 3.3.2)."""


OFFSET_ERROR = 2.0**-17
"""By so much of a code a quantiser may misread a number that adds 128 to it in float32, as unsigned codes have it."""


def codes_of(x: Tensor, step: Tensor) -> Tensor:
    """Returns `x` in codes, as numbers of its own type: to nearest even, saturating."""
    return torch.clamp(torch.round(x / step), LEAST, LARGEST)


def fp8_codes_of(x: Tensor, step: Tensor) -> Tensor:
    """Returns `x` in codes of float8: to nearest even, saturating."""
    largest = LARGEST_CODE[E4M3]
    return torch.clamp(x / step, -largest, largest).to(FP8)


def fp8_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Returns `rows` (n, in) of float8 times `weight` (out, in), summed in float32, as float32 (n, out)."""
    one = torch.ones((), device=rows.device)
    n_out, n_in = weight.shape
    short_in, short_out = -n_in % ALIGNED, -n_out % ALIGNED
    if short_in or short_out:  # zeros, whose products are zeros
        bits = torch.uint8
        rows = F.pad(rows.view(bits), (0, short_in)).view(FP8)
        weight = F.pad(weight.view(bits), (0, short_in, 0, short_out)).view(FP8)
    each = F.ScalingType.TensorWise
    y = F.scaled_mm(rows, weight.t(), one, each, one, each, output_dtype=torch.float32)
    return y[:, :n_out] if short_out else y


def patches(x: Tensor, kernel: Sequence[int], stride: int, padding: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Returns what a convolution multiplies, as (B H W, C rows columns), and (B, H, W) of what it gives."""
    if padding:
        x = F.pad(x, (padding,) * 4)
    windows = x.unfold(2, kernel[0], stride).unfold(3, kernel[1], stride)  # (B, C, H, W, rows, columns)
    b, _, h, w = windows.shape[:4]
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(b * h * w, -1), (b, h, w)


class TorchInt8(TorchOps):
    """Products of codes by `torch._int_mm`, summed in int32, and `scaled_mm`; convolutions as products of patches.

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
        rows, (b, h, w) = patches(codes_of(x, step).to(torch.int8), codes.shape[2:], stride, padding)
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

    def fp8_linear(self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None) -> Array:
        flat = fp8_codes_of(x, step).reshape(-1, x.shape[-1])
        y = (fp8_product(flat, codes.view(FP8)) * (step * scale)).reshape(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    def fp8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        bits = fp8_codes_of(x, step).view(torch.uint8)  # of which zero is zero
        rows, (b, h, w) = patches(bits, codes.shape[2:], stride, padding)
        y = fp8_product(rows.view(FP8), codes.reshape(codes.shape[0], -1).view(FP8)) * (step * scale)
        y = y if bias is None else y + bias
        return y.reshape(b, h, w, -1).permute(0, 3, 1, 2)


class EagerInt8Ops(TorchInt8, EagerTorchOps):
    """The same for a step that runs eagerly."""


class ReferenceInt8Ops(TorchInt8, ReferenceOps):
    """The same in float64, in which sums of int8 codes are exact."""

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

    def fp8_linear(self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None) -> Array:
        with self._exactly():
            read, weight = self._fp8_codes(x, step), codes.view(FP8).to(x.dtype)
        y = F.linear(self._kept(read), weight) * (step * scale)
        return y if bias is None else y + bias

    def fp8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        with self._exactly():
            read, weight = self._fp8_codes(x, step), codes.view(FP8).to(x.dtype)
        y = F.conv2d(self._kept(read), weight, stride=stride, padding=padding) * (step * scale)[:, None, None]
        return y if bias is None else y + bias[:, None, None]

    def _codes(self, x: Tensor, step: Tensor) -> Tensor:
        return codes_of(x, step)

    def _fp8_codes(self, x: Tensor, step: Tensor) -> Tensor:
        return fp8_codes_of(x, step).to(x.dtype)

    def _kept(self, codes: Tensor) -> Tensor:
        """Returns codes of float8 as their sums keep them."""
        return codes

    def _exactly(self) -> AbstractContextManager[None]:
        return nullcontext()


class NoisyInt8Ops(ReferenceInt8Ops, NoisyOps):
    """The same under `noise`, which is sent through the quantiser: codes that lie near a half may flip."""

    def _codes(self, x: Tensor, step: Tensor) -> Tensor:
        return codes_of(self.noise.moved(x, step * OFFSET_ERROR), step)

    def _exactly(self) -> AbstractContextManager[None]:
        return self.noise.off()

    def _kept(self, codes: Tensor) -> Tensor:
        return self.noise.erring(codes, FP8_SUMS)


class FlippedInt8Ops(ReferenceInt8Ops):
    """The reference, with `n` codes of each product (on average) turned to their other neighbour; `flips` counts them.

    Correct code does so rarely: a few samples of the noise may all miss it.
    """

    def __init__(self, n: float, seed: int) -> None:
        self.n, self.flips = n, 0
        self._generator = torch.Generator().manual_seed(seed)

    def _codes(self, x: Tensor, step: Tensor) -> Tensor:
        return self._turned(x / step, codes_of(x, step), 1.0)

    def _fp8_codes(self, x: Tensor, step: Tensor) -> Tensor:
        codes = fp8_codes_of(x, step).to(x.dtype)
        exponent = torch.floor(torch.log2(codes.abs())).clamp(min=-6.0)
        return self._turned(x / step, codes, 2.0 ** (exponent - 3))

    def _turned(self, wanted: Tensor, codes: Tensor, apart: Tensor | float) -> Tensor:
        """Returns the codes, some of which are `apart` from what they were, in the direction of what was `wanted`."""
        is_flipped = torch.rand(wanted.shape, generator=self._generator) < self.n / wanted.numel()
        self.flips += int(is_flipped.sum())
        return torch.where(is_flipped, codes + torch.where(wanted >= codes, 1.0, -1.0) * apart, codes)
