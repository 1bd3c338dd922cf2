"""FLOPs and the parameters' elements that a graph (`workloads/graph.py`) reads, from its shapes alone.

The convention is that of `workloads/count.py`: matrix products and convolutions count, attention with its full square,
and a product's gradient costs one product for each operand that needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod

from workloads.graph import Graph, Node, Reference

Shapes = tuple[tuple[int, ...], ...]


def flops(graph: Graph, differentiated: Collection[str]) -> tuple[int, int]:
    """Returns the FLOPs of one evaluation, and those of its gradients for the inputs of the `differentiated` names."""
    forward = backward = 0
    needing = {value for value, x in graph.inputs.items() if x.name in differentiated}
    for node in graph.nodes:
        read = [reference.name in needing for reference in node.references()]
        if any(read) and node.operator != "aten.detach.default":
            needing.add(node.name)
        if (count := PRODUCTS.get(node.operator.split(".")[1])) is not None:
            once = count(node, _shapes(graph, node))
            forward += once
            backward += once * sum(reference.name in needing for reference in _operands(node))
    return forward, backward


def elements_read(graph: Graph) -> dict[str, int]:
    """Returns how many elements of each input are read: of a table that is only looked up in, the rows looked up."""
    rows: dict[str, int] = {}
    whole = {reference.name for reference in graph.outputs.values()}
    for node in graph.nodes:
        references = list(node.references())
        if node.operator in ("aten.embedding.default", "aten.embedding_bag.padding_idx"):
            table, ids = references[:2]
            size = graph.result(table).shape
            looked_up = prod(graph.result(ids).shape) * size[1]
            rows[table.name] = min(prod(size), rows.get(table.name, 0) + looked_up)
            references = references[1:]
        whole |= {reference.name for reference in references}
    return {
        x.name: prod(x.shape) if value in whole else rows.get(value, prod(x.shape)) for value, x in graph.inputs.items()
    }


def _shapes(graph: Graph, node: Node) -> Shapes:
    return tuple(graph.result(reference).shape for reference in node.references())


def _operands(node: Node) -> list[Reference]:
    """Returns the two factors of a product; of attention and of a recurrent layer, what they are counted by."""
    references = list(node.references())
    return references[1:3] if node.operator.split(".")[1] in ("addmm", "baddbmm") else references[:2]


def _matmul(node: Node, shapes: Shapes) -> int:
    contracted = shapes[-2 if len(shapes) == 2 else 1][-1]
    results = node.results[0]
    return 2 * (prod(results.shape) if results else 0) * contracted


def _linear(node: Node, shapes: Shapes) -> int:
    return 2 * prod(shapes[0]) * shapes[1][0]


def _convolution(node: Node, shapes: Shapes) -> int:
    is_transposed = bool(node.arguments[6])
    places = shapes[0] if is_transposed else (node.results[0].shape if node.results[0] else ())
    return 2 * prod(places) * prod(shapes[1][1:])


def _attention(node: Node, shapes: Shapes) -> int:
    query, key, value = shapes[:3]
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(node: Node, shapes: Shapes) -> int:
    """Each weight meets each step of each sequence once."""
    steps = prod(shapes[0][:2])
    return 2 * steps * sum(prod(shape) for shape in shapes[1:] if len(shape) == 2)


def _einsum(node: Node, shapes: Shapes) -> int:
    inputs, _, _ = str(node.arguments[0]).replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs.split(","), shapes, strict=True):
        sizes |= dict(zip(letters, shape, strict=False))
    return 2 * prod(sizes.values()) if len(shapes) > 1 else 0


def _trilinear(node: Node, shapes: Shapes) -> int:
    expanded = node.arguments[3:6]
    sizes = [1] * (len(shapes[0]) + len(expanded[0]))
    for shape, new in zip(shapes, expanded, strict=True):
        for axis, size in zip((axis for axis in range(len(sizes)) if axis not in new), shape, strict=True):
            sizes[axis] = size
    return 2 * prod(sizes)


PRODUCTS: Mapping[str, Callable[[Node, Shapes], int]] = {
    "_trilinear": _trilinear,
    "addmm": _matmul,
    "addmv": _matmul,
    "baddbmm": _matmul,
    "bmm": _matmul,
    "convolution": _convolution,
    "dot": _matmul,
    "einsum": _einsum,
    "gru": _recurrent,
    "linear": _linear,
    "lstm": _recurrent,
    "matmul": _matmul,
    "mm": _matmul,
    "mv": _matmul,
    "rnn_relu": _recurrent,
    "rnn_tanh": _recurrent,
    "scaled_dot_product_attention": _attention,
}
"""FLOPs of those operators that count."""
