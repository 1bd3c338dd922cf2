"""The vocabulary of operations in which every model is written; each framework binds it once.

Arrays are whatever the framework calls an array; `+ - * /` and basic indexing (integers and slices, `x[:, 0]`) are
its own operators. An operation enters the vocabulary when two models need it or a runtime has a fused kernel for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal

from workloads.graph import Graph
from workloads.vocabulary import scoped
from workloads.vocabulary.codes import ProductsOfCodes
from workloads.vocabulary.images import ImageOps

BATCH_NORM_MOMENTUM = 0.1
BATCH_NORM_EPSILON = 1e-5

Array = Any
Parameters = Mapping[str, Array]
Scoped, subset = scoped.Scoped, scoped.subset
Expert = Callable[[Array, Parameters], Array]
"""`expert(rows, p)`: what one expert of a mixture makes of rows (R, D), with its own parameters."""


class Ops(ImageOps, ProductsOfCodes, ABC):
    """The operations a framework must offer. Shapes are given with B batch, T sequence, H heads, D head size.

    The abstract ones are those of the first edition, and stay all that a binding must have: every later operation has a
    default that is composed of others, so that no binding outside breaks. A binding overrides it where its runtime has
    a kernel.
    """

    @abstractmethod
    def embedding(self, table: Array, ids: Array) -> Array:
        """Rows of `table` (rows, D) at integer `ids` (...), as (..., D)."""

    @abstractmethod
    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        """`x` (..., in) times `weight` plus `bias` (out), as (..., out).

        `layout` says how the published weight lies: "oi" (out, in) as in `torch.nn.Linear`, "io" (in, out) as
        in GPT-2's `Conv1D`.
        """

    @abstractmethod
    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        """`x` (B, C, H, W) correlated with `weight` (out, C / groups, rows, columns), zero padding on all sides.

        `bias` is (out). Of `groups` each reads its own channels and gives its own. Both came later: a binding from
        outside that takes neither runs the models that ask for neither.
        """

    @abstractmethod
    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        """`x` (B, C, H, W) or (B, C) normalised over all but C, and the running statistics after it (arXiv:1502.03167).

        `p` has `weight`, `bias`, `running_mean` and `running_var` (C). In training the batch's mean and biased
        variance normalise, and the running statistics move by `BATCH_NORM_MOMENTUM` towards the batch's mean and
        *unbiased* variance; else the running statistics normalise, and none are returned.
        """

    @abstractmethod
    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        """The maximum over windows of `x` (B, C, H, W); padding never wins."""

    @abstractmethod
    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        """The mean over `axes`, which are dropped."""

    @abstractmethod
    def relu(self, x: Array) -> Array:
        """max(x, 0)."""

    @abstractmethod
    def tanh(self, x: Array) -> Array:
        """Hyperbolic tangent."""

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        """`x` normalised over its last axis, biased variance (Ba et al. 2016, arXiv:1607.06450).

        None stands for a weight of ones with a bias of zeros: both or neither.
        """
        kept = (*x.shape[:-1], 1)
        centred = x - self.reshape(self.mean(x, (-1,)), kept)
        variance = self.reshape(self.mean(centred * centred, (-1,)), kept)
        y = centred / self.sqrt(variance + epsilon)
        return y if weight is None else y * weight + bias

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """`x` by the root of the mean of its squares over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467)."""
        squares = self.reshape(self.mean(x * x, (-1,)), (*x.shape[:-1], 1))
        return x / self.sqrt(squares + epsilon) * weight

    def silu(self, x: Array) -> Array:
        """x times its logistic function (Elfwing et al. 2017, arXiv:1702.03118)."""
        return x * (self.tanh(x * 0.5) * 0.5 + 0.5)

    def rope_turns(self, cos: Array, sin: Array) -> tuple[Array, Array]:
        """What `rope` is told of cosines and sines, once for all layers: as it stands, themselves."""
        return cos, sin

    def rope(self, x: Array, cos: Array, sin: Array) -> Array:
        """`x` (B, H, T, D) with the pairs (i, i + D/2) of its last axis turned, by angles whose `cos` and `sin` are
        given as (T, D/2) or (B, T, D/2) (Su et al. 2021, arXiv:2104.09864, in the order of the published weights), as
        `rope_turns` gives them.
        """
        c, s = (self.reshape(one, (*one.shape[:-2], 1, *one.shape[-2:])) for one in (cos, sin))
        a, b = self.split(x, 2)
        return self.concatenate([a * c - b * s, b * c + a * s])

    @abstractmethod
    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        """Gaussian error linear unit, exact or by tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""

    @abstractmethod
    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        """Scaled dot-product attention over (B, H, T, D), scale 1/sqrt(D) (Vaswani et al. 2017).

        `key` and `value` may have fewer heads, of which each serves as many queries that follow each other
        (Ainslie et al. 2023, arXiv:2305.13245): H a multiple of theirs.
        """

    @abstractmethod
    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Mean negative log-likelihood of integer `labels` (N) under `logits` (N, classes), a scalar.

        Labels equal to `IGNORED_LABEL` are left out of the mean.
        """

    @abstractmethod
    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """`x` with another shape, elements in the same order."""

    @abstractmethod
    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        """`x` with its axes permuted."""

    @abstractmethod
    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        """`x` cut along its last axis into `parts` equal pieces, or into pieces of those lengths."""

    @abstractmethod
    def arange(self, n: int, like: Array) -> Array:
        """The integers 0 … n-1, on the device and in the dtype of `like`."""

    @abstractmethod
    def sqrt(self, x: Array) -> Array:
        """Element-wise square root."""

    def concatenate(self, parts: Sequence[Array], *, axis: int = -1) -> Array:
        """The parts behind each other along an axis.

        Not composed of others: a binding without it has no rotary positions. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no concatenate: it needs one for rotary positions")

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        """`x` repeated along its axes of length 1, as `shape`."""
        zeros = self.reshape(self.arange(prod(shape), like=x) * 0.0, shape)
        return x + zeros

    def matmul(self, a: Array, b: Array) -> Array:
        """Products of the matrices `a` (..., M, K) and `b` (..., K, N), as (..., M, N).

        Not composed of others: a binding without it multiplies by weights alone. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no matmul: it needs one for products of two activations")

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Mean negative log-likelihood of `labels` (N), integers 0 or 1, under the logistic function of `logits` (N).

        Composed: that of the two classes whose logits are 0 and `logits`.
        """
        second = self.reshape(logits, (-1, 1))
        return self.cross_entropy(self.concatenate([second * 0.0, second]), labels)

    def cache_places(self, start: Array, new: int, capacity: int) -> Any:
        """What `cache_update` and `cached_attention` are told of the places of `new` tokens, once for all layers.

        Those of row b are `start[b]` … `start[b] + new - 1`, integers, in caches with `capacity` places. By default
        `start` (B,) itself; a binding that runs eagerly makes here what it would else make in each layer.
        """
        return start

    def cache_update(self, cache: Array, new: Array, places: Any) -> Array:
        """`cache` (B, H, S, D) in which row b has `new[b]` (H, T, D) at its `places`: `cache_places(start, T, S)`.

        What they name lies within S. As ONNX's TensorScatter. Not composed of others: a binding without it and
        `cached_attention` decodes nothing. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no cache_update: it needs one to decode with a cache")

    def cached_attention(self, query: Array, key: Array, value: Array, places: Any) -> Array:
        """Attention of `query` (B, H, T, D) over caches (B, H or fewer, S, D): query t of row b sees the places 0 …
        `start[b] + t`, and nothing of what lies beyond; `places` are `cache_places(start, T, S)`.
        """
        raise TypeError(f"{type(self).__name__} has no cached_attention: it needs one to decode with a cache")

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        """Weights and ids, each (N, k), of the `k` experts that each row of `logits` (N, experts) is sent to.

        The weights are the largest of the softmax over all experts; `is_normalized`, by their sum (Jiang et al. 2024,
        arXiv:2401.04088). Not composed of others: a binding without it has no mixture of experts. Raises TypeError
        there.
        """
        raise TypeError(f"{type(self).__name__} has no route: it needs one, and experts, for a mixture of experts")

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        """For each row of `x` (N, D) the sum over its `k` experts of weight times `expert(row, p)`, as (N, D).

        `weights` and `ids` (N, k) are those of `route`; `expert(rows, p)` takes rows (R, D) and the parameters under
        `prefix.i.` of one of `n` experts, stripped of that prefix. How rows come to their experts is the binding's:
        those of each expert are gathered, or an expert sees all and counts where it was chosen.
        """
        raise TypeError(f"{type(self).__name__} has no experts: it needs one, and route, for a mixture of experts")

    def wide(self) -> Ops:
        """The vocabulary in which a loss is computed, from what `log_softmax` and `log_likelihood` return: float32."""
        return self

    def exp(self, x: Array) -> Array:
        """Element-wise exponential. Not composed of others. Raises TypeError in a binding without it."""
        raise TypeError(f"{type(self).__name__} has no exp: it needs one for policy gradients and distillation")

    def log_softmax(self, x: Array) -> Array:
        """The logarithm of the softmax over the last axis. Raises TypeError in a binding without it."""
        raise TypeError(f"{type(self).__name__} has no log_softmax: it needs one for distillation")

    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        """The log-probability (N) of each of the integer `labels` (N) under `logits` (N, classes), by their softmax.

        `cross_entropy` is minus its mean. Raises TypeError in a binding without it.
        """
        raise TypeError(f"{type(self).__name__} has no log_likelihood: it needs one for preferences and policies")

    def recomputing(self) -> Ops:
        """Returns the same vocabulary, whose `repeat` keeps what goes into each block and computes the rest again in
        the backward pass (Chen et al. 2016, arXiv:1604.06174). Raises TypeError in a binding without it.
        """
        raise TypeError(
            f"{type(self).__name__} recomputes nothing: it needs recomputing() for activation checkpointing"
        )

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        """The outputs by name of a user's model, for `tensors` by name; in float64 where those that float all are.

        Raises TypeError in a binding without it, UnsupportedOperator for an operator that a binding lacks.
        """
        raise TypeError(f"{type(self).__name__} has no evaluate: it needs one for a model that is given as a graph")

    widens_inside: frozenset[str] = frozenset()
    """Names of operations that take a type shorter than float32 and compute inside in float32, rounding once."""

    def cast(self, x: Array, dtype: str) -> Array:
        """`x` in another floating type, by NumPy's name of it, rounded to nearest even.

        Not composed of others: a binding without it computes in float32 alone. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no cast: it needs one for every precision but fp32")

    def rounded(self, x: Array, dtype: str) -> Array:
        """What a step keeps of a stored tensor `x` (a parameter, an input) in a shorter type; a gradient passes.

        For a runtime that is `cast`. A reference in float64 rounds here, exactly as all do, and nowhere else.
        """
        return self.cast(x, dtype)

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        """`f(parameters)`, a scalar and something beside it, and the scalar's gradient by name.

        Not composed of others: a binding without it cannot train. Raises TypeError there.
        """
        raise TypeError(f"{type(self).__name__} has no differentiation: it needs value_and_grad to train")

    def repeat(
        self, block: Callable[[Array, Parameters], Array], x: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        """`block` applied `n` times, each time with the parameters under `prefix.i.`, stripped of that prefix.

        All that a block reads and is differentiated by comes to it so, or as `x`: one that is computed again sees only
        the gradients of these.

        Repetition is named so that a binding can later scan, shard or checkpoint over it.
        """
        for i in range(n):
            x = block(x, subset(parameters, f"{prefix}.{i}."))
        return x
