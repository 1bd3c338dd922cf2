"""8 bits as ONNX graphs have them: Quantize- and DequantizeLinear around each product, for runtimes to fuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx import TensorProto
from onnx.helper import make_tensor
from onnxscript import opset20 as op
from torch import Tensor

from backends._onnx_export import ExportOps, InPlaceOps
from backends._torch_int8 import Layout, codes_of
from workloads.ops import Array

WITH_ZERO = 3
"""Inputs of DequantizeLinear, zero points among them."""


@torch.library.custom_op("samestep::rounded_to_codes", mutates_args=())  # type: ignore[untyped-decorator]
def rounded_to_codes(x: Tensor, step: Tensor) -> Tensor:
    """Returns `x` rounded to a code times `step`."""
    return codes_of(x, step) * step


@rounded_to_codes.register_fake  # type: ignore[untyped-decorator]
def _(x: Tensor, step: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("samestep::of_codes", mutates_args=())  # type: ignore[untyped-decorator]
def of_codes(codes: Tensor, scale: Tensor, axis: int) -> Tensor:
    """Returns the codes times the scale of their channel along `axis`."""
    shape = [1] * codes.dim()
    shape[axis] = -1
    return codes * scale.reshape(shape)


@of_codes.register_fake  # type: ignore[untyped-decorator]
def _(codes: Tensor, scale: Tensor, axis: int) -> Tensor:
    return torch.empty(codes.shape, dtype=scale.dtype)


def _rounded_to_codes(x: Any, step: Any) -> Any:
    zero = op.Constant(value=make_tensor("zero", TensorProto.INT8, (), (0,)))
    return op.DequantizeLinear(op.QuantizeLinear(x, step, zero), step, zero)


def _of_codes(codes: Any, scale: Any, axis: int) -> Any:
    return op.DequantizeLinear(codes, scale, axis=axis)


def translations() -> Mapping[Any, Callable[..., Any]]:
    """Returns what the exporter makes of the operations that are ours."""
    return {
        torch.ops.samestep.rounded_to_codes.default: _rounded_to_codes,
        torch.ops.samestep.of_codes.default: _of_codes,
    }


def add_zero_points(graph: Any) -> None:
    """Gives each weight in codes zero points of its own, in a graph of onnx_ir: one for each channel.

    ONNX Runtime (1.32) makes unsigned codes of signed ones on a CPU without VNNI, and with them of the zero points: of
    one that is left out it makes a single one, which it then refuses, and of one that two weights share it makes two.
    """
    for node in graph:
        if node.op_type == "DequantizeLinear" and len(node.inputs) < WITH_ZERO and "axis" in node.attributes:
            scale = node.inputs[1]
            zero = ir.Value(name=f"{node.outputs[0].name}_zero_point")
            zero.const_value = ir.tensor(np.zeros(tuple(scale.shape), np.int8), name=zero.name)
            graph.register_initializer(zero)
            node.resize_inputs(WITH_ZERO)
            node.replace_input_with(WITH_ZERO - 1, zero)


class ExportInt8Ops(ExportOps):
    """The vocabulary as it is exported, in 8 bits. A bias is added behind: ONNX Runtime would round it to a code."""

    def int8_linear(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, layout: Layout
    ) -> Array:
        return self.w8_linear(torch.ops.samestep.rounded_to_codes(x, step), codes, scale, bias, layout)

    def int8_conv2d(
        self, x: Array, codes: Array, scale: Array, step: Array, bias: Array | None, stride: int, padding: int
    ) -> Array:
        return self.w8_conv2d(torch.ops.samestep.rounded_to_codes(x, step), codes, scale, bias, stride, padding)

    def w8_linear(self, x: Array, codes: Array, scale: Array, bias: Array | None, layout: Layout) -> Array:
        y = x @ torch.ops.samestep.of_codes(codes.t() if layout == "oi" else codes, scale, 1)
        return y if bias is None else y + bias

    def w8_conv2d(self, x: Array, codes: Array, scale: Array, bias: Array | None, stride: int, padding: int) -> Array:
        y = F.conv2d(x, torch.ops.samestep.of_codes(codes, scale, 0), stride=stride, padding=padding)
        return y if bias is None else y + bias[:, None, None]


class InPlaceInt8Ops(ExportInt8Ops, InPlaceOps):
    """The same for runtimes that write a cache where it lies."""
