"""The types of the products in an ONNX graph, as ONNX Runtime has optimised it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workloads.precision import CODES_TYPE, FLOAT32

# fmt: off
INTEGER = frozenset({
    "ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearConv",
    "QLinearMatMul",
})
PRODUCTS = frozenset({
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "DynamicQuantizeMatMul", "FusedConv", "FusedGemm",
    "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention",
    "NhwcFusedConv", "QGemm", "QLinearConv", "QLinearMatMul", "TransposeMatMul",
})
# fmt: on
"""Types of nodes that multiply matrices: ONNX's own, and those that ONNX Runtime makes of them; of codes: `INTEGER`."""
READS_CODES = 4
"""The `accuracy_level` at which MatMulNBits rounds what it reads to codes."""
FLOATS = (1, 10, 11, 16)
"""onnx.TensorProto's numbers of float32, float16, float64 and bfloat16."""


def graph_products(graph: Any) -> Counter[str]:
    """Returns how many products of an ONNX graph take operands of each type.

    Types are carried from inputs, constants and casts along the nodes; nodes of other domains have none of their own.
    """
    from onnx import TensorProto

    types = {one.name: one.data_type for one in graph.initializer}
    types |= {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.value_info)}
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in PRODUCTS:
            levels = [attribute.i for attribute in node.attribute if attribute.name == "accuracy_level"]
            if node.op_type == "MatMulNBits" and levels != [READS_CODES]:  # it widens its weights
                found[FLOAT32] += 1
                continue
            if node.op_type in INTEGER or levels:
                found[CODES_TYPE] += 1
                continue
            operands = [types[name] for name in node.input[:2] if name in types]
            found[TensorProto.DataType.Name(operands[-1]).lower() if operands else "unknown"] += 1
        casts = [attribute.i for attribute in node.attribute if attribute.name == "to"]
        floats = [types[name] for name in node.input if types.get(name) in FLOATS]
        for name in node.output:
            types.setdefault(name, casts[0] if casts else next(iter(floats), 0))
    return found
