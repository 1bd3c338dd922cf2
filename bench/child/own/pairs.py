"""Complex tensors of a user's module as pairs of real ones, which files, runtimes and the reference hold."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workloads.graph import Graph, Input, Node, Reference
from workloads.graph import Tensor as Result

REAL = {"complex64": "float32", "complex128": "float64"}


def in_pairs(tensor: Tensor) -> Tensor:
    """Returns complex numbers (…) as pairs of real ones (…, 2); all else as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def with_pairs(graph: Graph) -> Graph:
    """Returns the graph with pairs of real numbers in place of the complex tensors that it takes and returns."""
    inputs, nodes, outputs, after = {}, list[Node](), {}, list[Node]()
    for value, x in graph.inputs.items():
        if x.dtype in REAL:
            name = f"{value}_pairs"
            nodes.append(_node(value, "aten.view_as_complex.default", name, Result(x.shape, x.dtype)))
            inputs[name] = Input(x.name, (*x.shape, 2), REAL[x.dtype])
        else:
            inputs[value] = x
    for place, (name, reference) in enumerate(graph.outputs.items()):
        made = graph.result(reference)
        outputs[name] = reference
        if made.dtype in REAL:
            plain, pairs = f"output_{place}_plain", f"output_{place}_pairs"
            after.append(_node(plain, "aten.resolve_conj.default", reference, made))
            after.append(_node(pairs, "aten.view_as_real.default", plain, Result((*made.shape, 2), REAL[made.dtype])))
            outputs[name] = Reference(pairs)
    return replace(graph, inputs=inputs, nodes=(*nodes, *graph.nodes, *after), outputs=outputs, kept={})


def _node(name: str, operator: str, of: str | Reference, made: Result) -> Node:
    reference = of if isinstance(of, Reference) else Reference(of)
    return Node(name, operator, (reference,), {}, (made,))
