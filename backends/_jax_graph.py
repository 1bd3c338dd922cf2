"""JAX: a graph of PyTorch's operators (`workloads/graph.py`) evaluated, one function of the tables for each node.

Types are those that PyTorch's promotion has given to the graph: every result is cast to its own. Integers are int32,
JAX's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from backends._jax_graph_complex import COMPLEX
from backends._jax_graph_dtypes import dtype_of
from backends._jax_graph_elementwise import ELEMENTWISE
from backends._jax_graph_images import IMAGES
from backends._jax_graph_indexing import INDEXING
from backends._jax_graph_layers import LAYERS
from backends._jax_graph_linear import LINEAR_ALGEBRA
from backends._jax_graph_recurrent import RECURRENT
from backends._jax_graph_reductions import REDUCTIONS
from backends._jax_graph_shapes import SHAPES
from workloads.graph import Graph, Named, Node, Reference, Tensor, UnsupportedOperator, Value

TABLE = {
    f"aten.{name}": function
    for table in (COMPLEX, ELEMENTWISE, IMAGES, INDEXING, LAYERS, LINEAR_ALGEBRA, RECURRENT, REDUCTIONS, SHAPES)
    for name, function in table.items()
}
"""What each operator is in JAX, by PyTorch's name of it."""


def evaluate(graph: Graph, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outputs of the graph by name.

    Raises UnsupportedOperator for an operator that `TABLE` lacks, or a form of it that its function does not know.
    """
    if missing := [name for name in graph.operators() if name not in TABLE]:
        raise UnsupportedOperator(f"operator {', '.join(missing)}")
    values = {name: jnp.asarray(tensors[x.name]) for name, x in graph.inputs.items()}
    # In another precision than that of the export results keep what JAX makes of it, but for their kind.
    is_exact = all(values[name].dtype == dtype_of(x.dtype) for name, x in graph.inputs.items())
    for node in graph.nodes:
        values[node.name] = _called(node, values, is_exact)
    return {name: _resolved(reference, values) for name, reference in graph.outputs.items()}


REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What JAX and our tables raise where they cannot do what they are asked for: a form, a type, a derivative."""

MOST_OF_REASON = 300
"""Letters of it: JAX writes paragraphs."""


def _called(node: Node, values: Mapping[str, Any], is_exact: bool) -> Any:
    """Returns what the node makes. Raises UnsupportedOperator, with the reason, where its function cannot."""
    try:
        arguments = [_resolved(x, values) for x in node.arguments]
        keywords = {name: _resolved(x, values) for name, x in node.keywords.items()}
        keywords.pop("device", None), keywords.pop("memory_format", None)
        made = TABLE[node.operator](*arguments, **keywords)
        if not node.returns_several:
            return _typed(made, node.results[0], is_exact)
        return [_typed(x, result, is_exact) for x, result in zip(made, node.results, strict=True)]
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:MOST_OF_REASON] or type(error).__name__
        raise UnsupportedOperator(f"operator {node.operator}, as {node.name} calls it: {reason}") from error


def _typed(made: Any, result: Tensor | None, is_exact: bool) -> Any:
    if result is None or made is None:
        return None
    asked = dtype_of(result.dtype)
    array = jnp.asarray(made)
    is_kept = not is_exact and all(jnp.issubdtype(dtype, jnp.floating) for dtype in (array.dtype, asked))
    if array.shape != result.shape:
        raise ValueError(f"got the shape {array.shape}, expected {result.shape}")
    return array if is_kept else array.astype(asked)


def _resolved(x: Value, values: Mapping[str, Any]) -> Any:
    if isinstance(x, Reference):
        return values[x.name] if x.item is None else values[x.name][x.item]
    if isinstance(x, Named):
        return dtype_of(x.name) if x.kind == "dtype" else x.name
    return [_resolved(y, values) for y in x] if isinstance(x, tuple) else x
