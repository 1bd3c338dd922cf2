"""Operations on images that came later, composed of those that every binding has."""

from __future__ import annotations

from math import prod
from typing import Any

Array = Any


class ImageOps:
    """What is composed of the operations of `workloads.ops.Ops`, whose part it is."""

    def pad2d(self: Any, x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        """`x` (B, C, H, W) with zeros around: so many rows above and below, and columns left and right."""
        for axis, (before, behind) in ((2, rows), (3, columns)):
            shapes = ([*x.shape[:axis], n, *x.shape[axis + 1 :]] for n in (before, behind))
            zeros = [self.reshape(self.arange(prod(shape), like=x) * 0.0, shape) for shape in shapes]
            x = self.concatenate([zeros[0], x, zeros[1]], axis=axis)
        return x

    def conv_transpose2d(self: Any, x: Array, weight: Array, bias: Array) -> Array:
        """`x` (B, C, H, W), each pixel times `weight` (C, out, k, k) as a square of k × k, plus `bias` (out), as
        (B, out, k H, k W): the transposed convolution whose stride is its kernel (Ronneberger et al. 2015,
        arXiv:1505.04597).
        """
        (b, c, h, w), (_, n_out, k, _) = x.shape, weight.shape
        pixels = self.linear(self.transpose(x, (0, 2, 3, 1)), self.reshape(weight, (c, n_out * k * k)), None, "io")
        squares = self.transpose(self.reshape(pixels, (b, h, w, n_out, k, k)), (0, 3, 1, 4, 2, 5))
        return self.reshape(squares, (b, n_out, h * k, w * k)) + self.reshape(bias, (n_out, 1, 1))
