"""PyTorch: operators of a lowered graph whose kernels take a shorter type and compute inside in float32."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from workloads.graph import Graph, Node, Reference, Value
from workloads.graph.lowered import CAST
from workloads.precision import FLOAT32

# fmt: off
ALL = frozenset(f"aten.{name}" for name in (
    "_adaptive_avg_pool2d.default", "_softmax.default", "add.Scalar", "add.Tensor", "avg_pool2d.default", "div.Scalar",
    "div.Tensor", "elu.default", "erf.default", "exp.default", "gelu.default", "group_norm.default",
    "hardsigmoid.default", "hardswish.default", "hardtanh.default", "layer_norm.default", "leaky_relu.default",
    "mean.dim", "mul.Scalar", "mul.Tensor", "pow.Tensor_Scalar", "rms_norm.default", "rsqrt.default", "sigmoid.default",
    "silu.default", "softmax.int", "sqrt.default", "sub.Scalar", "sub.Tensor", "sum.dim_IntList", "tanh.default",
))
FIRST = frozenset(f"aten.{name}" for name in (
    "_native_batch_norm_legit_functional.default", "_native_batch_norm_legit_no_training.default",
))
# fmt: on
"""Operators that take all that they read in the shorter type (2.13), and those that so take what they read first."""
SHORT = ("bfloat16", "float16")


def without_casts(graph: Graph) -> Graph:
    """Returns the graph with the casts around such operators left out: they compute the same, and round once."""
    widened, rounded = {}, {}
    for node in graph.nodes:
        if node.operator == CAST and (made := node.results[0]) is not None:
            source: Reference = node.arguments[0]
            if made.dtype == FLOAT32 and graph.result(source).dtype in SHORT:
                widened[Reference(node.name)] = source
            elif made.dtype in SHORT and graph.result(source).dtype == FLOAT32:
                rounded[source] = node
    uses = Counter(at for node in graph.nodes for at in node.references()) + Counter(graph.outputs.values())
    nodes: list[Node] = []
    instead: dict[Reference, Reference] = {}
    for node in graph.nodes:
        if Reference(node.name) in instead:
            continue
        made_first = Reference(node.name, 0 if node.returns_several else None)
        taken = len(node.arguments) if node.operator in ALL else 1 if node.operator in FIRST else 0
        floats = [x for x in node.arguments[:taken] if _is_float(x, graph)]
        if floats and made_first in rounded and uses[made_first] == 1 and all(x in widened for x in floats):
            arguments = tuple(widened.get(x, x) if _is_float(x, graph) else x for x in node.arguments[:taken])
            results = (rounded[made_first].results[0], *node.results[1:])
            kept = replace(node, arguments=(*arguments, *node.arguments[taken:]), results=results)
            instead[Reference(rounded[made_first].name)] = made_first
        else:
            kept = node
        nodes.append(kept.reading(lambda at: instead.get(at, at)))
    outputs = {name: instead.get(at, at) for name, at in graph.outputs.items()}
    return Graph(graph.inputs, tuple(nodes), outputs).only(outputs)


def _is_float(x: Value, graph: Graph) -> bool:
    return isinstance(x, Reference) and graph.result(x).dtype == FLOAT32
