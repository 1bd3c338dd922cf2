"""Products of codes of 8 bits, as operations of the vocabulary: none has a default, and each says what lacks it."""

from __future__ import annotations

from typing import Any, Literal

Array = Any


class ProductsOfCodes:
    """The operations that read `workloads.recipes.int8`'s codes. A binding without them has no 8 bits."""

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Literal["oi", "io"]
    ) -> Array:
        """`linear` of int8 `codes`: `x / step` rounded to nearest even within -128 … 127, summed as integers, times
        `step * scale` (out) and plus `bias` in float32.

        Not composed of others: a binding without it and its three siblings has no 8 bits. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no int8_linear: it needs one, and its siblings, for 8 bits")

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        """`conv2d` of int8 `codes`, as `int8_linear`; with a bias, since a batch norm may be folded into it."""
        raise TypeError(f"{type(self).__name__} has no int8_conv2d: it needs one, and its siblings, for 8 bits")

    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Literal["oi", "io"]) -> Array:
        """`linear` of the weight `codes` times `scale` (out), of which only the weight is in codes."""
        raise TypeError(f"{type(self).__name__} has no w8_linear: it needs one, and its siblings, for 8 bits")

    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        """`conv2d` of the weight `codes` times `scale` (out), plus `bias`."""
        raise TypeError(f"{type(self).__name__} has no w8_conv2d: it needs one, and its siblings, for 8 bits")

    def fp8_linear(self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None) -> Array:
        """`linear` of float8 `codes` (out, in), given as their bits: `x / step` rounded to float8, summed in float32,
        times `step * scale` (out) and plus `bias`.
        """
        raise TypeError(f"{type(self).__name__} has no fp8_linear: it needs one, and fp8_conv2d, for float8")

    def fp8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        """`conv2d` of float8 `codes`, as `fp8_linear`."""
        raise TypeError(f"{type(self).__name__} has no fp8_conv2d: it needs one, and fp8_linear, for float8")
