"""FLOPs and compulsory bytes of a step, counted by running the model on shapes alone.

A multiply-add is 2 FLOPs; only matrix products and convolutions count, attention with its full square (the
convention of `torch.utils.flop_counter` and of Chowdhery et al. 2022, arXiv:2204.02311, appendix B). Of a mixture's
experts those that a router chooses count: FLOPs are those of k rows for each token, and bytes are of as many different
experts as the tokens of a step can choose: all, or tokens times k where that is less, each read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

from workloads.generate import DECODE, PREFILL, Generating
from workloads.graph import Graph
from workloads.graph.count import elements_read, flops
from workloads.models._transfer import Transfer
from workloads.ops import Array, Expert, Ops, Parameters, subset
from workloads.own.onnx_file import FileProgram
from workloads.program import Program

_ITEM_BYTES = {"float32": 4, "int64": 8}


@dataclass(frozen=True)
class Counts:
    """FLOPs and compulsory bytes of one step."""

    flops: int
    minimum_bytes: int


@dataclass
class _Tally:
    """What is added up while a model runs on shapes. `elements_read` is by parameter."""

    forward_flops: int = 0
    backward_flops: int = 0
    elements_read: dict[str, int] = field(default_factory=dict)
    cache_elements: float = 0.0
    """What is read of caches and written into them, of places that queries see."""


@dataclass(frozen=True)
class _Shape:
    """An array without elements. `source` names the parameter it is, or is a view of."""

    shape: tuple[int, ...]
    needs_gradient: bool
    tally: _Tally
    source: str | None = None

    def read(self, elements: int | None = None) -> None:
        if self.source is not None:
            seen = self.tally.elements_read.get(self.source, 0)
            self.tally.elements_read[self.source] = max(seen, elements or prod(self.shape))

    def __add__(self, other: Any) -> _Shape:
        operands = [self, other] if isinstance(other, _Shape) else [self]
        return _result(operands, _broadcast(*(operand.shape for operand in operands)))

    def __getitem__(self, key: tuple[slice | int, ...]) -> _Shape:
        shape: list[int] = []
        for axis, n in enumerate(self.shape):
            index = key[axis] if axis < len(key) else slice(None)
            if isinstance(index, slice):
                shape.append(len(range(*index.indices(n))))
        return _result([self], tuple(shape))

    __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __add__


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    width = max(map(len, shapes))
    padded = [(1,) * (width - len(shape)) + shape for shape in shapes]
    return tuple(max(axis) for axis in zip(*padded, strict=True))


def _result(operands: Sequence[_Shape], shape: tuple[int, ...]) -> _Shape:
    for operand in operands:
        operand.read()
    return _Shape(shape, any(operand.needs_gradient for operand in operands), operands[0].tally)


def _pooled(sides: Sequence[int], kernel: int, stride: int, padding: int) -> tuple[int, ...]:
    return tuple((side + 2 * padding - kernel) // stride + 1 for side in sides)


def _view(x: _Shape, shape: tuple[int, ...]) -> _Shape:
    return _Shape(shape, x.needs_gradient, x.tally, x.source)


class CountOps(Ops):
    """The vocabulary on shapes. A product's gradient costs one product per operand that needs one.

    Of a cache a query sees `keys_seen` places, on average over the steps.
    """

    keys_seen: float = 0.0

    def _product(self, left: _Shape, right: _Shape, flops: int) -> None:
        left.tally.forward_flops += flops
        left.tally.backward_flops += flops * (left.needs_gradient + right.needs_gradient)

    def embedding(self, table: Array, ids: Array) -> Array:
        rows, width = table.shape
        table.read(min(rows, prod(ids.shape)) * width)
        return _Shape((*ids.shape, width), table.needs_gradient, table.tally)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        n_out = weight.shape[0 if layout == "oi" else 1]
        self._product(x, weight, 2 * prod(x.shape) * n_out)
        return _result([x, weight] if bias is None else [x, weight, bias], (*x.shape[:-1], n_out))

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        n_out, n_in, *kernel = weight.shape
        sides = (_pooled([side], k, stride, padding)[0] for side, k in zip(x.shape[2:], kernel, strict=True))
        shape = (x.shape[0], n_out, *sides)
        self._product(x, weight, 2 * prod(shape) * n_in * prod(kernel))
        return _result([x, weight] if bias is None else [x, weight, bias], shape)

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Literal["oi", "io"]
    ) -> Array:
        return self.w8_linear(x, codes, scale, bias, layout)

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        return self.w8_conv2d(x, codes, scale, bias, stride, padding)

    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Literal["oi", "io"]) -> Array:
        scale.read()
        return self.linear(x, codes, bias, layout)

    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        scale.read()
        return self.conv2d(x, codes, stride, padding)

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        return _result([x, *p.values()], x.shape), {
            name: p[name] for name in ("running_mean", "running_var") if training
        }

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        return _result([x], (*x.shape[:2], *_pooled(x.shape[2:], kernel, stride, padding)))

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        dropped = {axis % len(x.shape) for axis in axes}
        return _result([x], tuple(n for axis, n in enumerate(x.shape) if axis not in dropped))

    def _alike(self, x: Array) -> Array:
        return _result([x], x.shape)

    relu = tanh = sqrt = exp = log_softmax = _alike

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        return _result([x] if weight is None or bias is None else [x, weight, bias], x.shape)

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return _result([x], x.shape)

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        scores = _result([query, key], (*query.shape[:-1], key.shape[-2]))
        self._product(query, key, 2 * prod(scores.shape) * query.shape[-1])
        self._product(scores, value, 2 * prod(scores.shape) * value.shape[-1])
        return _result([scores, value], (*query.shape[:-1], value.shape[-1]))

    def concatenate(self, parts: Sequence[Array], *, axis: int = -1) -> Array:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return _result(parts, tuple(shape))

    def matmul(self, a: Array, b: Array) -> Array:
        shape = (*_broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        self._product(a, b, 2 * prod(shape) * a.shape[-1])
        return _result([a, b], shape)

    def cache_update(self, cache: Array, new: Array, start: Array) -> Array:
        cache.tally.cache_elements += prod(new.shape)
        return cache

    def cached_attention(self, query: Array, key: Array, value: Array, start: Array) -> Array:
        b, heads, _, width = key.shape
        query.tally.cache_elements += 2 * b * heads * self.keys_seen * width
        query.tally.forward_flops += round(4 * prod(query.shape) * self.keys_seen)
        return _result([query], query.shape)

    def route(self, logits: Array, k: int, is_normalized: bool) -> tuple[Array, Array]:
        chosen = (logits.shape[0], k)
        return _result([logits], chosen), _Shape(chosen, False, logits.tally)

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        """Each row goes through its own experts alone, and of the experts as many are read as rows can choose."""
        rows, width = prod(ids.shape), x.shape[-1]
        for i in range(self._experts_read(rows, n)):
            seen = replace(x, shape=(rows if i == 0 else 0, width), source=None)
            expert(seen, subset(parameters, f"{prefix}.{i}."))
        return _result([x, weights], x.shape)

    def _experts_read(self, rows: int, n: int) -> int:
        return min(rows, n)

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        return _result([logits], ())

    def log_likelihood(self, logits: Array, labels: Array) -> Array:
        return _result([logits], logits.shape[:-1])

    def recomputing(self) -> Ops:
        return self  # what is computed twice is work done once

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        others = prod(n for n in shape if n != -1)
        return _view(x, tuple(prod(x.shape) // others if n == -1 else n for n in shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return _view(x, tuple(x.shape[axis] for axis in axes))

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        lengths = [x.shape[-1] // parts] * parts if isinstance(parts, int) else parts
        return [_view(x, (*x.shape[:-1], n)) for n in lengths]

    def arange(self, n: int, like: Array) -> Array:
        return _Shape((n,), False, like.tally)

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        given = {x.name: tensors[x.name] for x in graph.inputs.values()}
        differentiated = {name for name, x in given.items() if x.needs_gradient}
        forward, backward = flops(graph, differentiated)
        tally = next(iter(tensors.values())).tally
        tally.forward_flops += forward
        tally.backward_flops += backward
        for name, elements in elements_read(graph).items():
            given[name].read(elements)
        shapes = {name: graph.result(reference).shape for name, reference in graph.outputs.items()}
        return {name: _Shape(shape, bool(differentiated), tally) for name, shape in shapes.items()}

    def cast(self, x: Array, dtype: str) -> Array:
        return _view(x, x.shape)

    def value_and_grad(
        self, f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
    ) -> tuple[tuple[Array, Parameters], Parameters]:
        return f({name: replace(x, needs_gradient=True) for name, x in parameters.items()}), parameters


def on_shapes(program: Program, ops_of: Callable[[Parameters], Ops] | None = None) -> tuple[_Tally, dict[str, Array]]:
    """Returns what was added up while one step ran on shapes, and its outputs.

    `ops_of` returns the vocabulary, given the shapes that stand for the constants.
    """
    counting = CountOps()
    counting.keys_seen = program.keys_seen or 0.0
    tally = _Tally()
    constants = {spec.name: _Shape(spec.shape, False, tally, spec.name) for spec in program.constants}
    state = {spec.name: _Shape(spec.shape, False, tally) for spec in program.state}
    batch = {spec.name: _Shape(spec.shape, False, tally) for spec in program.inputs}
    outputs, _ = program.step(ops_of(constants) if ops_of else counting, constants, state, batch)
    return tally, outputs


def output_names(program: Program) -> tuple[str, ...]:
    """Returns the names of what one step returns beside its next state, in order."""
    return program.names if isinstance(program, FileProgram) else tuple(on_shapes(program)[1])


def count(program: Program, constant_bytes: int = 4) -> Counts:
    """Returns the FLOPs and compulsory bytes of one step: constants of `constant_bytes` each, all else in float32.

    Compulsory bytes are what even a perfect cache must move: constants are read (of an embedding only the rows looked
    up), the state is read and written once (of a cache what the step's queries see is read, and what is new written),
    inputs are read, outputs written. Scalars fit a register; activations and
    gradients count as cached. A generation is its prefill and its decode steps, the first token being the prefill's.
    Of a transfer count the bytes that cross the link.
    """
    if isinstance(program, FileProgram):
        return Counts(program.flops, program.minimum_bytes)
    if isinstance(program, Generating):
        first, each = (count(program.parts[name].programs[name], constant_bytes) for name in (PREFILL, DECODE))
        n = program.tokens - 1
        return Counts(first.flops + n * each.flops, first.minimum_bytes + n * each.minimum_bytes)
    if isinstance(program, Transfer):
        return Counts(0, sum(prod(spec.shape) * _ITEM_BYTES[spec.dtype] for spec in program.inputs))
    tally, outputs = on_shapes(program)
    constants = sum(tally.elements_read.values())
    elements = round(tally.cache_elements) or 2 * sum(spec.size for spec in program.state if spec.shape)
    elements += sum(prod(output.shape) for output in outputs.values() if output.shape)
    input_bytes = sum(prod(spec.shape) * _ITEM_BYTES[spec.dtype] for spec in program.inputs)
    return Counts(tally.forward_flops + tally.backward_flops, constant_bytes * constants + 4 * elements + input_bytes)
