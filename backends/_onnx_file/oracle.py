"""What an ONNX file computes, in float64: ONNX's own reference evaluator, on the file made wide.

The evaluator (onnx 1.23.2) is silently wrong on old opsets: it mixes a batch's statistics into those of
BatchNormalization-9, and takes Softmax below opset 13 along the last axis. So the file is converted first
(`onnx.version_converter`), and what comes out counts only where ONNX Runtime, its optimisations off, lies near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    numpy_helper,
    version_converter,
)
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from backends._onnx_file.reading import nodes

OPSET = 21
"""The opset to which a file is converted: that of the operators as the evaluator has them right."""
NARROW = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
DTYPE_ATTRIBUTES = frozenset({"to", "dtype"})
Feeds = Mapping[str, NDArray[Any]]


class GlobalMaxPool(OpRun):
    """The maximum over all spatial axes: the evaluator's own (1.23.2) is wrong unless there are two."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


OPERATORS: tuple[type[OpRun], ...] = (GlobalMaxPool,)
"""Operators that stand in the place of the evaluator's."""


class Evaluator(ReferenceEvaluator):
    """The evaluator, whose nodes pass through `ran`: graphs within graphs too, since they take this very class."""

    def run(self, output_names: Any, feed_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return super().run(output_names, feed_inputs, *args, **kwargs)


def latest(model: ModelProto) -> ModelProto:
    """Returns the model in opset `OPSET`; as it is where it is that new already.

    Raises RuntimeError or ValueError where it cannot be converted.
    """
    own = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), OPSET)
    return model if own >= OPSET else version_converter.convert_version(model, OPSET)


def widened(model: ModelProto) -> ModelProto:
    """Returns a copy of the model that computes in float64 all that it computes in a shorter floating type."""
    wide = ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph)
    for function in wide.functions:
        for node in function.node:
            _widen_node(node)
    return wide


def _widen_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for info in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(info.type)
    for node in graph.node:
        _widen_node(node)


def _widen_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        elif attribute.type == AttributeProto.GRAPH:
            _widen_graph(attribute.g)
        elif attribute.name in DTYPE_ATTRIBUTES and attribute.type == AttributeProto.INT and attribute.i in NARROW:
            attribute.i = TensorProto.DOUBLE
    if node.op_type == "Constant" and node.attribute and node.attribute[0].name in ("value_float", "value_floats"):
        held = node.attribute[0]
        array = np.array(held.f if held.name == "value_float" else list(held.floats), np.float64)
        held.Clear()
        held.name, held.type = "value", AttributeProto.TENSOR
        held.t.CopyFrom(numpy_helper.from_array(array))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = node.attribute.add(name="value", type=AttributeProto.TENSOR)
        zero.t.CopyFrom(numpy_helper.from_array(np.zeros(1)))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), name))


def _widen_type(type_: TypeProto) -> None:
    if type_.tensor_type.elem_type in NARROW:
        type_.tensor_type.elem_type = TensorProto.DOUBLE


def wide_feeds(batch: Feeds) -> dict[str, NDArray[Any]]:
    """Returns the inputs with floating ones in float64."""
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else np.asarray(a) for name, a in batch.items()}


def evaluator_of(model: ModelProto, kind: type[ReferenceEvaluator] = Evaluator) -> ReferenceEvaluator:
    """Returns what evaluates the model in float64. Raises whatever the converter or the evaluator cannot do."""
    return kind(widened(latest(model)), new_ops=list(OPERATORS))


def evaluated(evaluator: ReferenceEvaluator, batches: Sequence[Feeds]) -> list[dict[str, NDArray[Any]]]:
    """Returns the outputs of each batch by name."""
    names = evaluator.output_names
    return [dict(zip(names, map(np.asarray, evaluator.run(names, wide_feeds(b))), strict=True)) for b in batches]


def reduced_operators(model: ModelProto) -> Iterable[str]:
    """Returns the operators that write codes of a few bits: near a half either neighbour is right."""
    return sorted({node.op_type for node in nodes(model)} & {"QuantizeLinear"})
