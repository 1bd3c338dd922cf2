"""The reference with the noise of a precision in every operation: what correct code of that precision may err.

It runs in float64. Each floating result that an operation computes is multiplied by 1 + u·x, x uniform in ±1, u the
unit roundoff of its type. Sums of k terms err as sums in float32 one by one do: the terms of one operand by u·√(k/2),
for random signs, and the result by u·√k/3, for one sign; kernels block the sums of products, so that there k counts up
to `BLOCK`. What moves, chooses or compares elements is exact. A type shorter than float32 travels as float32, whose own
roundoff is thousands of times finer: the type of a tensor says which roundoff it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod, sqrt
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from backends._torch_graph import evaluate_with
from backends._torch_ops import TorchOps
from workloads.graph import WIDE, Graph
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Ops, Parameters
from workloads.precision import FLOAT32, ROUNDOFF, Precision

BLOCK = 512
"""So many terms of a product are summed one by one, at most, before a kernel begins another sum."""
POOL = 1 << 22
FULL, LOW = torch.float64, torch.float32
# fmt: off
EXACT = frozenset({
    "_local_scalar_dense", "_reshape_alias", "_shape_as_tensor", "_to_copy", "_unsafe_view", "abs", "alias", "amax",
    "amin", "arange", "argmax", "argmin", "as_strided", "cat", "clone", "constant_pad_nd", "copy_", "detach",
    "diagonal", "embedding", "empty", "empty_like", "eq", "expand", "fill_", "full", "full_like", "gather", "ge",
    "gt", "index", "index_select", "le", "lift", "lift_fresh", "lt", "masked_fill", "max", "max_pool2d_with_indices",
    "maximum", "min", "minimum", "narrow", "ne", "neg", "new_empty", "new_empty_strided", "new_full", "new_ones",
    "new_zeros", "ones", "ones_like", "permute", "relu", "repeat", "reshape", "resize_", "scalar_tensor", "scatter",
    "select", "select_backward", "set_", "slice", "slice_backward", "split", "split_with_sizes", "squeeze", "stack",
    "t", "threshold_backward", "topk", "transpose", "tril", "triu", "unbind", "unfold", "unsqueeze", "view", "where",
    "zero_", "zeros", "zeros_like",
})
# fmt: on
"""Operations that move, choose or compare."""
KINKED = frozenset({"max_pool2d_with_indices", "relu", "threshold_backward"})
"""Those that turn a small difference into another path: near a kink correct code may fall on the other side."""
SUMS = frozenset({"mean", "sum"})
PRODUCTS: Mapping[str, tuple[int, Callable[..., int]]] = {
    "addmm": (1, lambda bias, a, b, *_: a.shape[-1]),
    "baddbmm": (1, lambda bias, a, b, *_: a.shape[-1]),
    "bmm": (0, lambda a, b, *_: a.shape[-1]),
    "convolution": (0, lambda x, weight, *more: _terms(weight, *more)),
    "convolution_backward": (0, lambda gradient, x, weight, *_: _terms_backward(gradient, weight)),
    "dot": (0, lambda a, b, *_: a.shape[-1]),
    "mm": (0, lambda a, b, *_: a.shape[-1]),
    "mv": (0, lambda a, b, *_: a.shape[-1]),
}
"""Products: where their first operand stands among the arguments, and how many terms each of their sums has."""


def _terms(weight: Tensor, *more: Any) -> int:
    """Returns how many terms each sum of a convolution has; where it is transposed, those of a stride as its kernel."""
    is_transposed = bool(more[4])
    return weight.shape[0] if is_transposed else prod(weight.shape[1:])


def _terms_backward(gradient: Tensor, weight: Tensor) -> int:
    """Returns how many terms the longer of the two sums has: those of the input's gradient, of the weight's."""
    return int(max(weight.numel() // weight.shape[1], gradient.numel() // gradient.shape[1]))


class Noise(TorchDispatchMode):
    """While it is entered every operation errs as one of `precision` may, by numbers drawn from `seed`.

    `kinked` counts the elements that met a kink so far.
    """

    def __init__(self, precision: Precision, seed: int) -> None:
        super().__init__()
        self.precision = precision
        self.random = Random(seed)
        self.kinked = 0
        self._is_on = True
        generator = torch.Generator().manual_seed(seed)
        self._pool = torch.rand(POOL, generator=generator, dtype=FULL) * 2 - 1

    @contextmanager
    def off(self) -> Iterator[None]:
        """Lets operations be exact meanwhile."""
        self._is_on, before = False, self._is_on
        try:
            yield
        finally:
            self._is_on = before

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if not self._is_on:
            return func(*args, **kwargs)
        arguments = list(args)
        k = 1
        if name in PRODUCTS:
            place, terms = PRODUCTS[name]
            k = min(BLOCK, terms(*args))
            if coarse := self.precision.operands:
                arguments[place], arguments[place + 1] = (self.erring(args[at], coarse) for at in (place, place + 1))
            arguments[place] = self.erring(arguments[place], ROUNDOFF * sqrt(k / 2))
        elif name in SUMS and args[0].is_floating_point():
            out = func(*args, **kwargs)
            k = max(1, args[0].numel() // max(1, out.numel()))
            if k > 1:
                arguments[0] = self.erring(args[0], ROUNDOFF * sqrt(k / 2))
        result = func(*arguments, **kwargs)
        if name == "_to_copy":
            if isinstance(args[0], Tensor) and (args[0].dtype, result.dtype) == (FULL, LOW):
                self._err(result, 1)
        elif name in KINKED:
            self.kinked += args[0].numel()
        elif name not in EXACT and not func.is_view:
            for out in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(out, Tensor) and out.is_floating_point():
                    self._err(out, k)
        return result

    def _err(self, out: Tensor, k: int) -> None:
        """Multiplies `out`, the sum of `k` terms, by what rounding may make of it, in place."""
        of_type = self.precision.unit if out.dtype == LOW else ROUNDOFF
        sums = ROUNDOFF * sqrt(k) / 3 if k > 1 else 0.0
        out.mul_(self._numbers(out).mul_(sqrt(of_type**2 + sums**2)).add_(1))
        if out.dtype == LOW and self.precision.smallest:
            out.add_(self._numbers(out).mul_(out != 0), alpha=self.precision.smallest / 2)

    def erring(self, x: Tensor, by: float) -> Tensor:
        """Returns `x`, each of its elements off by a random part of `by`."""
        return x * self._numbers(x).mul_(by).add_(1)

    def moved(self, x: Tensor, by: Tensor) -> Tensor:
        """Returns `x`, each of its elements off by a random part of `by`, whatever it is."""
        return x + self._numbers(x).mul_(by)

    def _numbers(self, like: Tensor) -> Tensor:
        """Returns fresh random numbers in ±1, of the shape and type of `like`."""
        n, pieces = like.numel(), []
        while n > 0:
            start = self.random.randrange(POOL)
            piece = self._pool[start : start + n]
            pieces.append(piece)
            n -= piece.numel()
        numbers = torch.cat(pieces) if pieces else self._pool[:0]
        return numbers.to(like.dtype).reshape(like.shape)


class ReferenceOps(TorchOps):
    """The vocabulary in float64, which stands for every type: only what a step stores is rounded, exactly."""

    widens_inside = frozenset()

    def cast(self, x: Array, dtype: str) -> Array:
        return x

    def recomputing(self) -> ReferenceOps:
        return self  # what is computed twice is the same

    def rounded(self, x: Array, dtype: str) -> Array:
        return x + (x.to(getattr(torch, dtype)).to(x.dtype) - x).detach()


class NoisyOps(ReferenceOps):
    """The same under `noise`, norms in means and products, so that their sums err as sums do.

    `routed` has the logits that routers saw, and how many experts they chose, call by call. The noise is in the loss
    and its gradient alone: what the optimiser does is held against its own rule.
    """

    def __init__(self, noise: Noise, turned: Sequence[Tensor] = ()) -> None:
        """`turned` says, for each call of `route`, of which rows the last expert gives way to the next likely one."""
        self.noise = noise
        self.routed: list[tuple[Tensor, int]] = []
        self._turned = turned

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        with self.noise.off():
            self.routed.append((logits.detach().clone(), k))
        if not self._turned:
            return super().route(logits, k, is_normalized)
        shares, ids = torch.topk(torch.softmax(logits, -1), k + 1)
        last = torch.where(self._turned[len(self.routed) - 1], k, k - 1)[:, None]
        weights, ids = (torch.cat([x[:, : k - 1], x.gather(1, last)], -1) for x in (shares, ids))
        return weights / weights.sum(-1, keepdim=True) if is_normalized else weights, ids

    def cast(self, x: Array, dtype: str) -> Array:
        return x.to(FULL if dtype == FLOAT32 else LOW)

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        # What is shorter than float32 travels as float32, all else in float64.
        compute = self.noise.precision.compute
        carried = {compute: FLOAT32} if compute != FLOAT32 else {}
        return evaluate_with(graph.typed(lambda dtype: carried.get(dtype, WIDE.get(dtype, dtype))), tensors, {})

    def rounded(self, x: Array, dtype: str) -> Array:
        with self.noise.off():
            return super().rounded(x, dtype).to(LOW)

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        mean, variance = p["running_mean"], p["running_var"]
        statistics = {}
        along = (slice(None), *(None,) * (x.dim() - 2))
        if training:
            others = (0, *range(2, x.dim()))
            mean = x.mean(others)
            centred = x - mean[along]
            variance = (centred * centred).mean(others)
            n = x.numel() // x.shape[1]
            batch = {"running_mean": mean, "running_var": variance * (n / (n - 1))}
            statistics = {name: p[name] + BATCH_NORM_MOMENTUM * (batch[name] - p[name]) for name in batch}
        scale = p["weight"] / torch.sqrt(variance + BATCH_NORM_EPSILON)
        return (x - mean[along]) * scale[along] + p["bias"][along], statistics

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        return Ops.layer_norm(self, x, weight, bias, epsilon)

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        leaves = {name: x.detach().requires_grad_() for name, x in parameters.items()}
        with torch.enable_grad(), self.noise:
            value, after = f(leaves)
            gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        detached = {name: x.detach() for name, x in after.items()}
        return (value.detach(), detached), dict(zip(leaves, gradients, strict=True))
