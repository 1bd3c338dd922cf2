"""The float64 oracle with the noise of the file's own types in every operator: what correct code may err.

The rules are those of `backends._torch_noise`, on ONNX's operators: each floating result is multiplied by 1 + u·x, x
uniform in ±1, u the unit roundoff of the type that the file gives it. Sums of k terms err by u·√(k/2) in one operand,
for random signs, and by u·√k/3 in the result, for one sign. What moves, chooses or compares elements is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from backends._onnx_file.oracle import NARROW, evaluator_of, latest
from backends._onnx_file.reading import graphs, tensors
from workloads.precision import ROUNDOFF

BLOCK = 512
"""So many terms of a product are summed one by one, at most, before a kernel begins another sum."""
SHORT = {TensorProto.FLOAT16: 2.0**-11, TensorProto.BFLOAT16: 2.0**-8}
"""The unit roundoff of types shorter than float32."""
# fmt: off
EXACT = frozenset({
    "Abs", "ArgMax", "ArgMin", "BitShift", "Ceil", "Clip", "Compress", "Concat", "ConcatFromSequence", "Constant",
    "ConstantOfShape", "DepthToSpace", "Dropout", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "GlobalMaxPool", "Identity", "If", "LeakyRelu", "Loop", "Max", "MaxPool", "Min", "Neg", "NonZero",
    "OneHot", "Optional", "Pad", "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Round",
    "Scan", "Scatter", "ScatterElements", "ScatterND", "SequenceAt", "Shape", "Sign", "Size", "Slice", "SpaceToDepth",
    "Split", "SplitToSequence", "Squeeze", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique",
    "Unsqueeze", "Where",
})
# fmt: on
"""Operators that move, choose or compare, or that hold graphs, whose own nodes err."""
KINKED = frozenset({"LeakyRelu", "MaxPool", "QuantizeLinear", "Relu"})
"""Those that turn a small difference into another path: near a kink correct code may fall on the other side."""
ABOUT_A_HALF = frozenset({"HardSigmoid", "Sigmoid"})
"""Those that kernels compute as a half and a rest, so that small results err by the roundoff of a half: ONNX Runtime's
(`MlasComputeLogistic`) adds 0.5 last of all."""
_Terms = Callable[..., int]
PRODUCTS: Mapping[str, tuple[tuple[int, _Terms], ...]] = {
    "Conv": ((0, lambda x, w, *_: prod(w.shape[1:])),),
    "ConvTranspose": ((0, lambda x, w, *_: w.size // w.shape[1]),),
    "Einsum": ((0, lambda a, *_: a.shape[-1] if a.ndim else 1),),
    "GRU": ((0, lambda x, *_: x.shape[-1]), (1, lambda x, *_: x.shape[-1]), (2, lambda x, w, r, *_: r.shape[-1])),
    "Gemm": ((0, lambda a, b, *_: max(a.shape)),),
    "LSTM": ((0, lambda x, *_: x.shape[-1]), (1, lambda x, *_: x.shape[-1]), (2, lambda x, w, r, *_: r.shape[-1])),
    "MatMul": ((0, lambda a, *_: a.shape[-1]),),
    "RNN": ((0, lambda x, *_: x.shape[-1]), (1, lambda x, *_: x.shape[-1]), (2, lambda x, w, r, *_: r.shape[-1])),
    "STFT": ((0, lambda x, *_: x.shape[-1]),),
}
"""Products: which of their inputs err, and how many terms each of the sums has."""
SUMS = frozenset({
    "AveragePool", "CumSum", "GlobalAveragePool", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMean", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
ALONG_AN_AXIS = frozenset({
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "LpNormalization",
    "RMSNormalization", "Softmax",
})  # fmt: skip
"""Those that sum inside, and return as many elements as they read."""


class Noise:
    """Random errors, drawn anew from each seed. `kinked` counts the elements that met a kink since then."""

    def __init__(self, types: Mapping[str, int]) -> None:
        """`types` are the element types of values, by name, where they are known: float32 elsewhere."""
        self.types = types
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Begins anew."""
        self.random = np.random.default_rng(seed)
        self.kinked = 0

    def erring(self, x: Any, by: float, beside: float = 0.0) -> Any:
        """Returns `x`, each element off by a random part of `by`, and by as much as `beside` of 1; else as it is."""
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return x
        out = x * (1 + by * self._numbers(x.shape))
        return np.asarray(out + beside * self._numbers(x.shape) if beside else out)

    def _numbers(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return self.random.random(shape) * 2 - 1

    def unit(self, name: str) -> float:
        """Returns the unit roundoff of the type that the file gives to the value `name`."""
        return SHORT.get(self.types.get(name, TensorProto.FLOAT), ROUNDOFF)


class Erring:
    """A node of the evaluator that errs as its operator may; all else is the node's own."""

    def __init__(self, node: Any, noise: Noise) -> None:
        self._node, self._noise = node, noise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def run(self, *inputs: Any, **context: Any) -> Any:
        name, noise = self._node.op_type, self._noise
        arguments, k = list(inputs), 1
        for place, terms in PRODUCTS.get(name, ()):
            k = max(1, min(BLOCK, terms(*inputs)))
            arguments[place] = noise.erring(inputs[place], ROUNDOFF * sqrt(k / 2))
        if name in SUMS or name in ALONG_AN_AXIS:
            k = self._terms(name, inputs, context)
            arguments[0] = noise.erring(inputs[0], ROUNDOFF * sqrt(k / 2)) if k > 1 else inputs[0]
        results = self._node.run(*arguments, **context)
        if name in KINKED:
            noise.kinked += int(np.asarray(results[0]).size)
        if name in EXACT:
            return results
        beside = ROUNDOFF / 2 if name in ABOUT_A_HALF else 0.0
        sums = ROUNDOFF * sqrt(k) / 3 if k > 1 else 0.0
        return tuple(
            noise.erring(x, sqrt(self._unit(name, out) ** 2 + sums**2), beside)
            for out, x in zip(self._node.output, results, strict=False)
        )

    def _terms(self, name: str, inputs: Sequence[Any], context: Mapping[str, Any]) -> int:
        if name in ALONG_AN_AXIS:
            return int(inputs[0].shape[-1]) if inputs[0].ndim else 1
        out = self._node.run(*inputs, **context)[0]
        return max(1, int(inputs[0].size // max(1, out.size)))

    def _unit(self, name: str, out: str) -> float:
        unit = self._noise.unit(out)
        return 0.0 if name == "Cast" and unit == ROUNDOFF else unit  # what is cast to float32 was no longer before


def noisy_evaluator(model: ModelProto) -> tuple[ReferenceEvaluator, Noise]:
    """Returns the oracle of the model with the noise that it errs by."""
    noise = Noise(types_of(latest(model)))
    return evaluator_of(model, partial(Erring, noise=noise)), noise


def types_of(model: ModelProto) -> dict[str, int]:
    """Returns the element types of the model's values by name, as far as they can be inferred."""
    types = {}
    for graph in graphs(shape_inference.infer_shapes(model).graph):
        for info in (*graph.input, *graph.value_info, *graph.output):
            types[info.name] = info.type.tensor_type.elem_type
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types


def shortest(model: ModelProto) -> float:
    """Returns the unit roundoff of the shortest type that a value between the model's operators has."""
    inferred = shape_inference.infer_shapes(model)
    kinds = {info.type.tensor_type.elem_type for graph in graphs(inferred.graph) for info in graph.value_info}
    return max((SHORT[kind] for kind in kinds & SHORT.keys()), default=ROUNDOFF)


def perturbed(
    model: ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]], seed: int
) -> tuple[ModelProto, list[dict[str, NDArray[Any]]]]:
    """Returns a copy of the model and of its inputs whose floating numbers each err at random.

    By as much as sums over a tensor's rows do: what stands in for noise in every operator where there is no evaluator.
    """
    noise = Noise({})
    noise.seed(seed)
    copy = ModelProto()
    copy.CopyFrom(model)
    for tensor in tensors(copy):
        array = numpy_helper.to_array(tensor)
        if tensor.data_type in NARROW and array.size:
            k = max(1, min(BLOCK, prod(array.shape[1:])))
            erred = noise.erring(array.astype(np.float64), _erring(tensor.data_type, k))
            tensor.CopyFrom(numpy_helper.from_array(erred.astype(array.dtype), tensor.name))
    erring = [
        {
            name: noise.erring(a.astype(np.float64), 2 * ROUNDOFF).astype(a.dtype) if a.dtype.kind == "f" else a
            for name, a in batch.items()
        }
        for batch in batches
    ]
    return copy, erring


def _erring(kind: int, k: int) -> float:
    """Returns by how much a tensor of this type errs: at least so much that its own type can hold it."""
    return max(2 * SHORT.get(kind, ROUNDOFF), ROUNDOFF * sqrt(k / 2))
