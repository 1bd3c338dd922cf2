"""PyTorch: the binding of the vocabulary. Apart from the step, so that references and graphs depend on it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends._torch_experts import by_expert, by_mask, parameters_of
from backends._torch_graph import evaluate
from backends._torch_recompute import recomputed, recomputed_eagerly
from workloads.graph import Graph
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Expert, Ops, Parameters, subset


class Places(NamedTuple):
    """Where the tokens of a step come to lie in a cache, and what they see of it."""

    start: Tensor
    rows: Tensor
    """(B, 1): the number of each row."""
    new: Tensor
    """(B, T): the places of the tokens."""
    seen: Tensor
    """(B, 1, T, S): whether a token sees a place."""


class TorchOps(Ops):
    """The operations in PyTorch, each bound to the native kernel. Pure: running statistics are returned anew."""

    updates_in_place: ClassVar[bool] = False
    """Whether `batch_norm` changes the running statistics that it is given, and returns them."""
    recomputes = False
    """Whether `repeat` computes each block again in the backward pass."""
    widens_inside = frozenset({"batch_norm", "gelu", "layer_norm", "max_pool2d", "mean", "silu", "sqrt", "tanh"})

    def embedding(self, table: Array, ids: Array) -> Array:
        return F.embedding(ids, table)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        return F.linear(x, weight if layout == "oi" else weight.t(), bias)

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array) -> Array:
        return F.conv_transpose2d(x, weight, bias, stride=weight.shape[-1])

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        is_copied = training and not self.updates_in_place
        statistics = {name: p[name].clone() if is_copied else p[name] for name in ("running_mean", "running_var")}
        y = F.batch_norm(
            x,
            **statistics,  # updated in place
            weight=p["weight"],
            bias=p["bias"],
            training=training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPSILON,
        )
        return y, statistics if training else {}

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        return F.max_pool2d(x, kernel, stride, padding)

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return x.mean(tuple(axes))

    def relu(self, x: Array) -> Array:
        return F.relu(x)

    def tanh(self, x: Array) -> Array:
        return torch.tanh(x)

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        return F.layer_norm(x, (x.shape[-1],), weight, bias, epsilon)

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        return F.rms_norm(x, (x.shape[-1],), weight, epsilon)

    def silu(self, x: Array) -> Array:
        return F.silu(x)

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return F.gelu(x, approximate=approximate)

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        # The exporter to ONNX asserts that grouped heads are asked for only where there are any.
        grouped = {} if query.shape[1] == key.shape[1] else {"enable_gqa": True}
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal, **grouped)

    def concatenate(self, parts: Sequence[Array], *, axis: int = -1) -> Array:
        return torch.cat(tuple(parts), dim=axis)

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        return x.expand(tuple(shape))

    def pad2d(self, x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        return F.pad(x, (*columns, *rows))

    def matmul(self, a: Array, b: Array) -> Array:
        return torch.matmul(a, b)

    def cache_places(self, start: Array, new: int, capacity: int) -> Places:
        rows, ahead, places = (torch.arange(n, device=start.device) for n in (start.shape[0], new, capacity))
        at = start[:, None] + ahead
        return Places(start, rows[:, None], at, (places <= at[..., None])[:, None])

    def cache_update(self, cache: Array, new: Array, places: Places) -> Array:
        by_place, at = cache.transpose(1, 2), (places.rows, places.new)
        if self.updates_in_place:
            by_place[at] = new.transpose(1, 2)
            return cache
        return by_place.index_put(at, new.transpose(1, 2)).transpose(1, 2)

    def cached_attention(self, query: Array, key: Array, value: Array, places: Places) -> Array:
        b, heads, t, width = query.shape
        served = heads // key.shape[1]
        # The queries that share a head of the cache are its rows: no runtime needs to repeat the cache for them.
        folded = query.reshape(b, key.shape[1], served * t, width)
        mask = places.seen if t == 1 else places.seen.repeat(1, 1, served, 1)
        return F.scaled_dot_product_attention(folded, key, value, attn_mask=mask).reshape(b, heads, t, width)

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        weights, ids = torch.topk(torch.softmax(logits, -1), k)
        return weights / weights.sum(-1, keepdim=True) if is_normalized else weights, ids

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        gathered = by_mask if torch.compiler.is_compiling() else by_expert
        return gathered(expert, x, weights, ids, parameters_of(parameters, prefix, n))

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        return F.cross_entropy(logits, labels)

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))

    def exp(self, x: Array) -> Array:
        return torch.exp(x)

    def log_softmax(self, x: Array) -> Array:
        return torch.log_softmax(x, -1)

    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        return -F.cross_entropy(logits, labels, reduction="none")

    def recomputing(self) -> TorchOps:
        other = copy(self)
        other.recomputes = True
        return other

    def repeat(
        self, block: Callable[[Array, Parameters], Array], x: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        if not self.recomputes:
            return super().repeat(block, x, parameters, prefix, n)
        again = recomputed_eagerly if self.updates_in_place or torch.compiler.is_compiling() else recomputed
        for i in range(n):
            x = again(block, x, subset(parameters, f"{prefix}.{i}."))
        return x

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.permute(tuple(axes))

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        return torch.chunk(x, parts, dim=-1) if isinstance(parts, int) else torch.split(x, tuple(parts), dim=-1)

    def arange(self, n: int, like: Array) -> Array:
        return torch.arange(n, dtype=like.dtype, device=like.device)

    def sqrt(self, x: Array) -> Array:
        return torch.sqrt(x)

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        return evaluate(graph, tensors)

    def cast(self, x: Array, dtype: str) -> Array:
        return x.to(getattr(torch, dtype))

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        return value_and_grad(f, parameters)


class EagerTorchOps(TorchOps):
    """The same for a step that runs eagerly, where nobody looks at the running statistics of the step before."""

    updates_in_place = True

    def rope_turns(self, cos: Array, sin: Array) -> tuple[Tensor, Tensor]:
        c, s = (x.unsqueeze(-3) for x in (cos, sin))
        return torch.cat([c, c], -1), torch.cat([-s, s], -1)

    def rope(self, x: Array, cos: Array, sin: Array) -> Array:
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def value_and_grad(
    f: Callable[[Parameters], tuple[Tensor, Parameters]], parameters: Parameters
) -> tuple[tuple[Tensor, Parameters], Parameters]:
    """Returns `f(parameters)`, a scalar and something beside it, and the scalar's gradient, through `torch.func`."""
    gradients, both = torch.func.grad_and_value(f, has_aux=True)(dict(parameters))
    return both, gradients


def to_torch(array: NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Returns a copy of `array` on `device`; floating arrays in `dtype` where one is given."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
