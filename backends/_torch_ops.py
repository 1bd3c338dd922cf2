"""PyTorch: the binding of the vocabulary. Apart from the step, so that references and graphs depend on it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends._torch_experts import by_expert, by_mask, parameters_of
from backends._torch_graph import evaluate
from workloads.graph import Graph
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Expert, Ops, Parameters


class TorchOps(Ops):
    """The operations in PyTorch, each bound to the native kernel. Pure: running statistics are returned anew."""

    updates_in_place: ClassVar[bool] = False
    """Whether `batch_norm` changes the running statistics that it is given, and returns them."""
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

    def cache_update(self, cache: Array, new: Array, start: Array) -> Array:
        rows = torch.arange(cache.shape[0], device=cache.device)[:, None]
        places = start[:, None] + torch.arange(new.shape[2], device=cache.device)
        by_place = cache.transpose(1, 2)
        if self.updates_in_place:
            by_place[rows, places] = new.transpose(1, 2)
            return cache
        return by_place.index_put((rows, places), new.transpose(1, 2)).transpose(1, 2)

    def cached_attention(self, query: Array, key: Array, value: Array, start: Array) -> Array:
        b, heads, t, width = query.shape
        served = heads // key.shape[1]
        places, new = (torch.arange(n, device=query.device) for n in (key.shape[2], t))
        seen = places <= (start[:, None] + new)[..., None]
        # The queries that share a head of the cache are its rows: no runtime needs to repeat the cache for them.
        folded = query.reshape(b, key.shape[1], served * t, width)
        mask = seen[:, None, None].expand(b, 1, served, t, key.shape[2]).reshape(b, 1, served * t, key.shape[2])
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
