"""JAX: PyTorch's products, norms, softmaxes, attention and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp

from backends._jax_graph_dtypes import Function
from backends._jax_graph_reductions import vector_norm
from backends._jax_sums import plus_bias
from workloads.ops import Array

NONE, MEAN = 0, 1
"""PyTorch's numbers for how a loss is reduced; 2 is the sum."""


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Returns `x` (..., in) times `weight` (out, in) plus `bias`."""
    y = jnp.matmul(x, weight.T)
    return y if bias is None else plus_bias(y, bias)


def addmm(bias: Array, x: Array, y: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """Returns beta times the bias plus alpha times the product of matrices, or of batches of them."""
    product = jnp.matmul(x, y)
    return plus_bias(product if alpha == 1 else product * alpha, bias if beta == 1 else bias * beta)


def attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Returns scaled dot-product attention over (..., T, D); a query that sees nothing gets zeros, as in PyTorch.

    Raises ValueError for dropout.
    """
    if dropout_p:
        raise ValueError(f"attention with dropout {dropout_p} is another computation in every step")
    if query.ndim == 4 and attn_mask is None and query.dtype != jnp.float16:
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
        return jax.nn.dot_product_attention(q, k, v, is_causal=is_causal, scale=scale).transpose(0, 2, 1, 3)
    if enable_gqa:
        key, value = (jnp.repeat(x, query.shape[-3] // x.shape[-3], axis=-3) for x in (key, value))
    # Of a shorter type the products give it, and all between them is float32.
    type_, wide = query.dtype, jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.matmul(query, jnp.swapaxes(key, -1, -2)).astype(wide)
    scores *= 1 / sqrt(query.shape[-1]) if scale is None else scale
    if is_causal:
        attn_mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if attn_mask is None:
        return jnp.matmul(jax.nn.softmax(scores, -1).astype(type_), value)
    if attn_mask.dtype == bool:
        seen = jnp.broadcast_to(attn_mask, scores.shape)
    else:
        scores = scores + attn_mask
        seen = scores != -jnp.inf
    weights = jax.nn.softmax(jnp.where(seen, scores, jnp.finfo(scores.dtype).min), -1)
    return jnp.matmul(jnp.where(seen.any(-1, keepdims=True), weights, 0).astype(type_), value)


def softmax(x: Array, dim: int, half_to_float: Any = None, *, dtype: Any = None) -> Array:
    """Returns the softmax along an axis."""
    return jax.nn.softmax(x if dtype is None else x.astype(dtype), dim)


def softmax_of_type(x: Array, dim: int, dtype: Any = None) -> Array:
    """Returns the softmax along an axis, computed in a type."""
    return softmax(x, dim, dtype=dtype)


def safe_softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    """Returns the softmax along an axis; zeros where all is minus infinity."""
    seen = x != -jnp.inf
    shares = jax.nn.softmax(jnp.where(seen, x, jnp.finfo(x.dtype).min), dim)
    return jnp.where(seen.any(dim, keepdims=True), shares, 0)


def log_softmax(x: Array, dim: int, half_to_float: Any = None, *, dtype: Any = None) -> Array:
    """Returns the logarithm of the softmax along an axis."""
    return jax.nn.log_softmax(x if dtype is None else x.astype(dtype), dim)


def normalized(x: Array, axes: Sequence[int], epsilon: float) -> tuple[Array, Array, Array]:
    """Returns `x` with mean 0 and variance 1 over axes, its mean and the reciprocal of its deviation."""
    mean = x.mean(axes, keepdims=True)
    rstd = jax.lax.rsqrt(jnp.square(x - mean).mean(axes, keepdims=True) + epsilon)
    return (x - mean) * rstd, mean, rstd


def scaled(x: Array, weight: Array | None, bias: Array | None) -> Array:
    """Returns `x` times the weight plus the bias, where there are any."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def native_layer_norm(
    x: Array, shape: Sequence[int], weight: Array | None, bias: Array | None, epsilon: float
) -> tuple[Array, Array, Array]:
    """Returns `x` normalised over its last axes, of that shape, and its means and reciprocal deviations."""
    y, mean, rstd = normalized(x, tuple(range(-len(shape), 0)), epsilon)
    return scaled(y, weight, bias), mean, rstd


def layer_norm(
    x: Array,
    shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    epsilon: float = 1e-5,
    cudnn: bool = True,
) -> Array:
    """Returns `x` normalised over its last axes (Ba et al. 2016, arXiv:1607.06450)."""
    return native_layer_norm(x, shape, weight, bias, epsilon)[0]


def rms_norm(x: Array, shape: Sequence[int], weight: Array | None = None, epsilon: float | None = None) -> Array:
    """Returns `x` by the root of the mean of its squares over its last axes (Zhang & Sennrich 2019)."""
    axes = tuple(range(-len(shape), 0))
    smallest = float(jnp.finfo(x.dtype).eps) if epsilon is None else epsilon
    return scaled(x * jax.lax.rsqrt(jnp.square(x).mean(axes, keepdims=True) + smallest), weight, None)


def native_group_norm(
    x: Array, weight: Array | None, bias: Array | None, n: int, c: int, pixels: int, groups: int, epsilon: float
) -> tuple[Array, Array, Array]:
    """Returns `x` (N, C, …) normalised over groups of channels, and their means and reciprocal deviations."""
    y, mean, rstd = normalized(x.reshape(n, groups, -1), (-1,), epsilon)
    by_channel = (c, *[1] * (x.ndim - 2))
    weight, bias = (p if p is None else p.reshape(by_channel) for p in (weight, bias))
    return scaled(y.reshape(x.shape), weight, bias), mean.squeeze(-1), rstd.squeeze(-1)


def group_norm(
    x: Array,
    groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    epsilon: float = 1e-5,
    cudnn: bool = True,
) -> Array:
    """Returns `x` (N, C, …) normalised over groups of channels (Wu & He 2018, arXiv:1803.08494)."""
    n, channels, *sides = x.shape
    return native_group_norm(x, weight, bias, n, channels, prod(sides), groups, epsilon)[0]


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Array, ...]:
    """Returns `x` normalised over all but its second axis, the batch's mean and reciprocal deviation, and the running
    statistics after it: the variance there is the unbiased one (arXiv:1502.03167).
    """
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    by_channel = [1, -1, *[1] * (x.ndim - 2)]
    affine = [p if p is None else p.reshape(by_channel) for p in (weight, bias)]
    if not training:
        assert running_mean is not None and running_var is not None
        rstd = jax.lax.rsqrt(running_var + epsilon)
        y = (x - running_mean.reshape(by_channel)) * rstd.reshape(by_channel)
        return scaled(y, *affine), jnp.zeros(0), jnp.zeros(0), running_mean, running_var
    y, mean, rstd = normalized(x, axes, epsilon)
    mean, rstd = mean.reshape(-1), rstd.reshape(-1)
    if running_mean is None or running_var is None:
        return scaled(y, *affine), mean, rstd
    n = x.size // x.shape[1]
    variance = jax.lax.stop_gradient((1 / jnp.square(rstd) - epsilon) * (n / (n - 1)))
    after = [old + momentum * (new - old) for old, new in ((running_mean, mean), (running_var, variance))]
    return scaled(y, *affine), mean, rstd, *after


def weight_norm(direction: Array, size: Array, dim: int = 0) -> tuple[Array, Array]:
    """Returns the weight of that direction and size, and the norm (Salimans & Kingma 2016, arXiv:1602.07868)."""
    axes = [axis for axis in range(direction.ndim) if axis != dim % direction.ndim]
    norm = vector_norm(direction, 2, axes, keepdim=True)
    return direction * (size / norm), norm


def reduced(loss: Array, reduction: int) -> Array:
    """Returns the mean or the sum of a loss, or itself."""
    return loss if reduction == NONE else loss.mean() if reduction == MEAN else loss.sum()


def nll_loss(
    x: Array, target: Array, weight: Array | None = None, reduction: int = MEAN, ignore_index: int = -100
) -> tuple[Array, Array]:
    """Returns the negative of the log-probabilities `x` (N, C, …) at the targets (N, …), and the sum of weights."""
    axis = min(1, x.ndim - 1)
    asked = target != ignore_index
    chosen = jnp.where(asked, target, 0)
    picked = -jnp.take_along_axis(x, jnp.expand_dims(chosen, axis), axis=axis).squeeze(axis)
    weights = jnp.where(asked, 1 if weight is None else weight[chosen], 0).astype(x.dtype)
    loss = jnp.where(asked, picked * weights, 0)
    total = weights.sum()
    return (loss.sum() / total if reduction == MEAN else reduced(loss, reduction)), total


def cross_entropy(
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: int = MEAN,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """Returns the cross entropy of logits (N, C, …) and classes (N, …) or probabilities (N, C, …)."""
    axis = min(1, x.ndim - 1)
    logs = jax.nn.log_softmax(x, axis)
    classes = x.shape[axis]
    by_class = None if weight is None else weight.reshape([-1, *[1] * (x.ndim - axis - 1)])
    weighted = logs if by_class is None else logs * by_class
    if target.shape == x.shape:
        shares = target * (1 - label_smoothing) + label_smoothing / classes
        loss = -(weighted * shares).sum(axis)
        return loss.sum() / max(loss.size, 1) if reduction == MEAN else reduced(loss, reduction)
    loss, total = nll_loss(logs, target, weight, reduction, ignore_index)
    if label_smoothing == 0:
        return loss
    smooth = jnp.where(target != ignore_index, -weighted.sum(axis), 0)
    smooth = smooth.sum() / total if reduction == MEAN else reduced(smooth, reduction)
    return loss * (1 - label_smoothing) + smooth * (label_smoothing / classes)


def smooth_l1(x: Array, target: Array, reduction: int = MEAN, beta: float = 1.0) -> Array:
    """Returns the absolute difference, squared where it is below beta."""
    size = jnp.abs(x - target)
    return reduced(jnp.where(size < beta, 0.5 * size * size / (beta or 1), size - 0.5 * beta), reduction)


def huber(x: Array, target: Array, reduction: int = MEAN, delta: float = 1.0) -> Array:
    """Returns Huber's loss."""
    size = jnp.abs(x - target)
    return reduced(jnp.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta)), reduction)


LAYERS: Mapping[str, Function] = {
    "_fused_rms_norm.default": lambda x, shape, weight, epsilon: (
        rms_norm(x, shape, weight, epsilon),
        jax.lax.rsqrt(jnp.square(x).mean(tuple(range(-len(shape), 0)), keepdims=True) + (epsilon or 0)),
    ),
    "_log_softmax.default": log_softmax,
    "_native_batch_norm_legit.no_stats": lambda x, weight, bias, training, momentum, epsilon: batch_norm(
        x, weight, bias, None, None, training, momentum, epsilon
    ),
    "_native_batch_norm_legit_functional.default": batch_norm,
    "_native_batch_norm_legit_no_training.default": lambda x, weight, bias, mean, var, momentum, epsilon: batch_norm(
        x, weight, bias, mean, var, False, momentum, epsilon
    )[:3],
    "_safe_softmax.default": safe_softmax,
    "_softmax.default": softmax,
    "_weight_norm_interface.default": weight_norm,
    "addmm.default": addmm,
    "baddbmm.default": addmm,
    "binary_cross_entropy_with_logits.default": lambda x, y, weight=None, pos_weight=None, reduction=MEAN: reduced(
        (1 if weight is None else weight)
        * ((1 - y) * x + (1 if pos_weight is None else 1 + (pos_weight - 1) * y) * jax.nn.softplus(-x)),
        reduction,
    ),
    "bmm.default": jnp.matmul,
    "cross_entropy_loss.default": cross_entropy,
    "dot.default": jnp.dot,
    "einsum.default": lambda equation, operands, *, path=None: jnp.einsum(equation, *operands),
    "group_norm.default": group_norm,
    "huber_loss.default": huber,
    "layer_norm.default": layer_norm,
    "linear.default": linear,
    "log_softmax.int": lambda x, dim, dtype=None: log_softmax(x, dim, dtype=dtype),
    "matmul.default": jnp.matmul,
    "mm.default": jnp.matmul,
    "mse_loss.default": lambda x, y, reduction=MEAN: reduced(jnp.square(x - y), reduction),
    "mv.default": jnp.matmul,
    "native_group_norm.default": native_group_norm,
    "native_layer_norm.default": native_layer_norm,
    "nll_loss_forward.default": nll_loss,
    "nll_loss2d_forward.default": nll_loss,
    "rms_norm.default": rms_norm,
    "scaled_dot_product_attention.default": attention,
    "smooth_l1_loss.default": smooth_l1,
    "softmax.int": softmax_of_type,
}
