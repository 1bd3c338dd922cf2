"""What an ONNX file computes, in float64: ONNX's own reference evaluator, on the file made wide.

The evaluator (onnx 1.23.2) is silently wrong on old opsets: it mixes a batch's statistics into those of
BatchNormalization-9, and takes Softmax below opset 13 along the last axis. So the file is converted first
(`onnx.version_converter`), and what comes out counts only where ONNX Runtime, its optimisations off, lies near it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
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


class Conv(OpRun):
    """A convolution in any number of dimensions, as a product of the weight with the windows that it sees.

    The evaluator's own copies every element of a window by its index, which takes several times as long.
    """

    op_domain = ""

    def _run(
        self, x: Any, w: Any, b: Any = None, auto_pad: Any = None, dilations: Any = None, group: Any = None,
        kernel_shape: Any = None, pads: Any = None, strides: Any = None,
    ) -> tuple[NDArray[Any]]:  # fmt: skip
        n = x.ndim - 2
        group, strides, dilations = group or 1, strides or [1] * n, dilations or [1] * n
        spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        padded = np.pad(x, ((0, 0), (0, 0), *_padding(auto_pad, pads, x.shape[2:], spans, strides)))
        view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + n)))
        every = tuple(slice(None, None, step) for step in strides) + tuple(slice(None, None, d) for d in dilations)
        view = view[(slice(None), slice(None), *every)]
        out = view.shape[2 : 2 + n]
        order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
        windows = view.transpose(order).reshape(x.shape[0], group, w[0].size, prod(out))
        y = (w.reshape(group, w.shape[0] // group, w[0].size) @ windows).reshape(x.shape[0], w.shape[0], *out)
        return (y if b is None else y + b.reshape(-1, *[1] * n),)


def _padding(auto_pad: Any, pads: Any, sides: Any, spans: Any, strides: Any) -> list[tuple[int, int]]:
    """Returns how much is added before and behind each spatial axis (ONNX, `Conv`)."""
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        whole = [max(0, (ceil(n / s) - 1) * s + span - n) for n, s, span in zip(sides, strides, spans, strict=True)]
        halves = [(total // 2, total - total // 2) for total in whole]
        return halves if auto_pad == "SAME_UPPER" else [(behind, before) for before, behind in halves]
    if auto_pad == "VALID" or pads is None:
        return [(0, 0)] * len(sides)
    return list(zip(pads[: len(sides)], pads[len(sides) :], strict=True))


OPERATORS: tuple[type[OpRun], ...] = (Conv, GlobalMaxPool)
"""Operators that stand in the place of the evaluator's."""


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


def evaluator_of(model: ModelProto, wrapped: Callable[[Any], Any] = lambda node: node) -> ReferenceEvaluator:
    """Returns what evaluates the model in float64, each of its nodes `wrapped`: those of graphs within graphs too.

    Raises whatever the converter or the evaluator cannot do.
    """

    class Evaluator(ReferenceEvaluator):
        """The evaluator takes its own class for branches and bodies, and so comes by here for them."""

        def _init(self) -> None:
            super()._init()
            self.rt_nodes_: list[Any] = [wrapped(node) for node in self.rt_nodes_]

    return Evaluator(widened(latest(model)), new_ops=list(OPERATORS))


def evaluated(evaluator: ReferenceEvaluator, batches: Sequence[Feeds]) -> list[dict[str, NDArray[Any]]]:
    """Returns the outputs of each batch by name."""
    names = evaluator.output_names
    with np.errstate(all="ignore"):
        return [dict(zip(names, map(np.asarray, evaluator.run(names, wide_feeds(b))), strict=True)) for b in batches]
