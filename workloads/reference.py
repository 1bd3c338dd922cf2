"""The vocabulary bound by NumPy in float64: the reference that every other binding is held against.

Forward only; gradients of the other bindings are held against central differences of these losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, pi, sqrt
from typing import Any, Literal

import numpy as np

from workloads.ops import Array, Ops

_erf = np.vectorize(erf, otypes=[np.float64])


class NumpyOps(Ops):
    """The operations, written for clarity."""

    def embedding(self, table: Array, ids: Array) -> Array:
        return table[ids]

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        y = x @ (weight.T if layout == "oi" else weight)
        return y if bias is None else y + bias

    def layer_norm(self, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * weight + bias

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        if approximate == "tanh":
            return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + _erf(x / sqrt(2)))

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        scores = query @ key.swapaxes(-1, -2) / sqrt(query.shape[-1])
        if causal:
            scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ value

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        top = logits.max(-1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(-1)) + top[:, 0]
        return (log_sum - logits[np.arange(len(labels)), labels]).mean()

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(shape)

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(axes)

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        return np.split(x, parts, axis=-1)

    def arange(self, n: int, like: Array) -> Array:
        return np.arange(n, dtype=like.dtype)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)


def float64(arrays: Any) -> dict[str, Any]:
    """Returns floating arrays widened to float64, integers as they are."""
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}
