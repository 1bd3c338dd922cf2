"""FLOPs of an ONNX file, counted while it is evaluated: by the shapes that its values really have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

Flops = Callable[[Any, Sequence[Any], Any], int]


def _recurrent(node: Any, inputs: Sequence[Any], out: Any) -> int:
    x, weight, recurrence = inputs[:3]
    return 2 * x.shape[0] * x.shape[1] * (weight.size + recurrence.size)


def _einsum(node: Any, inputs: Sequence[Any], out: Any) -> int:
    """Counts one product of all dimensions that the equation names; equations with dots count nothing."""
    terms = node.equation.replace(" ", "").partition("->")[0].split(",")
    if any("." in term for term in terms):
        return 0
    sides = {letter: n for term, x in zip(terms, inputs, strict=False) for letter, n in zip(term, x.shape, strict=True)}
    return 2 * prod(sides.values())


FLOPS: Mapping[str, Flops] = {
    "Conv": lambda node, inputs, out: 2 * out.size * prod(inputs[1].shape[1:]),
    "ConvTranspose": lambda node, inputs, out: 2 * inputs[0].size * prod(inputs[1].shape[1:]),
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": lambda node, inputs, out: 2 * out.size * (inputs[0].size // max(1, out.shape[0])),
    "LSTM": _recurrent,
    "MatMul": lambda node, inputs, out: 2 * out.size * inputs[0].shape[-1],
    "RNN": _recurrent,
}
"""By operator. A multiply-add is 2 FLOPs; only products and convolutions count, as in `workloads.count`."""


class Counted:
    """A node of the evaluator that adds what it computes to `flops`, by operator."""

    def __init__(self, node: Any, flops: Counter[str]) -> None:
        self._node, self._flops = node, flops

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def run(self, *inputs: Any, **context: Any) -> Any:
        results = self._node.run(*inputs, **context)
        if (count := FLOPS.get(self._node.op_type)) is not None:
            self._flops[self._node.op_type] += int(count(self._node, inputs, results[0]))
        return results
