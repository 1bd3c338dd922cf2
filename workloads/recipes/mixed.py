"""The one definition of reduced precision, for all frameworks: a wrapper of the vocabulary, and of programs.

A program is written once, in float32. `lowered` gives the same one in another precision: parameters and floating inputs
are rounded where the loss (or the inference) begins, and from there on every operation goes through `Mixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

from workloads.graph import Graph
from workloads.graph.lowered import lowered as lowered_graph
from workloads.ops import Array, Expert, Ops, Parameters, Scoped
from workloads.precision import FLOAT32, Precision
from workloads.program import Loss, Outputs, Program, training


class Mixed(Ops):
    """The vocabulary of `ops` with activations of type `low`; each operation rounds once.

    Products take and give `low`. What only moves or chooses elements stays in it. The rest is widened to float32,
    computed, and rounded; where the binding does just that inside (`Ops.widens_inside`), it is left to it.
    """

    def __init__(self, ops: Ops, low: str, graph: Graph | None = None) -> None:
        """`graph` is that of a user's module in the same type, where the program evaluates one."""
        self.ops, self.type, self.graph = ops, low, graph

    def low(self, x: Array) -> Array:
        """Returns `x` rounded to the type of activations."""
        return self.ops.cast(x, self.type)

    def full(self, x: Array) -> Array:
        """Returns `x` in float32, exactly."""
        return self.ops.cast(x, FLOAT32)

    def _once(self, name: str, x: Array, *more: Any) -> Array:
        """Returns what the operation `name` of one array gives, rounded once."""
        operation = getattr(self.ops, name)
        return operation(x, *more) if name in self.ops.widens_inside else self.low(operation(self.full(x), *more))

    def embedding(self, table: Array, ids: Array) -> Array:
        return self.ops.embedding(table, ids)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        return self.ops.linear(x, weight, bias, layout)

    def conv2d(self, x: Array, weight: Array, stride: int, padding: int, **more: Any) -> Array:
        return self.ops.conv2d(x, weight, stride, padding, **more)

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array) -> Array:
        return self.ops.conv_transpose2d(x, weight, bias)

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        wide = {name: self.full(tensor) for name, tensor in p.items()}
        if "batch_norm" in self.ops.widens_inside:
            return self.ops.batch_norm(x, wide, training)
        y, statistics = self.ops.batch_norm(self.full(x), wide, training)
        return self.low(y), statistics

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        return self._once("max_pool2d", x, kernel, stride, padding)

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return self._once("mean", x, axes)

    def relu(self, x: Array) -> Array:
        return self.ops.relu(x)

    def tanh(self, x: Array) -> Array:
        return self._once("tanh", x)

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        if "layer_norm" in self.ops.widens_inside:
            return self.ops.layer_norm(x, weight, bias, epsilon)
        w, b = (None if one is None else self.full(one) for one in (weight, bias))
        return self.low(self.ops.layer_norm(self.full(x), w, b, epsilon))

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        if "rms_norm" in self.ops.widens_inside:
            return self.ops.rms_norm(x, weight, epsilon)
        return self.low(self.ops.rms_norm(self.full(x), self.full(weight), epsilon))

    def silu(self, x: Array) -> Array:
        return self._once("silu", x)

    def rope_turns(self, cos: Array, sin: Array) -> tuple[Array, Array]:
        return self.ops.rope_turns(self.full(cos), self.full(sin))

    def rope(self, x: Array, cos: Array, sin: Array) -> Array:
        return self.low(self.ops.rope(self.full(x), cos, sin))

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return self._once("gelu", x, approximate)

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        return self.ops.attention(query, key, value, causal)

    def concatenate(self, parts: Sequence[Array], **more: Any) -> Array:
        return self.ops.concatenate(parts, **more)

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        return self.ops.broadcast(x, shape)

    def pad2d(self, x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        return self.ops.pad2d(x, rows, columns)

    def matmul(self, a: Array, b: Array) -> Array:
        return self.ops.matmul(a, b)

    def cache_places(self, start: Array, new: int, capacity: int) -> Any:
        return self.ops.cache_places(start, new, capacity)

    def cache_update(self, cache: Array, new: Array, places: Any) -> Array:
        return self.ops.cache_update(cache, new, places)

    def cached_attention(self, query: Array, key: Array, value: Array, places: Any) -> Array:
        return self.ops.cached_attention(query, key, value, places)

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        weights, ids = self.ops.route(self.full(logits), k, is_normalized)
        return self.low(weights), ids

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        return self.ops.experts(expert, x, weights, ids, parameters, prefix, n)

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        return self.ops.cross_entropy(self.full(logits), labels)

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        return self.ops.binary_cross_entropy(self.full(logits), labels)

    def wide(self) -> Ops:
        return self.ops

    def exp(self, x: Array) -> Array:
        return self._once("exp", x)

    def log_softmax(self, x: Array) -> Array:
        return self.ops.log_softmax(self.full(x))

    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        return self.ops.log_likelihood(self.full(logits), labels)

    def recomputing(self) -> Mixed:
        return Mixed(self.ops.recomputing(), self.type, self.graph)

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        if self.graph is None:
            raise ValueError("a program that evaluates a graph says so, or nobody can lower it: Program.graph")
        return self.ops.evaluate(self.graph, tensors)

    def repeat(
        self, block: Callable[[Array, Parameters], Array], x: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        return self.ops.repeat(block, x, parameters, prefix, n)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return self.ops.reshape(x, shape)

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return self.ops.transpose(x, axes)

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        return self.ops.split(x, parts)

    def arange(self, n: int, like: Array) -> Array:
        return self.ops.arange(n, like)

    def sqrt(self, x: Array) -> Array:
        return self._once("sqrt", x)

    def cast(self, x: Array, dtype: str) -> Array:
        return self.ops.cast(x, dtype)

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        return self.ops.value_and_grad(f, parameters)


def lowered(program: Program, precision: Precision, kept: Collection[str] = ()) -> Program:
    """Returns the program in `precision`; the same one where activations are float32.

    `kept` names constants that stay float32, as running statistics do. Raises ValueError for a program with a state of
    its own that is not trained: nobody has said in what type that is kept.
    """
    if not precision.is_reduced:
        return program
    low = low_inputs(program)
    graph = program.graph and lowered_graph(program.graph, precision.compute, kept)
    if program.update is not None:
        update = program.update
        again = training(
            _lowered_loss(update.loss, precision, {*kept, *(spec.name for spec in update.buffers)}, low, graph),
            update.rule,
            inputs=program.inputs,
            parameters=update.trained,
            buffers=update.buffers,
            constants=program.constants,
            work=program.work,
            loss_scale=precision.loss_scale,
            accumulate=update.accumulate,
        )
        return replace(again, period=program.period, graph=program.graph, details=program.details)
    if program.state:
        raise ValueError(f"no definition in {precision.name} for a program that carries a state")

    def outputs(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> Outputs:
        mixed, type_ = Mixed(ops, precision.compute, graph), precision.compute
        entered = _entered(ops, constants, type_, lambda name: name not in kept)
        results = program.outputs_of(mixed, entered, state, _entered(ops, batch, type_, low.__contains__))
        return {name: ops.cast(x, FLOAT32) for name, x in results.items()}

    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        return outputs(ops, constants, state, batch), {}

    return replace(program, step=step, outputs=outputs)


def low_inputs(program: Program) -> frozenset[str]:
    """Returns the names of the inputs that are rounded: those that are floating."""
    return frozenset(spec.name for spec in program.inputs if spec.dtype == FLOAT32)


def low_constants(program: Program, kept: Collection[str] = ()) -> frozenset[str]:
    """Returns the names of the constants that are rounded, so that a step may keep them so; `kept` are not."""
    return frozenset(spec.name for spec in program.constants if spec.name not in kept)


def _lowered_loss(
    loss: Loss, precision: Precision, kept: Collection[str], low: Collection[str], graph: Graph | None
) -> Loss:
    def of_mixed(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        entered = _entered(ops, p, precision.compute, lambda name: name not in kept)
        mixed = Mixed(ops, precision.compute, graph)
        return loss(mixed, entered, _entered(ops, batch, precision.compute, low.__contains__))

    return of_mixed


def _entered(ops: Ops, arrays: Parameters, low: str, is_rounded: Callable[[str], bool]) -> Parameters:
    """Returns the arrays as the step sees them; the very same mapping where all are stored so already."""
    seen = {name: ops.rounded(x, low) if is_rounded(name) else x for name, x in arrays.items()}
    if all(seen[name] is x for name, x in arrays.items()):
        return arrays
    return Scoped(seen) if isinstance(arrays, Scoped) else seen
