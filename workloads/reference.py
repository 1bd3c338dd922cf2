"""The vocabulary bound by NumPy in float64: the reference that every other binding is held against.

Forward only; gradients of the other bindings are held against central differences of these losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, pi, sqrt
from typing import Any, Literal

import numpy as np

from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Expert, Ops, Parameters, subset
from workloads.recipes.e4m3 import decoded, encoded
from workloads.specs import IGNORED_LABEL


def _windows(x: Array, kernel: Sequence[int], stride: int, padding: int, fill: float) -> Array:
    """Returns the windows of `x` (B, C, H, W), padded with `fill`, as (B, C, H, W, rows, columns) of the `kernel`."""
    sides = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), sides, sides), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), (2, 3))[:, :, ::stride, ::stride]


GRIDS = {"bfloat16": (8, -125), "float16": (11, -13)}
"""Bits of mantissa, the hidden one among them, and the least exponent (of `frexp`) that has all of them."""
_erf = np.vectorize(erf, otypes=[np.float64])


def _codes(x: Array, step: Array) -> Array:
    return np.clip(np.rint(x / step), -128, 127).astype(np.int64)


class NumpyOps(Ops):
    """The operations, written for clarity."""

    def embedding(self, table: Array, ids: Array) -> Array:
        return table[ids]

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        y = x @ (weight.T if layout == "oi" else weight)
        return y if bias is None else y + bias

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        seen = np.split(_windows(x, weight.shape[2:], stride, padding, fill=0.0), groups, axis=1)
        kernels = np.split(weight, groups)
        parts = [np.einsum("bchwij,ocij->bohw", s, k, optimize=True) for s, k in zip(seen, kernels, strict=True)]
        y = np.concatenate(parts, axis=1)
        return y if bias is None else y + bias[:, None, None]

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array) -> Array:
        k = weight.shape[-1]
        y = np.empty((x.shape[0], weight.shape[1], x.shape[2] * k, x.shape[3] * k), x.dtype)
        for i in range(k):
            for j in range(k):
                y[:, :, i::k, j::k] = np.einsum("bchw,co->bohw", x, weight[:, :, i, j], optimize=True)
        return y + bias[:, None, None]

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Literal["oi", "io"]
    ) -> Array:
        sums = self.linear(_codes(x, step), codes.astype(np.int64), None, layout)
        y = sums * (step * scale)
        return y if bias is None else y + bias

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        sums = self.conv2d(_codes(x, step), codes.astype(np.int64), stride, padding)
        y = sums * (step * scale)[:, None, None]
        return y if bias is None else y + bias[:, None, None]

    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Literal["oi", "io"]) -> Array:
        return self.linear(x, codes * (scale[:, None] if layout == "oi" else scale), bias, layout)

    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        y = self.conv2d(x, codes * scale[:, None, None, None], stride, padding)
        return y if bias is None else y + bias[:, None, None]

    def fp8_linear(self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None) -> Array:
        y = self.linear(decoded(encoded(x / step)), decoded(codes)) * (step * scale)
        return y if bias is None else y + bias

    def fp8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        sums = self.conv2d(decoded(encoded(x / step)), decoded(codes), stride, padding)
        y = sums * (step * scale)[:, None, None]
        return y if bias is None else y + bias[:, None, None]

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        mean, variance = p["running_mean"], p["running_var"]
        statistics = {}
        if training:
            others = (0, *range(2, x.ndim))
            mean, variance = x.mean(others), x.var(others)
            n = x.size // x.shape[1]
            batch = {"running_mean": mean, "running_var": variance * n / (n - 1)}
            statistics = {name: p[name] + BATCH_NORM_MOMENTUM * (batch[name] - p[name]) for name in batch}
        scale = p["weight"] / np.sqrt(variance + BATCH_NORM_EPSILON)
        along = (slice(None), *(None,) * (x.ndim - 2))
        return (x - mean[along]) * scale[along] + p["bias"][along], statistics

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        return _windows(x, (kernel, kernel), stride, padding, fill=-np.inf).max((-2, -1))

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return x.mean(tuple(axes))

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return y if weight is None else y * weight + bias

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        if approximate == "tanh":
            return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + _erf(x / sqrt(2)))

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        key, value = (np.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (key, value))
        scores = query @ key.swapaxes(-1, -2) / sqrt(query.shape[-1])
        if causal:
            scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ value

    def concatenate(self, parts: Sequence[Array], *, axis: int = -1) -> Array:
        return np.concatenate(parts, axis=axis)

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(x, shape)

    def pad2d(self, x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        return np.pad(x, ((0, 0), (0, 0), rows, columns))

    def matmul(self, a: Array, b: Array) -> Array:
        return a @ b

    def cache_update(self, cache: Array, new: Array, start: Array) -> Array:
        cache = cache.copy()
        for row, place in enumerate(start):
            cache[row, :, place : place + new.shape[2]] = new[row]
        return cache

    def cached_attention(self, query: Array, key: Array, value: Array, start: Array) -> Array:
        attended = np.empty_like(query)
        for row, place in enumerate(start):
            for t in range(query.shape[2]):
                seen = slice(0, place + t + 1)
                of_row = (
                    query[row : row + 1, :, t : t + 1],
                    key[row : row + 1, :, seen],
                    value[row : row + 1, :, seen],
                )
                attended[row, :, t] = self.attention(*of_row, causal=False)[0, :, 0]
        return attended

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True)
        ids = np.argsort(-shares, axis=-1, kind="stable")[:, :k]
        weights = np.take_along_axis(shares, ids, -1)
        return weights / weights.sum(-1, keepdims=True) if is_normalized else weights, ids

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        y = np.zeros_like(x)
        for row, (shares, chosen) in enumerate(zip(weights, ids, strict=True)):
            for share, i in zip(shares, chosen, strict=True):
                y[row] += share * expert(x[row : row + 1], subset(parameters, f"{prefix}.{i}."))[0]
        return y

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        logits, labels = logits[labels != IGNORED_LABEL], labels[labels != IGNORED_LABEL]
        top = logits.max(-1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(-1)) + top[:, 0]
        return (log_sum - logits[np.arange(len(labels)), labels]).mean()

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        return (np.logaddexp(0, logits) - labels * logits).mean()

    def exp(self, x: Array) -> Array:
        return np.exp(x)

    def log_softmax(self, x: Array) -> Array:
        shifted = x - x.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        return self.log_softmax(logits)[np.arange(len(labels)), labels]

    def recomputing(self) -> Ops:
        return self  # forward only

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(shape)

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(axes)

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        return np.split(x, parts if isinstance(parts, int) else np.cumsum(parts)[:-1], axis=-1)

    def arange(self, n: int, like: Array) -> Array:
        return np.arange(n, dtype=like.dtype)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def cast(self, x: Array, dtype: str) -> Array:
        return x  # float64 stands for every type

    def rounded(self, x: Array, dtype: str) -> Array:
        bits, least = GRIDS[dtype]
        step = np.maximum(np.frexp(x)[1], least) - bits
        return np.ldexp(np.rint(np.ldexp(x, -step)), step)


def float64(arrays: Any) -> dict[str, Any]:
    """Returns floating arrays widened to float64, integers as they are."""
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}
