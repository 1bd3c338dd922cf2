"""JAX: the binding of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import accumulate
from math import sqrt
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp

from backends._jax_codes import codes_of, float8, fp8_codes_of, patches, sums_of
from backends._jax_experts import experts
from backends._jax_sums import plus_bias, with_wide_sums
from workloads.graph import Graph
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Expert, Ops, Parameters, subset
from workloads.specs import IGNORED_LABEL

Method = TypeVar("Method", bound=Callable[..., Any])


def scoped(method: Method) -> Method:
    """Returns the method with its name in the metadata of what it traces, so that a profile names it."""
    named: Method = jax.named_scope(method.__name__)(method)
    return named


class JaxOps(Ops):
    """The operations in `jax.numpy` and `jax.nn`, which XLA fuses.

    `conv_1x1` is `conv`, or `matmul`: a convolution with a kernel of one pixel as the matrix product that it is.
    `conv_layout` is `nchw`, or `nhwc`: whether the other convolutions see channels last.
    """

    recomputes = False
    """Whether `repeat` computes each block again in the backward pass."""

    def __init__(self, conv_1x1: str = "conv", conv_layout: str = "nchw") -> None:
        self.conv_1x1, self.conv_layout = conv_1x1, conv_layout

    def embedding(self, table: Array, ids: Array) -> Array:
        return with_wide_sums(jnp.take)(table, ids, axis=0, mode="clip")

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        y = jnp.matmul(x, weight.T if layout == "oi" else weight)
        return y if bias is None else plus_bias(y, bias)

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        y = self._convolved(x, weight, stride, padding, groups)
        return y if bias is None else plus_bias(y, bias[:, None, None])

    def _convolved(self, x: Array, weight: Array, stride: int, padding: int, groups: int) -> Array:
        if self.conv_1x1 == "matmul" and weight.shape[2:] == (1, 1) and padding == 0 and groups == 1:
            return jnp.einsum("nchw,oc->nohw", x[:, :, ::stride, ::stride], weight[:, :, 0, 0])
        sides = [(padding, padding)] * 2
        grouped = {"feature_group_count": groups}
        if self.conv_layout == "nhwc":
            last, kernel = x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0)
            numbers = ("NHWC", "HWIO", "NHWC")
            y = jax.lax.conv_general_dilated(
                last, kernel, (stride, stride), sides, dimension_numbers=numbers, **grouped
            )
            return y.transpose(0, 3, 1, 2)
        return jax.lax.conv_general_dilated(
            x, weight, (stride, stride), sides, dimension_numbers=("NCHW", "OIHW", "NCHW"), **grouped
        )

    @scoped
    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        mean, variance = p["running_mean"], p["running_var"]
        statistics = {}
        along = (slice(None), *(None,) * (x.ndim - 2))
        if training:
            others = (0, *range(2, x.ndim))
            mean = x.mean(others)
            variance = ((x - mean[along]) ** 2).mean(others)
            n = x.size // x.shape[1]
            batch = {"running_mean": mean, "running_var": variance * (n / (n - 1))}
            statistics = {name: p[name] + BATCH_NORM_MOMENTUM * (batch[name] - p[name]) for name in batch}
        scale = p["weight"] * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
        return (x - mean[along]) * scale[along] + p["bias"][along], statistics

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, kernel, kernel), (1, 1, stride, stride), sides)

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return x.mean(tuple(axes))

    def relu(self, x: Array) -> Array:
        return jax.nn.relu(x)

    def tanh(self, x: Array) -> Array:
        return jnp.tanh(x)

    @scoped
    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        y = (x - mean) * jax.lax.rsqrt(variance + epsilon)
        return y if weight is None else y * weight + bias

    @scoped
    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight

    @scoped
    def silu(self, x: Array) -> Array:
        return jax.nn.silu(x)

    @scoped
    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return jax.nn.gelu(x, approximate=approximate == "tanh")

    @scoped
    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        # jax.nn wants (B, T, H, D); XLA folds the transposes into the products.
        # It asks for products of float16 summed in float32, which XLA does not have on a CPU (0.10).
        wide = jnp.float32 if query.dtype == jnp.float16 else query.dtype
        q, k, v = (x.transpose(0, 2, 1, 3).astype(wide) for x in (query, key, value))
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal).astype(query.dtype).transpose(0, 2, 1, 3)

    def concatenate(self, parts: Sequence[Array], *, axis: int = -1) -> Array:
        return jnp.concatenate(parts, axis=axis)

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        return with_wide_sums(jnp.broadcast_to)(x, tuple(shape))

    def pad2d(self, x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        return jnp.pad(x, ((0, 0), (0, 0), rows, columns))

    def matmul(self, a: Array, b: Array) -> Array:
        return jnp.matmul(a, b)

    @scoped
    def cache_update(self, cache: Array, new: Array, start: Array) -> Array:
        for row in range(cache.shape[0]):
            cache = jax.lax.dynamic_update_slice(cache, new[row : row + 1], (row, 0, start[row], 0))
        return cache

    @scoped
    def cached_attention(self, query: Array, key: Array, value: Array, start: Array) -> Array:
        b, heads, t, width = query.shape
        served = heads // key.shape[1]
        folded = query.reshape(b, key.shape[1], served * t, width)
        scores = jnp.einsum("bhqd,bhsd->bhqs", folded, key) / sqrt(width)
        seen = jnp.arange(key.shape[2]) <= (start[:, None] + jnp.arange(t))[..., None]  # (B, T, S)
        mask = jnp.tile(seen, (1, served, 1))[:, None]
        weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
        return jnp.einsum("bhqs,bhsd->bhqd", weights, value).reshape(b, heads, t, width)

    @scoped
    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        weights, ids = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), k)
        return weights / weights.sum(-1, keepdims=True) if is_normalized else weights, ids

    @scoped
    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        return experts(expert, x, weights, ids, [subset(parameters, f"{prefix}.{i}.") for i in range(n)])

    @scoped
    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        asked = labels != IGNORED_LABEL
        picked = jnp.take_along_axis(logits, jnp.where(asked, labels, 0)[:, None], axis=-1)[:, 0]
        return jnp.where(asked, jax.nn.logsumexp(logits, axis=-1) - picked, 0).sum() / asked.sum()

    @scoped
    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        # The difference of a softplus and a logit would be 0 where the loss is small beside it.
        return jax.nn.softplus((1 - 2 * labels) * logits).mean()

    def exp(self, x: Array) -> Array:
        return jnp.exp(x)

    @scoped
    def log_softmax(self, x: Array) -> Array:
        return jax.nn.log_softmax(x, axis=-1)

    @scoped
    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        picked = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return picked - jax.nn.logsumexp(logits, axis=-1)

    def recomputing(self) -> JaxOps:
        other = copy(self)
        other.recomputes = True
        return other

    def repeat(
        self, block: Callable[[Array, Parameters], Array], x: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        return super().repeat(jax.checkpoint(block) if self.recomputes else block, x, parameters, prefix, n)

    @scoped
    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Literal["oi", "io"]
    ) -> Array:
        contracted = 1 if layout == "oi" else 0
        y = sums_of(codes_of(x, step), codes, contracted) * (step * scale)
        return y if bias is None else y + bias

    @scoped
    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        # As patches and one product, for which XLA has a kernel of int8 on a CPU.
        read = patches(codes_of(x, step), codes.shape[2:], stride, padding)
        last = sums_of(read, codes.transpose(0, 2, 3, 1).reshape(codes.shape[0], -1), 1) * (step * scale)
        return (last if bias is None else last + bias).transpose(0, 3, 1, 2)

    @scoped
    def fp8_linear(self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None) -> Array:
        y = sums_of(fp8_codes_of(x, step), float8(codes), 1, jnp.float32) * (step * scale)
        return y if bias is None else y + bias

    @scoped
    def fp8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        read = patches(fp8_codes_of(x, step), codes.shape[2:], stride, padding)
        weight = float8(codes).transpose(0, 2, 3, 1).reshape(codes.shape[0], -1)
        last = sums_of(read, weight, 1, jnp.float32) * (step * scale)
        return (last if bias is None else last + bias).transpose(0, 3, 1, 2)

    @scoped
    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Literal["oi", "io"]) -> Array:
        return self.linear(x, codes * (scale[:, None] if layout == "oi" else scale), bias, layout)

    @scoped
    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        y = self.conv2d(x, codes * scale[:, None, None, None], stride, padding)
        return y if bias is None else plus_bias(y, bias[:, None, None])

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(tuple(axes))

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        return jnp.split(x, parts if isinstance(parts, int) else list(accumulate(parts))[:-1], axis=-1)

    def arange(self, n: int, like: Array) -> Array:
        return jnp.arange(n, dtype=like.dtype)

    def sqrt(self, x: Array) -> Array:
        return jnp.sqrt(x)

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        from backends._jax_graph import evaluate

        return evaluate(graph, tensors)

    def cast(self, x: Array, dtype: str) -> Array:
        return x.astype(dtype)

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        return value_and_grad(f, parameters)


def ops_of(options: Mapping[str, str]) -> JaxOps:
    """Returns the operations with the options that are theirs."""
    return JaxOps(**{name: options[name] for name in ("conv_1x1", "conv_layout") if name in options})


def value_and_grad(
    f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
) -> tuple[tuple[Array, Parameters], Parameters]:
    """Returns `f(parameters)`, a scalar and something beside it, and the scalar's gradient by name."""
    both, gradients = jax.value_and_grad(f, has_aux=True)(dict(parameters))
    return both, gradients
